"""Bundles: small frames share a plaintext.

An item's header has the end of the virtio header that the frame has anyway, and the length where gso_size
was. So the sender writes the length, and the receiver puts the beginning of a virtio header in front again.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import TYPE_CHECKING, Final

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.mss import SYN_SIZE_MIN, lower_mss, may_be_tcp
from l2mesh.core.udp_gather import gather
from l2mesh.core.udp_run import Item, UdpRuns
from l2mesh.wire import ethernet, ip, virtio
from l2mesh.wire.plaintext import BUNDLE, ITEM, ITEM_SIZE, KIND_SIZE

if TYPE_CHECKING:
    from l2mesh.core.run_headers import Delivery
    from l2mesh.wire.ethernet import Buffer

# Where the item's header begins in the virtio header, and the kind before it.
_ITEM_AT: Final = virtio.HEADER_SIZE - ITEM_SIZE
_KIND_AT: Final = _ITEM_AT - KIND_SIZE
_SYN_SIZE_MIN: Final = SYN_SIZE_MIN - _ITEM_AT
_LENGTH: Final = struct.Struct("<H")

# What the receiver puts in front of csum_start and csum_offset.
_CSUM_AT: Final = ITEM_SIZE - 4
_COMPLETE: Final = bytes(virtio.HEADER_SIZE - 4)
_PARTIAL: Final = bytes((virtio.NEEDS_CSUM,)) + bytes(virtio.HEADER_SIZE - 5)
_CHECKSUM_SIZE: Final = 2
_ITEM_SIZE_MIN: Final = ITEM_SIZE + ethernet.HEADER_SIZE


def item_size(frame: Buffer) -> int:
    """How many bytes of a bundle `frame` takes, given with its virtio header."""
    return len(frame) - _ITEM_AT


def write_bundle(frames: list[bytearray | memoryview], at: int, room: int) -> tuple[Buffer, int]:
    """A bundle of frames[at], which must fit, and of what follows and fits; and the index behind. Hot.

    It ends before a superframe, and before a burst that is better sent in another way. A bundle of one lives
    in its frame's buffer.
    """
    put_length = _LENGTH.pack_into
    parts: list[Buffer] = []
    used = KIND_SIZE
    for frame in islice(frames, at, None):
        size = len(frame) - _ITEM_AT
        used += size
        if used > room or size < _ITEM_SIZE_MIN or frame[1]:
            break
        if size >= _SYN_SIZE_MIN and may_be_tcp(frame):
            lower_mss(frame, room)
        if frame[0] & virtio.NEEDS_CSUM:
            if parts and frame[virtio.CSUM_OFFSET_AT] == ip.UDP_CHECKSUM and gather(frames, at + len(parts), room):
                break
            put_length(frame, _ITEM_AT, size - ITEM_SIZE)
        else:
            ITEM.pack_into(frame, _ITEM_AT, size - ITEM_SIZE, 0, 0)
        if parts:
            parts.append(frame[_ITEM_AT:])
        else:
            frame[_KIND_AT] = BUNDLE
            parts.append(frame[_KIND_AT:])
    return b"".join(parts) if len(parts) > 1 else parts[0], at + len(parts)


def lone_bundle(frame: bytearray | memoryview, room: int) -> Buffer | None:
    """write_bundle of one frame, None when it does not go in a bundle. Hot: most waits are for such a frame."""
    size = len(frame) - _ITEM_AT
    if not _ITEM_SIZE_MIN <= size <= room - KIND_SIZE or frame[1]:
        return None
    if size >= _SYN_SIZE_MIN and may_be_tcp(frame):
        lower_mss(frame, room)
    if frame[0] & virtio.NEEDS_CSUM:
        _LENGTH.pack_into(frame, _ITEM_AT, size - ITEM_SIZE)
    else:
        ITEM.pack_into(frame, _ITEM_AT, size - ITEM_SIZE, 0, 0)
    frame[_KIND_AT] = BUNDLE
    return frame[_KIND_AT:]


def read_lone_bundle(bundle: object) -> Delivery | None:
    """The frame of a bundle of one, None when it is something else, or in doubt. Hot."""
    if type(bundle) is not bytes or len(bundle) < KIND_SIZE + _ITEM_SIZE_MIN or bundle[0] != BUNDLE:
        return None
    length, csum_start, csum_offset = ITEM.unpack_from(bundle, KIND_SIZE)
    if length != len(bundle) - KIND_SIZE - ITEM_SIZE:
        return None
    if not csum_start:
        return [_COMPLETE + bundle[KIND_SIZE + _CSUM_AT :]]
    if ethernet.HEADER_SIZE <= csum_start <= length - csum_offset - _CHECKSUM_SIZE:
        return [_PARTIAL + bundle[KIND_SIZE + _CSUM_AT :]]
    return None


def read_bundles(plaintexts: list[bytes], at: int, uso: bool, deliveries: list[Delivery], drops: Drops) -> int:
    """Deliver the frames of the bundles from plaintexts[at] on; returns the index behind the last. Hot.

    With `uso`, consecutive frames of one UDP flow are delivered as one superframe, across bundles.
    """
    runs = UdpRuns(deliveries)
    udp_checksum = ip.UDP_CHECKSUM if uso else -1
    while at < len(plaintexts):
        bundle = plaintexts[at]
        if not bundle or bundle[0] != BUNDLE:
            break
        _read_bundle(bundle, runs, udp_checksum, deliveries, drops)
        at += 1
    runs.close()
    return at


def _read_bundle(
    bundle: bytes, runs: UdpRuns, udp_checksum: int, deliveries: list[Delivery], drops: Drops
) -> None:
    """Each item is untrusted, and the first of wrong length ends its bundle. Hot.

    Frames with a partial checksum at offset `udp_checksum` go to `runs`.
    """
    get_item = ITEM.unpack_from
    at = KIND_SIZE
    last_at = len(bundle) - _ITEM_SIZE_MIN
    while at <= last_at:
        length, csum_start, csum_offset = get_item(bundle, at)
        end = at + ITEM_SIZE + length
        if length < ethernet.HEADER_SIZE or end > len(bundle):
            break
        if csum_offset == udp_checksum and csum_start:
            if length == runs.length and runs.compare(bundle, at) == runs.comparand and len(runs.run) < runs.full:
                runs.run.append(bundle[at + runs.payload_at : end])
            elif ethernet.HEADER_SIZE <= csum_start <= length - ip.UDP_HEADER_SIZE:
                item = Item(bundle, at, length, csum_start)
                runs.offer(item, [_PARTIAL + bundle[at + _CSUM_AT : end]])
            else:
                drops.count(DropReason.BAD_CHECKSUM_OFFSET)
        elif not csum_start:
            if runs.busy:
                runs.close()
            deliveries.append([_COMPLETE + bundle[at + _CSUM_AT : end]])
        elif ethernet.HEADER_SIZE <= csum_start <= length - csum_offset - _CHECKSUM_SIZE:
            if runs.busy:
                runs.close()
            deliveries.append([_PARTIAL + bundle[at + _CSUM_AT : end]])
        else:
            drops.count(DropReason.BAD_CHECKSUM_OFFSET)
        at = end
    if at != len(bundle) or at == KIND_SIZE:
        drops.count(DropReason.BAD_BUNDLE)
