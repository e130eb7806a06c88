"""The fields of IPv4, IPv6, TCP and UDP headers that cutting and joining has to mend.

    IPv4 (RFC 791)                                     IPv6 (RFC 8200)
    +0  version, header length   +8  TTL               +0  version, class, flow label
    +2  total length             +9  protocol          +4  payload length (extension headers included)
    +4  identification           +10 header checksum   +6  next header
    +6  flags, fragment offset   +12 addresses (8)     +8  addresses (32)

    TCP (RFC 9293)                                     UDP (RFC 768)
    +4  sequence number          +13 flags             +4  length
    +12 header length            +16 checksum          +6  checksum

A *partial* checksum (Linux CHECKSUM_PARTIAL) is the folded, not inverted sum of the pseudo-header alone:
addresses, protocol, and the length of header and payload. Who has the NEEDS_CSUM flag adds the rest. One's
complement sums are numbers modulo 65535, which Python computes at once for any length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from l2mesh.wire import ethernet
from l2mesh.wire.errors import BadPacket

if TYPE_CHECKING:
    from l2mesh.wire.ethernet import Buffer

LENGTH_MAX: Final = 65535

IPV4_HEADER_SIZE: Final = 20
IPV4_LENGTH: Final = 2
IPV4_ID: Final = 4
IPV4_FRAGMENT: Final = 6
IPV4_PROTOCOL: Final = 9
IPV4_CHECKSUM: Final = 10
IPV4_ADDRESSES: Final = 12
DONT_FRAGMENT: Final = 0x4000
# More-fragments flag and fragment offset: not zero in each fragment.
IS_FRAGMENT: Final = 0x3FFF

IPV6_HEADER_SIZE: Final = 40
IPV6_ADDRESSES: Final = 8
IPV6_LENGTH: Final = 4
IPV6_NEXT_HEADER: Final = 6
# Hop-by-hop options, routing, destination options: all have their length in 8 octets, without the first 8.
IPV6_EXTENSIONS: Final = frozenset({0, 43, 60})
# More than this is an attack, or nothing that a superframe is made of.
IPV6_EXTENSIONS_MAX: Final = 4

PROTOCOL_TCP: Final = 6
PROTOCOL_UDP: Final = 17

TCP_HEADER_SIZE: Final = 20
TCP_SEQUENCE: Final = 4
TCP_HEADER_LENGTH: Final = 12
TCP_FLAGS: Final = 13
TCP_CHECKSUM: Final = 16
TCP_FIN: Final = 0x01
TCP_PSH: Final = 0x08
TCP_CWR: Final = 0x80

UDP_HEADER_SIZE: Final = 8
UDP_LENGTH: Final = 4
UDP_CHECKSUM: Final = 6


def transport_offset(frame: Buffer, ether_type: int, network: int) -> tuple[int, int]:
    """(protocol, offset of its header) of the IP packet at `network` in `frame`. Raises BadPacket.

    A fragment is refused: what follows its IP header is not to be taken for a header.
    """
    if ether_type == ethernet.IPV4:
        return _behind_ipv4(frame, network)
    if ether_type == ethernet.IPV6:
        return _behind_ipv6(frame, network)
    raise BadPacket("neither IPv4 nor IPv6")


def _behind_ipv4(frame: Buffer, network: int) -> tuple[int, int]:
    if len(frame) < network + IPV4_HEADER_SIZE:
        raise BadPacket("an IPv4 header is cut short")
    first = frame[network]
    transport = network + (first & 15) * 4
    if first >> 4 != 4 or not network + IPV4_HEADER_SIZE <= transport <= len(frame):
        raise BadPacket("an IPv4 header of impossible version or length")
    if (frame[network + IPV4_FRAGMENT] << 8 | frame[network + IPV4_FRAGMENT + 1]) & IS_FRAGMENT:
        raise BadPacket("a fragment of an IPv4 packet")
    return frame[network + IPV4_PROTOCOL], transport


def _behind_ipv6(frame: Buffer, network: int) -> tuple[int, int]:
    transport = network + IPV6_HEADER_SIZE
    if len(frame) < transport or frame[network] >> 4 != 6:
        raise BadPacket("an IPv6 header is cut short or of another version")
    protocol = frame[network + IPV6_NEXT_HEADER]
    for _ in range(IPV6_EXTENSIONS_MAX):
        if protocol not in IPV6_EXTENSIONS:
            break
        if len(frame) < transport + 8:
            raise BadPacket("an IPv6 extension header is cut short")
        protocol = frame[transport]
        transport += frame[transport + 1] * 8 + 8
    return protocol, transport


def checksum(header: bytes | bytearray) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes, its own field zero."""
    return -int.from_bytes(header, "big") % 65535


def shift_partial(partial: int, difference: int) -> int:
    """The partial checksum of a packet that is longer by `difference` bytes (shorter if negative)."""
    return (partial + difference) % 65535 or 65535
