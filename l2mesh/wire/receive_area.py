"""Memory that datagrams are received into again and again, and the views into it, cut once.

Cutting a memoryview costs 0.1 us, and opening a datagram takes two: a quarter of what its cipher does. The memory
stays where it is, so the views of a run of equal datagrams are kept for the next run.
"""

from __future__ import annotations

import mmap
from ctypes import addressof, c_char
from typing import Final, Self

from l2mesh.wire.outer import DATA_HEADER_SIZE

NONCE_SIZE: Final = 12
"""Bytes: the end of a data header."""
CUTS_KEPT: Final = 4
"""Ways to cut one area (datagram size, relay header): a path has mostly one, and one more by relay."""

Pieces = list[tuple[memoryview, memoryview]]
"""For each datagram: its nonce, and what is sealed."""


class ReceiveArea(mmap.mmap):
    """Anonymous memory that becomes real page by page. A memoryview of it says so by its `obj`."""

    address: int
    _cuts: dict[tuple[int, int], Pieces]

    @classmethod
    def make(cls, size: int) -> Self:
        area = cls(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        area.address = address_of(area)
        area._cuts = {}
        return area

    def pieces(self, data: memoryview, count: int, size: int, skip: int) -> Pieces | None:
        """Of `count` datagrams of `size` bytes at the start of `data`, which lies in this area.

        Each begins with `skip` bytes of relay header. None: they do not lie at a multiple of their size. Hot.
        """
        first, rest = divmod(address_of(data) - self.address, size)
        if rest:
            return None
        cut = self._cuts.get((size, skip))
        if cut is None:
            cut = self._cut(size, skip)
        return cut[first : first + count]

    def _cut(self, size: int, skip: int) -> Pieces:
        if len(self._cuts) >= CUTS_KEPT:
            self._cuts.clear()
        view = memoryview(self)
        nonce, body = skip + DATA_HEADER_SIZE - NONCE_SIZE, skip + DATA_HEADER_SIZE
        starts = range(0, len(self) - size + 1, size)
        cut = [(view[at + nonce : at + body], view[at + body : at + size]) for at in starts]
        self._cuts[size, skip] = cut
        return cut


def address_of(memory: mmap.mmap | bytearray | memoryview) -> int:
    """Where it lies. It must outlive the number, and may not be resized."""
    return addressof(c_char.from_buffer(memory))
