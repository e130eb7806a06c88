"""UDP addresses: as text and port in the program, as 19 bytes on the wire.

version (1: 4 or 6) | port (2) | address (16: IPv4 in the first 4, the rest zero)
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import Final, Self

from l2mesh.wire.errors import BadPacket

Address = tuple[str, int]
"""Host (an IPv4 or IPv6 literal without scope) and UDP port. Plain: as seen from the main socket of that IP
version; a `SideAddress` is as seen from another one."""


class SideAddress(Address):
    """An address as it is seen from a side socket of this host: where a burst came from by that socket, and where
    a train is to go by it. Never equal to the plain address."""

    number: int
    """Of the side socket, 1 and up."""

    def __new__(cls, host: str, port: int, number: int) -> Self:
        address = super().__new__(cls, (host, port))
        address.number = number
        return address

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SideAddress) and self.number == other.number and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((*self, self.number))


def socket_number(address: Address) -> int:
    """Of the local socket it is seen from; 0 is the main one."""
    return address.number if isinstance(address, SideAddress) else 0


ADDRESS_SIZE: Final = 19

HOSTS_KEPT: Final = 16_384
"""Hosts whose packed form is remembered: a supernode sends each edge its address every two seconds."""

_struct = Struct(">BH16s")


def emit_address(address: Address) -> bytes:
    version, packed = _packed(address[0])
    return _struct.pack(version, address[1], packed)


@lru_cache(HOSTS_KEPT)
def _packed(host: str) -> tuple[int, bytes]:
    ip = ip_address(host)
    return ip.version, ip.packed


def parse_address(data: bytes | memoryview) -> Address:
    if len(data) < ADDRESS_SIZE:
        raise BadPacket("address cut short")
    version, port, packed = _struct.unpack_from(data)
    if version == 4:
        return str(IPv4Address(packed[:4])), port
    if version == 6:
        return str(IPv6Address(packed)), port
    raise BadPacket(f"address of IP version {version}")


def parse_ip(packed: bytes) -> str:
    """The literal of 4 or 16 bytes."""
    if len(packed) not in (4, 16):
        raise BadPacket(f"IP address of {len(packed)} bytes")
    return str(ip_address(packed))


def ip_version(host: str) -> int:
    """4 or 6, of an address literal."""
    return 6 if ":" in host else 4


def format_address(address: Address) -> str:
    """`192.0.2.1:7777` or `[2001:db8::1]:7777`."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_sendable(address: Address) -> bool:
    """Whether an address that somebody else told us may be sent to at all.

    Loopback, multicast, unspecified and broadcast are nobody's candidate, link-local means nothing without a
    scope, and port 0 is no port.
    """
    host, port = address
    try:
        ip = ip_address(host)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
        return False
    bad = ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip.is_link_local
    return not bad and str(ip) != "255.255.255.255" and 0 < port < 65536 and "%" not in host
