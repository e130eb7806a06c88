"""Runs of opened segments, one behind the other in memory: most of TCP's bulk comes in such.

Opened into memory that is used again with each batch, they cost a third less than as objects of their own, and
their payloads go to the TAP from where they lie, through views that were cut once.
"""

from __future__ import annotations

import mmap
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Final

from l2mesh.wire.plaintext import SEGMENT, SEGMENT_HEADER, SEGMENT_HEADER_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN_AREA_SIZE: Final = 1 << 20
"""A batch of eight receives of 64 KB, twice. What does not fit is opened in the ordinary way."""
CUTS_KEPT: Final = 16
"""Of sizes and beginnings; each is up to 150 KB of views."""


@lru_cache(512)
def _beginnings(count: int, size: int, headers: int) -> Struct:
    """Header as a number, and `headers` bytes of headers, of each of `count` segments of `size` bytes."""
    return Struct(">" + f"Q{headers}s{size - SEGMENT_HEADER_SIZE - headers}x" * count)


class PlainArea:
    """Where runs of one batch are opened."""

    def __init__(self) -> None:
        self.view = memoryview(mmap.mmap(-1, PLAIN_AREA_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self._used = 0
        self._cuts: dict[tuple[int, int], list[memoryview]] = {}

    def reset(self) -> None:
        """All runs that were opened may be overwritten."""
        self._used = 0

    def cut(self, size: int, start: int) -> list[memoryview]:
        """The area in pieces of `size` bytes, each without its first `start`."""
        cut = self._cuts.get((size, start))
        if cut is None:
            if len(self._cuts) >= CUTS_KEPT:
                self._cuts.clear()
            begins = range(0, PLAIN_AREA_SIZE - size + 1, size)
            cut = self._cuts[size, start] = [self.view[at + start : at + size] for at in begins]
        return cut

    def open(
        self, decrypt_into: Callable[..., int], pieces: list[tuple[memoryview, memoryview]], size: int
    ) -> list[bytes | PlainRun] | None:
        """Open sealed pieces to plaintexts of `size` bytes: one run, if all are segments. None: there is no room.

        Raises InvalidTag. Hot.
        """
        if size <= SEGMENT_HEADER_SIZE:
            return None
        first = -(-self._used // size)
        end = first + len(pieces)
        slots = self.cut(size, 0)
        if end > len(slots):
            return None
        for (nonce, sealed), slot in zip(pieces, slots[first:end], strict=True):
            decrypt_into(nonce, sealed, None, slot)
        view = self.view[first * size : end * size]
        if bytes(view[::size]).count(SEGMENT) != len(pieces):
            return [bytes(slot) for slot in slots[first:end]]
        self._used = end * size
        return [PlainRun(self, first, len(pieces), size)]


class PlainRun:
    """`count` plaintexts of `size` bytes in `area`, from its piece `first` on: each begins like a segment."""

    __slots__ = ("_area", "_first", "count", "size")

    def __init__(self, area: PlainArea, first: int, count: int, size: int) -> None:
        self._area = area
        self._first = first
        self.count = count
        self.size = size

    def __getitem__(self, at: int) -> int:
        """The first byte, as of a plaintext: the kind of all."""
        return SEGMENT

    def plaintexts(self) -> list[bytes]:
        return [bytes(slot) for slot in self._area.cut(self.size, 0)[self._first : self._first + self.count]]

    def plaintext(self, index: int) -> bytes:
        return bytes(self._area.cut(self.size, 0)[self._first + index])

    def beginnings(self) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
        """Of each: its header as a number, and as many bytes behind it as the first one says its headers are."""
        at = self._first * self.size
        length = SEGMENT_HEADER.unpack_from(self._area.view, at)[0] >> 40 & 255
        length = min(length, self.size - SEGMENT_HEADER_SIZE)
        words = _beginnings(self.count, self.size, length).unpack_from(self._area.view, at)
        return words[::2], words[1::2]

    def slices(self, start: int, begin: int, end: int) -> list[memoryview]:
        """What follows the first `start` bytes, of those from `begin` to `end`."""
        return self._area.cut(self.size, start)[self._first + begin : self._first + end]


def expanded(plaintexts: list[bytes | PlainRun]) -> list[bytes]:
    """Each plaintext as an object of its own."""
    singly: list[bytes] = []
    for one in plaintexts:
        singly += one.plaintexts() if isinstance(one, PlainRun) else (one,)
    return singly
