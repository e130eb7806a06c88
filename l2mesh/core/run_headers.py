"""The headers of a run: of any whole number of consecutive segments of one superframe, from one to all.

A superframe's headers are carried once per datagram as those of one full segment (l2mesh/wire/plaintext.py).
From them, and from which part of the payload a run holds, follow the headers of the run: what the kernel's
own segmentation would have written (tcp_gso_segment, __udp_gso_segment, inet_gso_segment).
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Final, NamedTuple

from l2mesh.wire import ethernet, ip, virtio
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.ethernet import Buffer

Delivery = list[Buffer]
"""What one write to the TAP takes: joined, the buffers are a virtio header and a frame or superframe."""

# UDP_MAX_SEGMENTS of <linux/udp.h> is 128 since Linux 6.9, and was 64.
DATAGRAMS_MAX: Final = 64

TRANSPORTS: Final = {
    virtio.GSO_TCPV4: {(ethernet.IPV4, ip.PROTOCOL_TCP)},
    virtio.GSO_TCPV6: {(ethernet.IPV6, ip.PROTOCOL_TCP)},
    virtio.GSO_UDP_L4: {(ethernet.IPV4, ip.PROTOCOL_UDP), (ethernet.IPV6, ip.PROTOCOL_UDP)},
}

_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")
_get16 = _U16.unpack_from
_put16 = _U16.pack_into
_get32 = _U32.unpack_from
_put32 = _U32.pack_into


class Shape(NamedTuple):
    """What is where in the headers of a superframe or a segment. Offsets from the frame's start."""

    gso: int
    ipv4: bool
    network: int
    transport: int
    length: int
    """Of all headers: where the payload begins."""
    length_field: int
    """Where the IP length is."""
    length_excess: int
    """How much more than the payload the IP length counts."""
    checksum_offset: int
    """From `transport`."""

    @property
    def payload_max(self) -> int:
        """How many bytes of payload these headers can announce."""
        return ip.LENGTH_MAX - self.length_excess


@cache
def _shape(gso: int, ipv4: bool, network: int, transport: int, length: int) -> Shape:
    """One object for each of the few shapes there are: at most a byte's worth of lengths for a TAP's
    layers."""
    if ipv4:
        field, counted_from = network + ip.IPV4_LENGTH, network
    else:
        field, counted_from = network + ip.IPV6_LENGTH, network + ip.IPV6_HEADER_SIZE
    checksum = ip.UDP_CHECKSUM if gso == virtio.GSO_UDP_L4 else ip.TCP_CHECKSUM
    return Shape(gso, ipv4, network, transport, length, field, length - counted_from, checksum)


def parse_shape(frame: Buffer, gso: int) -> Shape:
    """Read the headers at the beginning of `frame`. Raises BadPacket if they are not what `gso` says."""
    transports = TRANSPORTS.get(gso)
    if transports is None:
        raise BadPacket("not a type of superframe we know")
    ether_type, network = ethernet.network_offset(frame)
    protocol, transport = ip.transport_offset(frame, ether_type, network)
    if (ether_type, protocol) not in transports:
        raise BadPacket("another protocol than the superframe's type says")
    if protocol == ip.PROTOCOL_UDP:
        size = ip.UDP_HEADER_SIZE
    elif len(frame) < transport + ip.TCP_HEADER_SIZE:
        raise BadPacket("a TCP header is cut short")
    else:
        size = (frame[transport + ip.TCP_HEADER_LENGTH] >> 4) * 4
        if size < ip.TCP_HEADER_SIZE:
            raise BadPacket("a TCP header shorter than it can be")
    if len(frame) < transport + size:
        raise BadPacket("the headers are cut short")
    return _shape(gso, ether_type == ethernet.IPV4, network, transport, transport + size)


def announced_payload(headers: Buffer, shape: Shape) -> int:
    """How many bytes of payload the IP header announces. May be zero or negative: untrusted."""
    (length,) = _get16(headers, shape.length_field)
    return int(length) - shape.length_excess


def segment_headers(frame: Buffer, shape: Shape, size: int) -> bytes:
    """The headers of a superframe as they travel: those of a segment with `size` bytes of payload."""
    headers = bytearray(frame[: shape.length])
    _set_lengths(headers, 0, shape, announced_payload(headers, shape), size)
    return bytes(headers)


def run_headers(headers: Buffer, shape: Shape, size: int, offset: int, total: int, last: bool) -> bytearray:
    """virtio_net_hdr and headers of the `total` bytes of payload that begin at `offset` in the superframe.

    `headers` are those of one segment with `size` bytes of payload, `size` divides `offset`, and `last` says
    that the run ends the superframe. A run of at most one segment is a plain frame. Hot: once per run.
    """
    gso, ipv4, network, transport, length, _, _, checksum_offset = shape
    out = bytearray(virtio.HEADER_SIZE)
    out += headers
    _set_lengths(out, virtio.HEADER_SIZE, shape, size, total)
    index = offset // size
    if gso != virtio.GSO_UDP_L4:
        gso |= _set_tcp(out, virtio.HEADER_SIZE + transport, offset, index, last)
    if ipv4:
        _set_ipv4(out, virtio.HEADER_SIZE + network, virtio.HEADER_SIZE + transport, index)
    if total > size:
        virtio.HEADER.pack_into(out, 0, virtio.NEEDS_CSUM, gso, length, size, transport, shape.checksum_offset)
    else:
        virtio.HEADER.pack_into(out, 0, virtio.NEEDS_CSUM, 0, 0, 0, transport, checksum_offset)
    return out


def _set_lengths(out: bytearray, start: int, shape: Shape, old: int, new: int) -> None:
    """From `old` to `new` bytes of payload: IP length, UDP length, partial checksum."""
    gso, _, _, transport, _, field, excess, checksum_offset = shape
    _put16(out, start + field, excess + new)
    transport += start
    if gso == virtio.GSO_UDP_L4:
        _put16(out, transport + ip.UDP_LENGTH, ip.UDP_HEADER_SIZE + new)
    if old != new:
        (partial,) = _get16(out, transport + checksum_offset)
        _put16(out, transport + checksum_offset, ip.shift_partial(partial, new - old))


def _set_tcp(out: bytearray, tcp: int, offset: int, index: int, last: bool) -> int:
    """Sequence number and flags of a run. Returns the flag that the superframe's type gets for CWR."""
    if offset:
        (sequence,) = _get32(out, tcp + ip.TCP_SEQUENCE)
        _put32(out, tcp + ip.TCP_SEQUENCE, sequence + offset & 0xFFFFFFFF)
    if not last:
        out[tcp + ip.TCP_FLAGS] &= ~(ip.TCP_FIN | ip.TCP_PSH)
    if not out[tcp + ip.TCP_FLAGS] & ip.TCP_CWR:
        return 0
    if index:
        out[tcp + ip.TCP_FLAGS] &= ~ip.TCP_CWR
        return 0
    return virtio.GSO_ECN


def _set_ipv4(out: bytearray, network: int, transport: int, index: int) -> None:
    if index:
        (identification,) = _get16(out, network + ip.IPV4_ID)
        _put16(out, network + ip.IPV4_ID, identification + index & 0xFFFF)
    _put16(out, network + ip.IPV4_CHECKSUM, 0)
    _put16(out, network + ip.IPV4_CHECKSUM, ip.checksum(out[network:transport]))
