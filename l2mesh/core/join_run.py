"""Joining superframes from a run of segments that lie one behind the other in memory (plain_run.py).

The same as superframe.join does with segments that are objects of their own, but headers are read, compared and
counted for all at once, and payloads stay where they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.run_headers import DATAGRAMS_MAX, run_headers
from l2mesh.core.superframe import SLICES_MAX, read_first
from l2mesh.wire import virtio
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.plaintext import LAST, SEGMENT_HEADER, SEGMENT_HEADER_SIZE

if TYPE_CHECKING:
    from l2mesh.core.plain_run import PlainRun
    from l2mesh.core.run_headers import Delivery, Shape
    from l2mesh.wire.ethernet import Buffer


def join_run(
    run: PlainRun, behind: list[bytes], uso: bool, deliveries: list[Delivery], drops: Drops
) -> list[bytes]:
    """Join the segments of a run, maybe of several superframes. The last may end with the first one `behind`.

    Returns what is left to be looked at one by one. Everything in the segments is untrusted. Hot.
    """
    numbers, headers = run.beginnings()
    if headers.count(headers[0]) != run.count:
        return run.plaintexts() + behind
    following = behind[0] if behind else b""
    at = 0
    while at < run.count:
        try:
            header, shape, size = read_first(run.plaintext(at))
        except BadPacket:
            drops.count(DropReason.BAD_SEGMENT)
            at += 1
            continue
        start = SEGMENT_HEADER_SIZE + shape.length
        step = run.size - start
        other = shape.length != len(headers[0])  # it says another length of its headers than the first
        if other or step % size or (shape.gso == virtio.GSO_UDP_L4 and not uso):
            return run.plaintexts()[at:] + behind
        room = _room(header, shape, size)
        end = _end(numbers, at, min(run.count, at + room // step, at + SLICES_MAX), step)
        last = bool(numbers[end - 1] & LAST)
        slices: list[Buffer] = [*run.slices(start, at, end)]
        total = step * len(slices)
        below = min(step, room - total + 1)
        taken = end == run.count and not last and _continues(following, headers[0], header + total, below)
        if taken:
            slices.append(following[start:])
            total += len(following) - start
            last = bool(SEGMENT_HEADER.unpack_from(following)[0] & LAST)
        deliveries.append([run_headers(headers[0], shape, size, header & 0xFFFF, total, last), *slices])
        if taken:
            return behind[1:]
        at = end
    return behind


def _room(header: int, shape: Shape, size: int) -> int:
    """Bytes of payload that a superframe may have from this segment on."""
    room = shape.payload_max - (header & 0xFFFF)
    return min(room, size * DATAGRAMS_MAX) if shape.gso == virtio.GSO_UDP_L4 else room


def _end(numbers: tuple[int, ...], at: int, limit: int, step: int) -> int:
    """The index behind the segments that follow numbers[at] without a gap, at most the superframe's last. Hot."""
    expected = numbers[at]
    if expected & LAST:
        return at + 1
    most = limit - 1 - at  # all but the last, mostly, at one blow
    if numbers[at : limit - 1] == tuple(range(expected, expected + step * most, step)):
        at = limit - 1
        expected += step * most
    while at < limit:
        if numbers[at] != expected:
            return at + (numbers[at] == expected | LAST)
        at += 1
        expected += step
    return at


def _continues(segment: bytes, headers: bytes, expected: int, below: int) -> bool:
    """Whether this is the segment with header number `expected`, with a payload of less than `below` bytes."""
    return (
        0 < len(segment) - SEGMENT_HEADER_SIZE - len(headers) < below
        and segment.startswith(headers, SEGMENT_HEADER_SIZE)
        and SEGMENT_HEADER.unpack_from(segment)[0] | LAST == expected | LAST
    )
