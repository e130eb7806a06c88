"""UDP frames without what follows from their length: so one with 1400 bytes needs one datagram, not two.

A frame of 1442 bytes misses a 1440 byte plaintext by its item header. Lengths, identification and checksums of its
IP and UDP headers are 10 bytes that the receiver can work out (l2mesh/wire/plaintext.py, kind `udp`), and a run of
such frames, all of one flow and size, is one superframe for its TAP. Which frames may travel so is the rule of
udp_flow.py: a partial checksum, no IP options, Don't Fragment, no fragments.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Final

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.run_headers import DATAGRAMS_MAX, Shape, parse_shape, run_headers
from l2mesh.core.udp_flow import comparands, read_flow
from l2mesh.wire import ethernet, ip, virtio
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.plaintext import ITEM_SIZE, UDP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l2mesh.core.plain_run import PlainRun
    from l2mesh.core.run_headers import Delivery
    from l2mesh.wire.ethernet import Buffer

_ITEM_AT: Final = virtio.HEADER_SIZE - ITEM_SIZE
_KIND: Final = bytes((UDP,))
_PORTS_SIZE: Final = 4
PREFIXES_MAX: Final = 256
"""Flows whose headers are remembered; a further one displaces the one that was quiet the longest."""

# What stays of an IP header, by its version.
_SLIM: Final = {
    ethernet.IPV4: (
        (0, ip.IPV4_LENGTH),
        (ip.IPV4_FRAGMENT, ip.IPV4_CHECKSUM),
        (ip.IPV4_ADDRESSES, ip.IPV4_HEADER_SIZE),
    ),
    ethernet.IPV6: ((0, ip.IPV6_LENGTH), (ip.IPV6_NEXT_HEADER, ip.IPV6_HEADER_SIZE)),
}
_ETHERNET_END: Final = 1 + ethernet.HEADER_SIZE + ethernet.TAGS_MAX * ethernet.TAG_SIZE


def slim_run(frames: list[bytearray | memoryview], at: int, room: int) -> tuple[list[memoryview], bytes] | None:
    """(frames, what goes in front of their payloads) of the run that begins at `at`; None: not this way."""
    first = frames[at]
    if first[virtio.CSUM_OFFSET_AT] != ip.UDP_CHECKSUM or not first[0] & virtio.NEEDS_CSUM:
        return None
    (transport,) = virtio.CSUM_START.unpack_from(first, virtio.CSUM_START_AT)
    headers = bytes(first[virtio.HEADER_SIZE : virtio.HEADER_SIZE + transport + ip.UDP_HEADER_SIZE])
    flow = read_flow(headers, len(first) - virtio.HEADER_SIZE)
    if flow is None:
        return None
    prefix = _slim(headers, flow.shape)
    if prefix is None or len(prefix) + flow.size > room:
        return None
    compare = comparands(flow.shape)
    comparand, length = compare(first, _ITEM_AT), len(first)
    run = []
    for frame in islice(frames, at, None):
        if len(frame) != length or frame[1] or not frame[0] & virtio.NEEDS_CSUM:
            break
        if compare(frame, _ITEM_AT) != comparand:
            break
        run.append(memoryview(frame))
    return run, prefix


def slim_plaintexts(frames: list[memoryview], prefix: bytes, headers_size: int) -> Iterator[memoryview]:
    """One plaintext a frame, in place: the prefix is written over the end of the headers. Hot."""
    payload_at = virtio.HEADER_SIZE + headers_size
    start = payload_at - len(prefix)
    for frame in frames:
        frame[start:payload_at] = prefix
        yield frame[start:]


def headers_size_of(frame: Buffer) -> int:
    """Bytes of all headers of a UDP frame with a partial checksum, behind its virtio header."""
    return int(virtio.CSUM_START.unpack_from(frame, virtio.CSUM_START_AT)[0]) + ip.UDP_HEADER_SIZE


def _slim(headers: bytes, shape: Shape) -> bytes | None:
    """The kind byte and what is sent of a frame's headers; None with IP options or extension headers."""
    network, transport = shape.network, shape.transport
    if transport - network != (ip.IPV4_HEADER_SIZE if shape.ipv4 else ip.IPV6_HEADER_SIZE):
        return None
    slim = _SLIM[ethernet.IPV4 if shape.ipv4 else ethernet.IPV6]
    kept = [headers[network + begin : network + end] for begin, end in slim]
    return b"".join((_KIND, headers[:network], *kept, headers[transport : transport + _PORTS_SIZE]))


def _prefix_size(plaintext: bytes) -> int:
    """Of kind, Ethernet header, slim IP header and ports. Raises BadPacket."""
    ether_type, network = ethernet.network_offset(plaintext[1:_ETHERNET_END])
    if ether_type not in _SLIM:
        raise BadPacket("a slim UDP frame of another protocol")
    return 1 + network + sum(end - begin for begin, end in _SLIM[ether_type]) + _PORTS_SIZE


@lru_cache(maxsize=PREFIXES_MAX)
def _restore(prefix: bytes, size: int) -> tuple[bytes, Shape]:
    """Headers of one datagram with `size` bytes of payload, and their shape. Raises BadPacket."""
    ether_type, network = ethernet.network_offset(prefix[1:])
    header = bytearray(ip.IPV4_HEADER_SIZE if ether_type == ethernet.IPV4 else ip.IPV6_HEADER_SIZE)
    at = 1 + network
    for begin, end in _SLIM[ether_type]:
        header[begin:end] = prefix[at : at + end - begin]
        at += end - begin
    length = ip.UDP_HEADER_SIZE + size
    # The addresses are the last of both headers; the IPv4 checksum is written for a whole run, by run_headers.
    if ether_type == ethernet.IPV4:
        header[ip.IPV4_LENGTH : ip.IPV4_LENGTH + 2] = (ip.IPV4_HEADER_SIZE + length & 0xFFFF).to_bytes(2, "big")
        addresses = header[ip.IPV4_ADDRESSES :]
    else:
        header[ip.IPV6_LENGTH : ip.IPV6_LENGTH + 2] = (length & 0xFFFF).to_bytes(2, "big")
        addresses = header[ip.IPV6_ADDRESSES :]
    partial = (int.from_bytes(addresses, "big") + ip.PROTOCOL_UDP + length) % 65535 or 65535
    udp = prefix[at:] + (length & 0xFFFF).to_bytes(2, "big") + partial.to_bytes(2, "big")
    headers = prefix[1 : 1 + network] + header + udp
    shape = parse_shape(headers, virtio.GSO_UDP_L4)
    if shape.length != len(headers) or size > shape.payload_max:
        raise BadPacket("a slim UDP frame with options, or too long")
    return headers, shape


def _read_first(plaintext: bytes) -> tuple[bytes, bytes, Shape, int]:
    """(what is in front of its payload, headers of one datagram, their shape, payload) of untrusted bytes."""
    start = _prefix_size(plaintext)
    size = len(plaintext) - start
    if size < 1:
        raise BadPacket("a slim UDP frame without payload")
    return plaintext[:start], *_restore(plaintext[:start], size), size


def join_slim(plaintexts: list[bytes], at: int, uso: bool, deliveries: list[Delivery], drops: Drops) -> int:
    """Deliver the run of slim UDP frames that begins with plaintexts[at]; the index behind it. Hot.

    Everything in them is untrusted: the run's first is checked, the others have the same prefix and length.
    """
    first = plaintexts[at]
    length = len(first)
    try:
        prefix, headers, shape, size = _read_first(first)
    except BadPacket:
        drops.count(DropReason.BAD_SLIM_UDP)
        return at + 1
    start = len(prefix)
    most = min(DATAGRAMS_MAX, shape.payload_max // size) if uso else 1
    payloads = [first[start:]]
    append = payloads.append
    for plaintext in islice(plaintexts, at + 1, at + most):
        if len(plaintext) != length or not plaintext.startswith(prefix):
            break
        append(plaintext[start:])
    deliveries.append([run_headers(headers, shape, size, 0, size * len(payloads), True), *payloads])
    return at + len(payloads)


def join_slim_run(run: PlainRun, behind: list[bytes], uso: bool, deliveries: list[Delivery]) -> list[bytes]:
    """The same for a run that lies in memory, if it is of one flow. What is left for one by one. Hot."""
    try:
        prefix, headers, shape, size = _read_first(run.plaintext(0))
    except BadPacket:
        prefix = b""
    if not prefix or run.prefixes(len(prefix)).count(prefix) != run.count:
        return run.plaintexts() + behind
    most = min(DATAGRAMS_MAX, shape.payload_max // size) if uso else 1
    for begin in range(0, run.count, most):
        payloads = run.slices(len(prefix), begin, min(begin + most, run.count))
        deliveries.append([run_headers(headers, shape, size, 0, size * len(payloads), True), *payloads])
    return behind
