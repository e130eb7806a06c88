"""The sender's side of core/udp_flow.py: a burst of equal frames of one flow travels as segments of a
superframe.

That is one header for many datagrams: a plaintext holds three times as many of the smallest frames as a
bundle does, and the receiver has hardly anything to do. Who sends one datagram per system call gets what
UDP_SEGMENT gives.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from l2mesh.core.udp_flow import Flow, comparands, read_flow
from l2mesh.wire import ip, virtio
from l2mesh.wire.plaintext import (
    HEADERS_SIZE_MAX,
    ITEM_SIZE,
    LAST,
    SEGMENT_HEADER,
    SEGMENT_HEADER_SIZE,
    segment_header,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l2mesh.wire.ethernet import Buffer

_ITEM_AT: Final = virtio.HEADER_SIZE - ITEM_SIZE
_SEGMENT_AT: Final = virtio.HEADER_SIZE - SEGMENT_HEADER_SIZE


class Burst(NamedTuple):
    flow: Flow
    begin: int
    end: int


def gather(frames: list[bytearray | memoryview], at: int, room: int) -> Burst | None:
    """The burst that begins with frames[at], if there is one. Hot: it often says no, and then at once.

    It must be larger than a bundle, or sharing one with other frames would be better.
    """
    first = frames[at]
    if first[virtio.CSUM_OFFSET_AT] != ip.UDP_CHECKSUM or not first[0] & virtio.NEEDS_CSUM:
        return None
    length = len(first)
    needed = at + room // (length - _ITEM_AT)
    if needed >= len(frames) or length != len(frames[needed]) or needed == at:
        return None
    if length != len(frames[at + 1]) or not _same_transport(first, frames[at + 1], frames[needed]):
        return None
    flow = _flow(first)
    if not flow or SEGMENT_HEADER_SIZE + flow.shape.length + flow.size > room:
        return None
    end = _burst_end(frames, at, flow)
    return Burst(flow, at, end) if end > needed else None


def _same_transport(first: Buffer, *others: Buffer) -> bool:
    (csum_start,) = virtio.CSUM_START.unpack_from(first, virtio.CSUM_START_AT)
    transport = virtio.HEADER_SIZE + csum_start
    ports = first[transport : transport + ip.UDP_HEADER_SIZE]
    return all(ports == other[transport : transport + ip.UDP_HEADER_SIZE] for other in others)


def _flow(frame: Buffer) -> Flow | None:
    (csum_start,) = virtio.CSUM_START.unpack_from(frame, virtio.CSUM_START_AT)
    headers = frame[virtio.HEADER_SIZE : virtio.HEADER_SIZE + csum_start + ip.UDP_HEADER_SIZE]
    flow = read_flow(bytes(headers), len(frame) - virtio.HEADER_SIZE)
    return flow if flow and len(flow.headers) <= HEADERS_SIZE_MAX else None


def _burst_end(frames: list[bytearray | memoryview], at: int, flow: Flow) -> int:
    first = frames[at]
    length = len(first)
    compare = comparands(flow.shape)
    comparand = compare(first, _ITEM_AT)
    end = at
    for frame in islice(frames, at, at + flow.datagrams_max):
        if len(frame) != length or compare(frame, _ITEM_AT) != comparand:
            break
        if frame[1] or not frame[0] & virtio.NEEDS_CSUM:
            break
        end += 1
    return end


def gathered_segments(
    burst: Burst, frames: list[bytearray | memoryview], room: int, superframe_id: int
) -> Iterator[Buffer]:
    """The burst as plaintexts of as many whole datagrams as fit in each. Hot."""
    (headers, _, size, _, _), begin, end = burst
    headers_end = virtio.HEADER_SIZE + len(headers)
    most = (room - SEGMENT_HEADER_SIZE - len(headers)) // size
    header = segment_header(virtio.GSO_UDP_L4, len(headers), superframe_id)
    if most == 1:
        yield from _in_place(frames[begin:end], headers, header, size)
        return
    for at in range(begin, end, most):
        stop = min(at + most, end)
        start = SEGMENT_HEADER.pack(header | LAST if stop == end else header)
        yield b"".join((start, headers, *[frame[headers_end:] for frame in frames[at:stop]]))
        header += most * size


def _in_place(frames: list[bytearray | memoryview], headers: bytes, header: int, size: int) -> Iterator[Buffer]:
    """One datagram in each plaintext: the payload stays where it is. Hot."""
    put_header = SEGMENT_HEADER.pack_into
    headers_end = virtio.HEADER_SIZE + len(headers)
    last = frames.pop()
    for frame in frames:
        put_header(frame, _SEGMENT_AT, header)
        frame[virtio.HEADER_SIZE : headers_end] = headers
        yield frame[_SEGMENT_AT:]
        header += size
    put_header(last, _SEGMENT_AT, header | LAST)
    last[virtio.HEADER_SIZE : headers_end] = headers
    yield last[_SEGMENT_AT:]
