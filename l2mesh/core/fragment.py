"""Fragments: a frame that is too large for one plaintext goes in near-equal pieces.

Only frames that cannot be cut otherwise are fragmented: those of a TAP with a larger MTU than the path
leaves. Pieces of equal size, because equal datagrams travel in one send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from l2mesh.core.drops import DropReason, Drops
from l2mesh.wire import virtio
from l2mesh.wire.plaintext import (
    BUNDLE,
    FRAGMENT,
    FRAGMENT_CSUM,
    FRAGMENT_HEADER,
    FRAGMENT_HEADER_SIZE,
    FRAGMENTS_MAX,
    FRAME_SIZE_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l2mesh.wire.ethernet import Buffer

_BUNDLE: Final = bytes((BUNDLE,))

# What one peer may make us hold; the oldest goes first. 64 frames are one batch of a TAP.
REASSEMBLY_FRAMES_MAX: Final = 64
REASSEMBLY_BYTES_MAX: Final = 512 * 1024
# Fragments of a frame leave together. What has not come within this time was lost, or its id is in use again.
REASSEMBLY_SECONDS: Final = 2.0


def fragment_count(frame: Buffer, room: int) -> int:
    """How many fragments of `room` bytes a frame behind its virtio header needs; 0: it cannot be carried."""
    available = room - FRAGMENT_HEADER_SIZE
    if available < 1:
        return 0
    count = -(-(len(frame) - virtio.HEADER_SIZE) // available)
    return count if count <= FRAGMENTS_MAX else 0


def fragments(frame: Buffer, count: int, fragment_id: int) -> Iterator[bytes]:
    """`frame` behind its virtio header as `count` plaintexts; the frame itself is left as it is."""
    flags, _, _, _, csum_start, csum_offset = virtio.HEADER.unpack_from(frame)
    checksum = FRAGMENT_CSUM.pack(csum_start, csum_offset) if flags & virtio.NEEDS_CSUM else bytes(4)
    size = -(-(len(frame) - virtio.HEADER_SIZE) // count)
    for index in range(count):
        start = virtio.HEADER_SIZE + index * size
        header = FRAGMENT_HEADER.pack(FRAGMENT, index, count, fragment_id)
        yield b"".join((header, checksum, frame[start : start + size]))


def _bundle_of_one(pieces: list[bytes], checksum: bytes) -> bytes:
    length = sum(map(len, pieces)).to_bytes(2, "little")
    return b"".join((_BUNDLE, length, checksum, *pieces))


class _Partial:
    """A frame of which some fragments have come."""

    __slots__ = ("began_at", "checksum", "missing", "pieces", "size")

    def __init__(self, count: int, checksum: bytes, now: float) -> None:
        self.pieces: list[bytes] = [b""] * count
        self.missing = count
        self.checksum = checksum
        self.size = 0
        self.began_at = now


class Reassembler:
    """The frames of one peer of which some fragments have come. Door: receive.

    Everything in a fragment is untrusted. Bounds: REASSEMBLY_FRAMES_MAX, REASSEMBLY_BYTES_MAX, and
    REASSEMBLY_SECONDS, looked at when fragments come.
    """

    __slots__ = ("_drops", "_partials", "_size")

    def __init__(self, drops: Drops) -> None:
        self._drops = drops
        self._partials: dict[int, _Partial] = {}  # by id, in order of age
        self._size = 0

    def __len__(self) -> int:
        return len(self._partials)

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._size

    def receive(self, plaintexts: list[bytes], now: float) -> list[bytes]:
        """`plaintexts` with whole frames where their last fragments were. Hot, if frames are large.

        A frame has the form of a bundle of one, so it is treated as any other.
        """
        whole: list[bytes] = []
        at, end = 0, len(plaintexts)
        while at < end:
            plaintext = plaintexts[at]
            if not plaintext or plaintext[0] != FRAGMENT:
                whole.append(plaintext)
            elif pieces := self._in_order(plaintexts, at):
                whole.append(_bundle_of_one(pieces, plaintext[FRAGMENT_HEADER.size : FRAGMENT_HEADER_SIZE]))
                at += len(pieces)
                continue
            else:
                frame = self._receive_one(plaintext, now)
                if frame is not None:
                    whole.append(frame)
            at += 1
        return whole

    def _in_order(self, plaintexts: list[bytes], at: int) -> list[bytes] | None:
        """The pieces of a frame whose fragments, from plaintexts[at] on, are all there in order. Hot."""
        first = plaintexts[at]
        if len(first) < FRAGMENT_HEADER_SIZE or first[1]:
            return None
        end = at + first[2]
        (_, _, _, fragment_id) = FRAGMENT_HEADER.unpack_from(first)
        if end > len(plaintexts) or fragment_id in self._partials:
            return None
        pieces = []
        same = first[2:FRAGMENT_HEADER_SIZE]
        for index, fragment in enumerate(plaintexts[at:end]):
            if fragment[2:FRAGMENT_HEADER_SIZE] != same or fragment[0] != FRAGMENT or fragment[1] != index:
                return None
            pieces.append(fragment[FRAGMENT_HEADER_SIZE:])
        return pieces if all(pieces) and sum(map(len, pieces)) <= FRAME_SIZE_MAX else None

    def _receive_one(self, fragment: bytes, now: float) -> bytes | None:
        if len(fragment) <= FRAGMENT_HEADER_SIZE:
            self._bad()
            return None
        _, index, count, fragment_id = FRAGMENT_HEADER.unpack_from(fragment)
        checksum = fragment[FRAGMENT_HEADER.size : FRAGMENT_HEADER_SIZE]
        piece = fragment[FRAGMENT_HEADER_SIZE:]
        if index >= count:
            self._bad()
            return None
        self._expire(now)
        partial = self._partials.get(fragment_id)
        if partial is None:
            partial = self._partials[fragment_id] = _Partial(count, checksum, now)
        if len(partial.pieces) != count or partial.checksum != checksum:
            self._bad()
            return None
        if partial.pieces[index]:
            return None  # a duplicate
        if partial.size + len(piece) > FRAME_SIZE_MAX:
            self._forget(fragment_id)
            self._bad()
            return None
        partial.pieces[index] = piece
        partial.missing -= 1
        partial.size += len(piece)
        self._size += len(piece)
        if partial.missing:
            self._evict()
            return None
        self._forget(fragment_id)
        return _bundle_of_one(partial.pieces, checksum)

    def _bad(self) -> None:
        self._drops.count(DropReason.BAD_FRAGMENT)

    def _forget(self, fragment_id: int) -> None:
        self._size -= self._partials.pop(fragment_id).size

    def _expire(self, now: float) -> None:
        while self._partials:
            oldest = next(iter(self._partials))
            if now - self._partials[oldest].began_at < REASSEMBLY_SECONDS:
                return
            self._forget(oldest)
            self._drops.count(DropReason.FRAGMENTS_EXPIRED)

    def _evict(self) -> None:
        while len(self._partials) > REASSEMBLY_FRAMES_MAX or self._size > REASSEMBLY_BYTES_MAX:
            self._forget(next(iter(self._partials)))
            self._drops.count(DropReason.FRAGMENTS_EVICTED)
