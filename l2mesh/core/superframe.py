"""Superframes: cut into segments that stand alone, and joined again from those that arrived.

A superframe is up to 64 KB of one TCP or UDP flow that the kernel hands over with one header. Each segment
carries the headers and its slice of the payload; what is lost with a datagram is that slice and nothing
else. The receiver joins each run of consecutive segments of a batch; a gap splits a run in two, and nothing
waits for it.
"""

from __future__ import annotations

from functools import cache
from itertools import islice
from struct import Struct
from typing import TYPE_CHECKING, Final

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.run_headers import (
    DATAGRAMS_MAX,
    Shape,
    announced_payload,
    parse_shape,
    run_headers,
    segment_headers,
)
from l2mesh.wire import virtio
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.plaintext import (
    HEADERS_SIZE_MAX,
    LAST,
    SEGMENT_GSO_TYPES,
    SEGMENT_HEADER,
    SEGMENT_HEADER_SIZE,
    segment_header,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l2mesh.core.run_headers import Delivery
    from l2mesh.wire.ethernet import Buffer

# writev takes 1024 buffers.
SLICES_MAX: Final = 1000


@cache
def _headers_at(length: int) -> Struct:
    """A segment's header, and `length` bytes of the headers of its frame."""
    return Struct(f"{SEGMENT_HEADER.format}{length}s")


class Superframe:
    """A superframe from the TAP whose headers have been read and found to agree with its virtio header."""

    __slots__ = ("_head", "frame", "payload", "shape", "size")

    def __init__(self, frame: memoryview) -> None:
        """`frame` begins with its virtio header. Raises BadPacket."""
        _, gso, _, size, csum_start, csum_offset = virtio.HEADER.unpack_from(frame)
        self._head = bytes(frame[virtio.HEADER_SIZE : virtio.HEADER_SIZE + HEADERS_SIZE_MAX])
        self.shape = parse_shape(self._head, gso & ~virtio.GSO_ECN)
        self.payload = len(frame) - virtio.HEADER_SIZE - self.shape.length
        self.frame = frame
        self.size = min(size, self.payload)
        if not frame[0] & virtio.NEEDS_CSUM or not size:
            raise BadPacket("a superframe without partial checksum or segment size")
        if (csum_start, csum_offset) != (self.shape.transport, self.shape.checksum_offset):
            raise BadPacket("the checksum is not where the headers say")
        if self.payload < 1 or announced_payload(self._head, self.shape) != self.payload:
            raise BadPacket("not as long as the IP header says")

    def segment_sizes(self, room: int) -> tuple[int, int] | None:
        """(payload of one segment, payload of one plaintext) in plaintexts of `room` bytes; None: too little.

        A TCP segment may be made smaller than the sender's, never larger: its size is what the sender knows
        to fit beyond us. A UDP datagram stays as it is.
        """
        available = room - SEGMENT_HEADER_SIZE - self.shape.length
        if available >= self.size:
            return self.size, self.size * min(available // self.size, DATAGRAMS_MAX)
        if available < 1 or self.shape.gso == virtio.GSO_UDP_L4:
            return None
        return available, available

    def segments(self, sizes: tuple[int, int], superframe_id: int) -> Iterator[memoryview]:
        """Cut into plaintexts, in place: each is written over the end of the one before. Hot.

        So each must be used up before the next is asked for, and the frame is spoilt in the end.
        """
        frame = self.frame
        size, step = sizes
        headers = segment_headers(self._head, self.shape, size)
        put = _headers_at(len(headers)).pack_into
        header = segment_header(self.shape.gso, len(headers), superframe_id)
        before = SEGMENT_HEADER_SIZE + len(headers)
        whole = before + step
        first = virtio.HEADER_SIZE - SEGMENT_HEADER_SIZE
        last = first + (self.payload - 1) // step * step
        for at in range(first, last, step):
            put(frame, at, header, headers)
            yield frame[at : at + whole]
            header += step
        put(frame, last, header | LAST, headers)
        yield frame[last:]

    def frames(self) -> Iterator[bytearray]:
        """Each segment as a frame of its own, behind its virtio header."""
        return split(self._head[: self.shape.length], self.shape, self.payload_view(), self.size)

    def payload_view(self) -> memoryview:
        return self.frame[virtio.HEADER_SIZE + self.shape.length :]


def split(headers: bytes, shape: Shape, payload: Buffer, size: int) -> Iterator[bytearray]:
    """The segments of a superframe (its headers, its whole payload) as frames behind virtio headers."""
    headers = segment_headers(headers, shape, size)
    for offset in range(0, len(payload), size):
        piece = payload[offset : offset + size]
        last = offset + size >= len(payload)
        yield run_headers(headers, shape, size, offset, len(piece), last) + piece


def join(plaintexts: list[bytes], at: int, uso: bool, deliveries: list[Delivery], drops: Drops) -> int:
    """Join the run of segments that begins with plaintexts[at]; returns the index behind the run. Hot.

    `uso`: whether the TAP takes UDP superframes. Everything in the segments is untrusted; the run's first is
    checked, and a segment continues the run only if it has the same headers and is what comes next.
    """
    first = plaintexts[at]
    try:
        header, shape, size = read_first(first)
    except BadPacket:
        drops.count(DropReason.BAD_SEGMENT)
        return at + 1
    slices, last = _collect(plaintexts, at, header, shape, size)
    total = sum(map(len, slices))
    offset = header & 0xFFFF
    headers = first[SEGMENT_HEADER_SIZE : SEGMENT_HEADER_SIZE + shape.length]
    if shape.gso == virtio.GSO_UDP_L4 and not uso:
        for piece_offset, piece in _pieces(slices, offset, size):
            deliveries.append([run_headers(headers, shape, size, piece_offset, len(piece), last), piece])
    else:
        deliveries.append([run_headers(headers, shape, size, offset, total, last), *slices])
    return at + len(slices)


def read_first(segment: bytes) -> tuple[int, Shape, int]:
    """(header as a number, shape of the headers, payload of one segment) of untrusted bytes."""
    if len(segment) < SEGMENT_HEADER_SIZE:
        raise BadPacket("a segment is cut short")
    (header,) = SEGMENT_HEADER.unpack_from(segment)
    gso = header >> 52 & 15
    start = SEGMENT_HEADER_SIZE + (header >> 40 & 255)
    if gso not in SEGMENT_GSO_TYPES or len(segment) <= start:
        raise BadPacket("a segment of unknown type, or without payload")
    headers = segment[SEGMENT_HEADER_SIZE:start]
    shape = parse_shape(headers, gso)
    size = announced_payload(headers, shape)
    payload = len(segment) - start
    if shape.length != len(headers) or size < 1 or (header & 0xFFFF) % size:
        raise BadPacket("headers of another length, or an offset between segments")
    if (header & 0xFFFF) + payload > shape.payload_max or payload > size * DATAGRAMS_MAX:
        raise BadPacket("a payload longer than IP allows, or of too many segments")
    return header, shape, size


def _collect(plaintexts: list[bytes], at: int, header: int, shape: Shape, size: int) -> tuple[list[bytes], bool]:
    """The slices of the run that begins with plaintexts[at], and whether it ends its superframe. Hot."""
    first = plaintexts[at]
    length = len(first)
    start = SEGMENT_HEADER_SIZE + shape.length
    step = length - start
    slices = [first[start:]]
    if header & LAST or step % size:
        return slices, bool(header & LAST)
    headers = first[SEGMENT_HEADER_SIZE:start]
    append = slices.append
    get_header = SEGMENT_HEADER.unpack_from
    limit = shape.payload_max - (header & 0xFFFF)
    if shape.gso == virtio.GSO_UDP_L4:
        limit = min(limit, size * DATAGRAMS_MAX)
    expected = header + step
    for segment in islice(plaintexts, at + 1, at + min(limit // step, SLICES_MAX)):
        if len(segment) != length or not segment.startswith(headers, SEGMENT_HEADER_SIZE):
            break
        (header,) = get_header(segment)
        if header != expected:
            if header != expected | LAST:
                break
            append(segment[start:])
            return slices, True
        append(segment[start:])
        expected += step
    last = at + len(slices)
    if last < len(plaintexts) and len(slices) < SLICES_MAX:
        segment = plaintexts[last]
        rest = len(segment) - start
        if (
            0 < rest < step
            and segment.startswith(headers, SEGMENT_HEADER_SIZE)
            and get_header(segment)[0] | LAST == expected | LAST
            and rest <= limit - step * len(slices)
        ):
            append(segment[start:])
            return slices, bool(get_header(segment)[0] & LAST)
    return slices, False


def _pieces(slices: list[bytes], offset: int, size: int) -> Iterator[tuple[int, bytes]]:
    for piece in slices:
        for start in range(0, len(piece), size):
            yield offset + start, piece[start : start + size]
        offset += len(piece)
