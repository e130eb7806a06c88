"""Where sealed datagrams lie until they are sent: a few large buffers, used again after every call.

An engine's output is valid until the next call into it, so its buffers need no allocation and no freeing:
each door call starts at the first buffer again.
"""

from __future__ import annotations

from typing import Final

from l2mesh.wire.outer import DATA_HEADER_SIZE

NONCE_SIZE: Final = 12
"""Bytes: the end of a data header."""

ARENA_BUFFER_SIZE: Final = 65_000
"""Bytes of one buffer, and so of the longest train: below the 65 507 of a UDP send."""

BUFFERS_KEPT: Final = 16
"""A larger burst than this many buffers is rare; its memory is given back."""


SLOTS_FROM: Final = 1024
"""Bytes of a datagram from which it pays to cut a buffer beforehand."""

CUTS_KEPT: Final = 128
"""A buffer cut for datagrams of one size is about 17 KB of views."""

Slots = list[tuple[memoryview, memoryview]]
"""For each datagram of a train: where its nonce is, and where its sealed part goes."""


class Arena:
    """`view` is the buffer being filled, `used` how far."""

    __slots__ = ("_buffers", "_cuts", "_number", "used", "view")

    def __init__(self) -> None:
        self._buffers = [memoryview(bytearray(ARENA_BUFFER_SIZE))]
        self._cuts: dict[tuple[int, int, int], Slots] = {}
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

    def slots(self, used: int, size: int, before: int) -> tuple[memoryview, int, Slots]:
        """Room for a train of `size` byte datagrams behind `before` bytes of relay header: (buffer, where in it,
        the slots of the whole buffer). `used`: how far it is filled.

        Cutting a memoryview costs 0.1 us, a tenth of what sealing does: so cuts are kept, and a train begins at a
        multiple of its size.
        """
        start = -(-used // size) * size
        if start + size > ARENA_BUFFER_SIZE:
            self.next_view()
            start = 0
        key = self._number, size, before
        slots = self._cuts.get(key)
        if slots is None:
            slots = self._cut(size, before)
            if self._number < BUFFERS_KEPT:
                if len(self._cuts) >= CUTS_KEPT:
                    self._cuts.clear()
                self._cuts[key] = slots
        return self.view, start, slots

    def _cut(self, size: int, before: int) -> Slots:
        view = self.view
        nonce, body = before + DATA_HEADER_SIZE - NONCE_SIZE, before + DATA_HEADER_SIZE
        starts = range(0, ARENA_BUFFER_SIZE - size + 1, size)
        return [(view[at + nonce : at + body], view[at + body : at + size]) for at in starts]
