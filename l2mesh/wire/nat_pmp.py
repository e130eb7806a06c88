"""NAT-PMP, the NAT Port Mapping Protocol (RFC 6886): PCP's predecessor, on the same port, IPv4 only.

    address request     0 | 0
    address response    0 | 128 | result (2) | epoch (4) | external address (4)
    map request         0 | 1 | 0 (2) | internal port (2) | external port (2) | lifetime (4)
    map response        0 | 129 | result (2) | epoch (4) | internal port (2) | external port (2) | lifetime (4)

The first byte is the version, the second the opcode; 1 maps a UDP port.
A response that is an error may end behind its epoch. The answer to a request of another version, PCP's too, is the
error UNSUPPORTED_VERSION. An address response that nobody asked for, to 224.0.0.1, tells of a restart or a new
address. Bytes behind these are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address
from struct import Struct
from typing import Final

from l2mesh.wire.errors import BadPacket

VERSION: Final = 0
RESPONSE: Final = 128
HEADER_SIZE: Final = 8


class Opcode(IntEnum):
    ADDRESS = 0
    MAP_UDP = 1


class Result(IntEnum):
    """RFC 6886, section 3.5."""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5


@dataclass(frozen=True, slots=True)
class AddressResponse:
    epoch: int
    host: str


@dataclass(frozen=True, slots=True)
class MapResponse:
    """`lifetime` in seconds; 0, with external port 0: the mapping is deleted."""

    epoch: int
    internal_port: int
    external_port: int
    lifetime: int


@dataclass(frozen=True, slots=True)
class Failure:
    """`result` may be one that Result does not name."""

    opcode: int
    result: int
    epoch: int


Response = AddressResponse | MapResponse | Failure

_header = Struct(">BBHI")
_map_request = Struct(">BBxxHHI")
_map_body = Struct(">HHI")


def parse_response(data: bytes) -> Response:
    if len(data) < HEADER_SIZE:
        raise BadPacket(f"NAT-PMP response of {len(data)} bytes")
    version, opcode, result, epoch = _header.unpack_from(data)
    if version != VERSION:
        raise BadPacket(f"NAT-PMP version {version}")
    if opcode < RESPONSE:
        raise BadPacket("a NAT-PMP request, not a response")
    opcode -= RESPONSE
    if result != Result.SUCCESS:
        return Failure(opcode, result, epoch)
    body = data[HEADER_SIZE:]
    if opcode == Opcode.ADDRESS and len(body) >= 4:
        return AddressResponse(epoch, str(IPv4Address(body[:4])))
    if opcode == Opcode.MAP_UDP and len(body) >= _map_body.size:
        return MapResponse(epoch, *_map_body.unpack_from(body))
    raise BadPacket(f"NAT-PMP response to opcode {opcode} of {len(data)} bytes")


def emit_address_request() -> bytes:
    return bytes((VERSION, Opcode.ADDRESS))


def emit_map_request(internal_port: int, external_port: int, lifetime: int) -> bytes:
    """Lifetime 0, with external port 0, deletes."""
    return _map_request.pack(VERSION, Opcode.MAP_UDP, internal_port, external_port, lifetime)


def parse_map_request(data: bytes) -> tuple[int, int, int]:
    """(internal port, external port, lifetime). A router's half."""
    if len(data) < _map_request.size:
        raise BadPacket(f"NAT-PMP request of {len(data)} bytes")
    version, opcode, internal_port, external_port, lifetime = _map_request.unpack_from(data)
    if (version, opcode) != (VERSION, Opcode.MAP_UDP):
        raise BadPacket(f"NAT-PMP version {version} opcode {opcode}")
    return internal_port, external_port, lifetime


def emit_response(response: Response) -> bytes:
    """A router's half."""
    if isinstance(response, Failure):
        return _header.pack(VERSION, RESPONSE + response.opcode, response.result, response.epoch)
    if isinstance(response, AddressResponse):
        header = _header.pack(VERSION, RESPONSE + Opcode.ADDRESS, Result.SUCCESS, response.epoch)
        return header + IPv4Address(response.host).packed
    header = _header.pack(VERSION, RESPONSE + Opcode.MAP_UDP, Result.SUCCESS, response.epoch)
    return header + _map_body.pack(response.internal_port, response.external_port, response.lifetime)
