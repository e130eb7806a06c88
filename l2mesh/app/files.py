"""Files that appear whole or not at all, with their mode from the first byte on."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE = 0o600  # keys, and network files with a secret
PUBLIC = 0o644  # certificates, requests

# Gets what was read back from the disk, before the file has its name; raises to refuse it.
Check = Callable[[bytes], None]


def write_new(path: Path, content: bytes, mode: int, check: Check | None = None) -> None:
    """Write a file that must not exist yet; FileExistsError if it does, and that one is untouched."""
    with _written_beside(path, content, mode, check) as temporary:
        # A link, not a rename: it fails where a file is, instead of replacing it.
        try:
            os.link(temporary, path)
        except FileExistsError as error:
            raise FileExistsError(error.errno, error.strerror, str(path)) from None
    _sync_directory(path.parent)


def replace(path: Path, content: bytes, mode: int, check: Check | None = None) -> None:
    """Write a file, in place of one that may exist: a reader sees the old content or the new, whole."""
    with _written_beside(path, content, mode, check) as temporary:
        temporary.replace(path)
    _sync_directory(path.parent)


@contextmanager
def _written_beside(path: Path, content: bytes, mode: int, check: Check | None) -> Iterator[Path]:
    # In the same directory: rename and link work within one file system only.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        if check:
            check(temporary.read_bytes())
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
