"""In software, what an older kernel's TAP does not do: cut a superframe into frames, and finish a checksum.

Needed for UDP superframes before Linux 6.2 (Debian 12, Ubuntu 22.04), and for everything on a TAP without
virtio headers. Slow, and only ever used there. Frames here are virtio_net_hdr + Ethernet frame in one piece:

    flags(1) gso_type(1) hdr_len(2) gso_size(2) csum_start(2) csum_offset(2) | frame      all little-endian

csum_start counts from the start of the frame; the transport header begins there (Linux:
virtio_net_hdr_to_skb).
"""

from __future__ import annotations

import struct
from enum import IntEnum

from l2mesh.wire.errors import BadPacket

VIRTIO_HEADER = struct.Struct("<BBHHHH")
VIRTIO_HEADER_SIZE = VIRTIO_HEADER.size
NEEDS_CSUM = 1


class GsoType(IntEnum):
    """VIRTIO_NET_HDR_GSO_*; bit 0x80 (ECN) may be added to the TCP types."""

    NONE = 0
    TCP_V4 = 1
    TCP_V6 = 4
    UDP_L4 = 5


ETHERNET_SIZE = 14
VLAN_TAG_SIZE = 4
VLAN_TYPES = {0x8100, 0x88A8}
IPV6_HEADER_SIZE = 40
UDP_HEADER_SIZE = 8
TCP_HEADER_MIN = 20
PROTOCOL_TCP = 6
PROTOCOL_UDP = 17
TCP_FLAGS = 13  # offset in the TCP header
TCP_FIN_PSH = 0x09
TCP_CWR = 0x80


def ones_complement_sum(data: bytes | bytearray | memoryview) -> int:
    """The Internet checksum's sum (RFC 1071), before the complement: 16-bit words modulo 0xffff."""
    if len(data) % 2:
        data = bytes(data) + b"\0"
    return int.from_bytes(data, "big") % 0xFFFF


def finish_checksum(frame: bytearray) -> bytearray:
    """Compute in place the checksum that a virtio header leaves to the receiver, and clear that header.

    Raises BadPacket when the header points outside the frame.
    """
    flags, _, _, _, csum_start, csum_offset = VIRTIO_HEADER.unpack_from(frame)
    if flags & NEEDS_CSUM:
        start = VIRTIO_HEADER_SIZE + csum_start
        field = start + csum_offset
        if field + 2 > len(frame):
            raise BadPacket("checksum field outside the frame")
        # The field holds the pseudo-header's sum, so it takes part. The result is never 0, which UDP forbids.
        struct.pack_into("!H", frame, field, 0xFFFF - ones_complement_sum(memoryview(frame)[start:]))
    frame[:VIRTIO_HEADER_SIZE] = bytes(VIRTIO_HEADER_SIZE)
    return frame


def split_superframe(superframe: bytes) -> list[bytearray]:
    """Cut at gso_size; -> frames whose virtio header asks for a checksum only. Raises BadPacket."""
    _, gso_type, _, gso_size, transport, csum_offset = VIRTIO_HEADER.unpack_from(superframe)
    frame = superframe[VIRTIO_HEADER_SIZE:]
    is_tcp = gso_type & 0x7F != GsoType.UDP_L4
    network = _network_offset(frame)
    header_size = transport + _transport_size(frame, transport, is_tcp)
    if gso_size == 0 or transport < network + 20 or header_size > len(frame):
        raise BadPacket("superframe with impossible lengths")
    virtio = VIRTIO_HEADER.pack(NEEDS_CSUM, GsoType.NONE, 0, 0, transport, csum_offset)
    parts = []
    for start in range(header_size, max(len(frame), header_size + 1), gso_size):
        part = bytearray(virtio + frame[:header_size] + frame[start : start + gso_size])
        view = memoryview(part)[VIRTIO_HEADER_SIZE:]
        if is_tcp:
            _fix_tcp(view[transport:], start - header_size, last=start + gso_size >= len(frame))
        else:
            struct.pack_into("!H", view, transport + 4, len(view) - transport)
        pseudo_sum = _fix_ip(view[network:], transport - network, (start - header_size) // gso_size, is_tcp)
        struct.pack_into("!H", view, transport + (16 if is_tcp else 6), pseudo_sum)
        parts.append(part)
    return parts


def _network_offset(frame: bytes) -> int:
    offset = ETHERNET_SIZE
    while int.from_bytes(frame[offset - 2 : offset], "big") in VLAN_TYPES:
        offset += VLAN_TAG_SIZE
    return offset


def _transport_size(frame: bytes, transport: int, is_tcp: bool) -> int:
    if not is_tcp:
        return UDP_HEADER_SIZE
    if transport + TCP_HEADER_MIN > len(frame):
        raise BadPacket("superframe ends inside its headers")
    return max(TCP_HEADER_MIN, (frame[transport + 12] >> 4) * 4)


def _fix_tcp(segment: memoryview, payload_offset: int, last: bool) -> None:
    sequence = int.from_bytes(segment[4:8], "big") + payload_offset
    struct.pack_into("!I", segment, 4, sequence & 0xFFFFFFFF)
    if not last:
        segment[TCP_FLAGS] &= ~TCP_FIN_PSH & 0xFF
    if payload_offset:
        segment[TCP_FLAGS] &= ~TCP_CWR & 0xFF


def _fix_ip(packet: memoryview, header_size: int, index: int, is_tcp: bool) -> int:
    """Set lengths, identification and header checksum; -> the sum of the pseudo-header (RFC 9293 3.1, 8200
    8.1).
    """
    protocol = PROTOCOL_TCP if is_tcp else PROTOCOL_UDP
    transport_length = len(packet) - header_size
    if packet[0] >> 4 == 4:
        identification = int.from_bytes(packet[4:6], "big") + index
        struct.pack_into("!HH", packet, 2, len(packet), identification & 0xFFFF)
        struct.pack_into("!H", packet, 10, 0)
        struct.pack_into("!H", packet, 10, 0xFFFF - ones_complement_sum(packet[:header_size]))
        addresses = packet[12:20]
    else:
        struct.pack_into("!H", packet, 4, len(packet) - IPV6_HEADER_SIZE)
        addresses = packet[8:40]
    return ones_complement_sum(bytes(addresses) + struct.pack("!II", protocol, transport_length))
