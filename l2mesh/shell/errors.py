"""What the operating system refused, in words for the person who can change it."""

from __future__ import annotations


class ShellError(Exception):
    """The OS refused something we cannot run without. The text says what, why, and what to do about it.

    `errno` is the kernel's number, or 0, for a caller that can do without what failed.
    """

    def __init__(self, text: str, errno: int | None = 0) -> None:
        super().__init__(text)
        self.errno = errno or 0
