"""PCP, the Port Control Protocol (RFC 6887): asks a router to let the outside reach a port of ours.

One datagram to UDP port 5351 of the router, one back. Integers are big-endian; an address has 16 bytes, IPv4 as
::ffff:a.b.c.d. MAP opens a port for so many seconds, 0 closes it; ANNOUNCE, unasked, says that the router starts
anew.

    request     version 2 | opcode | 0 (2) | lifetime (4) | own address (16)
    response    version 2 | 128 + opcode | 0 (1) | result (1) | lifetime (4) | epoch (4) | 0 (12)
    MAP adds    nonce (12) | protocol (1) | 0 (3) | internal port (2) | external port (2) | external address (16)

The lifetime of a response that is an error says how long the error lasts. The epoch counts seconds since the
router lost all mappings. We send no options, and ignore what follows the MAP of a response.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv6Address, ip_address
from struct import Struct
from typing import Final

from l2mesh.wire.address import Address
from l2mesh.wire.errors import BadPacket

VERSION: Final = 2
SERVER_PORT: Final = 5351
CLIENT_PORT: Final = 5350
"""Where announcements are sent to, at 224.0.0.1 and ff02::1; NAT-PMP's too."""
NONCE_SIZE: Final = 12
HEADER_SIZE: Final = 24
MAP_SIZE: Final = 36
SIZE_MAX: Final = 1100
RESPONSE: Final = 128
UDP: Final = 17
"""IANA's protocol number."""


class Opcode(IntEnum):
    ANNOUNCE = 0
    MAP = 1


class Result(IntEnum):
    """RFC 6887, section 7.4."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


@dataclass(frozen=True, slots=True)
class Map:
    """A UDP port of ours, and where the outside reaches it: suggested in a request, assigned in a response."""

    nonce: bytes
    internal_port: int
    external: Address


@dataclass(frozen=True, slots=True)
class Response:
    """`result` may be one that Result does not name; `lifetime` in seconds. `map`: of a response to MAP."""

    opcode: int
    result: int
    lifetime: int
    epoch: int
    map: Map | None


_request = Struct(">BBxxI16s")
_response = Struct(">BBxBII12x")
_map = Struct(">12sB3xHH16s")


def parse_response(data: bytes) -> Response:
    """Raises BadPacket, also for a request and for another version than ours."""
    if len(data) < HEADER_SIZE or len(data) > SIZE_MAX or len(data) % 4:
        raise BadPacket(f"PCP message of {len(data)} bytes")
    version, opcode, result, lifetime, epoch = _response.unpack_from(data)
    if version != VERSION:
        raise BadPacket(f"PCP version {version}")
    if opcode < RESPONSE:
        raise BadPacket("a PCP request, not a response")
    opcode -= RESPONSE
    return Response(opcode, result, lifetime, epoch, _parse_map(data) if opcode == Opcode.MAP else None)


def _parse_map(data: bytes) -> Map:
    if len(data) < HEADER_SIZE + MAP_SIZE:
        raise BadPacket("PCP MAP cut short")
    nonce, protocol, internal_port, external_port, packed = _map.unpack_from(data, HEADER_SIZE)
    if protocol != UDP:
        raise BadPacket(f"PCP MAP of protocol {protocol}")
    return Map(nonce, internal_port, (_host(packed), external_port))


def emit_map_request(own_host: str, mapping: Map, lifetime: int) -> bytes:
    """60 bytes. `own_host` must be the address that the request is sent from. Lifetime 0 deletes."""
    return _request.pack(VERSION, Opcode.MAP, lifetime, _packed(own_host)) + _emit_map(mapping)


def emit_response(response: Response) -> bytes:
    """A router's half."""
    header = _response.pack(
        VERSION, RESPONSE + response.opcode, response.result, response.lifetime, response.epoch
    )
    return header + (b"" if response.map is None else _emit_map(response.map))


def parse_map_request(data: bytes) -> tuple[str, Map, int]:
    """(own host, mapping, lifetime). A router's half."""
    if len(data) < HEADER_SIZE + MAP_SIZE:
        raise BadPacket(f"PCP request of {len(data)} bytes")
    version, opcode, lifetime, packed = _request.unpack_from(data)
    if (version, opcode) != (VERSION, Opcode.MAP):
        raise BadPacket(f"PCP version {version} opcode {opcode}")
    return _host(packed), _parse_map(data), lifetime


def _emit_map(mapping: Map) -> bytes:
    host, port = mapping.external
    return _map.pack(mapping.nonce, UDP, mapping.internal_port, port, _packed(host))


def _packed(host: str) -> bytes:
    ip = ip_address(host)
    return ip.packed if ip.version == 6 else IPv6Address(f"::ffff:{ip}").packed


def _host(packed: bytes) -> str:
    ip = IPv6Address(packed)
    return str(ip.ipv4_mapped or ip)
