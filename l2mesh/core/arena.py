"""Where sealed datagrams lie until they are sent: a few large buffers, used again after every call.

An engine's output is valid until the next call into it, so its buffers need no allocation and no freeing:
each door call starts at the first buffer again.
"""

from __future__ import annotations

from typing import Final

ARENA_BUFFER_SIZE: Final = 65_000
"""Bytes of one buffer, and so of the longest train: below the 65 507 of a UDP send."""

BUFFERS_KEPT: Final = 16
"""A larger burst than this many buffers is rare; its memory is given back."""


class Arena:
    """`view` is the buffer being filled, `used` how far."""

    __slots__ = ("_buffers", "_number", "used", "view")

    def __init__(self) -> None:
        self._buffers = [memoryview(bytearray(ARENA_BUFFER_SIZE))]
        self.reset()

    def reset(self) -> None:
        """All that was handed out before may be overwritten."""
        del self._buffers[BUFFERS_KEPT:]
        self._number = 0
        self.view = self._buffers[0]
        self.used = 0

    def next_view(self) -> memoryview:
        """Go on in a fresh buffer."""
        self._number += 1
        if self._number == len(self._buffers):
            self._buffers.append(memoryview(bytearray(ARENA_BUFFER_SIZE)))
        self.view = self._buffers[self._number]
        self.used = 0
        return self.view
