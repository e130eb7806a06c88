"""Runs of opened segments or slim UDP frames, one behind the other in memory: most bulk comes in such.

Opened into memory that is used again with each batch, they cost a third less than as objects of their own, and
their payloads go to the TAP from where they lie, through views that were cut once.
"""

from __future__ import annotations

import mmap
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Final

from l2mesh.wire.plaintext import SEGMENT, SEGMENT_HEADER, SEGMENT_HEADER_SIZE, UDP

if TYPE_CHECKING:
    from collections.abc import Callable

RUN_KINDS: Final = (SEGMENT, UDP)
PLAIN_AREA_SIZE: Final = 1 << 20
"""A batch of eight receives of 64 KB, twice. What does not fit is opened in the ordinary way."""
SIZE_MIN: Final = 512
CUTS_KEPT: Final = 8
"""Of sizes and beginnings; each is up to 400 KB of views."""


@lru_cache(512)
def _beginnings(count: int, size: int, headers: int) -> Struct:
    """Header as a number, and `headers` bytes of headers, of each of `count` segments of `size` bytes."""
    return Struct(">" + f"Q{headers}s{size - SEGMENT_HEADER_SIZE - headers}x" * count)


@lru_cache(512)
def _prefixes(count: int, size: int, length: int) -> Struct:
    """The first `length` bytes of each of `count` plaintexts of `size` bytes."""
    return Struct(f"{length}s{size - length}x" * count)


class PlainArea:
    """Where runs of one batch are opened."""

    def __init__(self, area_size: int = PLAIN_AREA_SIZE, size_min: int = SIZE_MIN) -> None:
        """`size_min`: of a plaintext; smaller ones gain too little, and would have too many views cut."""
        self.view = memoryview(mmap.mmap(-1, area_size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self._size_min = size_min
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
            begins = range(0, len(self.view) - size + 1, size)
            cut = self._cuts[size, start] = [self.view[at + start : at + size] for at in begins]
        return cut

    def open(
        self, decrypt_into: Callable[..., int], pieces: list[tuple[memoryview, memoryview]], size: int
    ) -> list[bytes | PlainRun] | None:
        """Open sealed pieces to plaintexts of `size` bytes: one run, if all are segments, or slim UDP. None: there
        is no room, or they are too small to gain by it.

        Raises InvalidTag. Hot.
        """
        if size < self._size_min:
            return None
        first = -(-self._used // size)
        end = first + len(pieces)
        slots = self.cut(size, 0)
        if end > len(slots):
            return None
        for (nonce, sealed), slot in zip(pieces, slots[first:end], strict=True):
            decrypt_into(nonce, sealed, None, slot)
        view = self.view[first * size : end * size]
        kind = view[0]
        if kind not in RUN_KINDS or bytes(view[::size]).count(kind) != len(pieces):
            return [bytes(slot) for slot in slots[first:end]]
        self._used = end * size
        return [PlainRun(self, first, len(pieces), size, kind)]


class PlainRun:
    """`count` plaintexts of `size` bytes and of one kind in `area`, from its piece `first` on."""

    __slots__ = ("_area", "_first", "count", "kind", "size")

    def __init__(self, area: PlainArea, first: int, count: int, size: int, kind: int) -> None:
        self._area = area
        self._first = first
        self.count = count
        self.kind = kind
        self.size = size

    def __getitem__(self, at: int) -> int:
        """The first byte, as of a plaintext."""
        return self.kind

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

    def prefixes(self, length: int) -> tuple[bytes, ...]:
        """The first bytes of each."""
        return _prefixes(self.count, self.size, length).unpack_from(self._area.view, self._first * self.size)

    def slices(self, start: int, begin: int, end: int) -> list[memoryview]:
        """What follows the first `start` bytes, of those from `begin` to `end`."""
        return self._area.cut(self.size, start)[self._first + begin : self._first + end]


def expanded(plaintexts: list[bytes | PlainRun]) -> list[bytes]:
    """Each plaintext as an object of its own."""
    singly: list[bytes] = []
    for one in plaintexts:
        singly += one.plaintexts() if isinstance(one, PlainRun) else (one,)
    return singly
