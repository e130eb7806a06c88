"""The datagrams of l2mesh as they travel over UDP.

Read this page beside WireGuard's section 5.4: the shapes are its shapes. The first byte tells the type;
0-3 belong to STUN and 64-79 to TURN channels (RFC 7983), ours are 192 and above, so STUN can share the port.
Multi-byte integers are big-endian. The three bytes behind the type are zero when sent, ignored when received.

    initiation    type 192 | 0 (3) | sender index (4) | Noise message 1 (96 + n) | mac1 (16) | mac2 (16)
    response      type 193 | 0 (3) | receiver index (4) | Noise message 2 (48 + n) | mac1 (16) | mac2 (16)
    cookie reply  type 194 | 0 (3) | receiver index (4) | salt (16) | sealed cookie (32)
    data          type 195 | 0 (3) | receiver index (4) | counter (8) | ciphertext (n) | tag (16)
    relayed       type 196 | 0 (3) | channel (8) | one of the four above
    key request   type 197 | 0 (3) | nonce (8) | zeros (52)
    key reply     type 198 | 0 (3) | nonce (8) | public key (32)

A receiver index is chosen by the receiver and means nothing to anyone else. The AEAD nonce of a data
datagram is its bytes 4 to 16, receiver index and counter: nothing has to be built for each datagram, and the
index is bound by the tag. A key request is longer than its reply, so a forged one amplifies nothing.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final

from l2mesh.wire.errors import BadPacket

Buffer = bytes | bytearray | memoryview


class Outer(IntEnum):
    """First byte of a datagram."""

    INITIATION = 192
    RESPONSE = 193
    COOKIE_REPLY = 194
    DATA = 195
    RELAYED = 196
    KEY_REQUEST = 197
    KEY_REPLY = 198


MAC_SIZE: Final = 16
MACS_SIZE: Final = 2 * MAC_SIZE
TAG_SIZE: Final = 16
DATA_HEADER_SIZE: Final = 16
DATA_OVERHEAD: Final = DATA_HEADER_SIZE + TAG_SIZE
RELAY_HEADER_SIZE: Final = 12
KEY_REQUEST_SIZE: Final = 64
NONCE: Final = slice(4, 16)

INITIATION_MIN_SIZE: Final = 8 + 96 + MACS_SIZE
RESPONSE_MIN_SIZE: Final = 8 + 48 + MACS_SIZE
COOKIE_REPLY_SIZE: Final = 8 + 16 + 32
KEY_REPLY_SIZE: Final = 12 + 32

DATA_WORD: Final = Outer.DATA << 24
"""Type and reserved bytes of a data datagram as one integer, for `data_header`."""

data_header: Final = Struct(">IIQ")
"""(DATA_WORD, receiver index, counter)."""

_handshake_header = Struct(">B3xI")


def emit_handshake(kind: Outer, index: int, noise: bytes) -> bytes:
    """An initiation or response without its MACs."""
    return _handshake_header.pack(kind, index) + noise


def parse_handshake(datagram: Buffer) -> tuple[int, bytes]:
    """(index, Noise message) of an initiation or response."""
    least = INITIATION_MIN_SIZE if datagram[0] == Outer.INITIATION else RESPONSE_MIN_SIZE
    if len(datagram) < least:
        raise BadPacket(f"handshake of {len(datagram)} bytes")
    return _handshake_header.unpack_from(datagram)[1], bytes(datagram[8:-MACS_SIZE])


def emit_cookie_reply(index: int, salt: bytes, sealed_cookie: bytes) -> bytes:
    return _handshake_header.pack(Outer.COOKIE_REPLY, index) + salt + sealed_cookie


def parse_cookie_reply(datagram: Buffer) -> tuple[int, bytes, bytes]:
    """(receiver index, salt, sealed cookie)."""
    if len(datagram) != COOKIE_REPLY_SIZE:
        raise BadPacket(f"cookie reply of {len(datagram)} bytes")
    return _handshake_header.unpack_from(datagram)[1], bytes(datagram[8:24]), bytes(datagram[24:])


def relay_header(channel: bytes) -> bytes:
    """What goes in front of a datagram to send it through a relay."""
    return bytes((Outer.RELAYED, 0, 0, 0)) + channel


def emit_key_request(nonce: bytes) -> bytes:
    return (bytes((Outer.KEY_REQUEST, 0, 0, 0)) + nonce).ljust(KEY_REQUEST_SIZE, b"\0")


def parse_key_request(datagram: Buffer) -> bytes:
    """The nonce."""
    if len(datagram) != KEY_REQUEST_SIZE:
        raise BadPacket(f"key request of {len(datagram)} bytes")
    return bytes(datagram[4:12])


def emit_key_reply(nonce: bytes, public_key: bytes) -> bytes:
    return bytes((Outer.KEY_REPLY, 0, 0, 0)) + nonce + public_key


def parse_key_reply(datagram: Buffer) -> tuple[bytes, bytes]:
    """(nonce, public key)."""
    if len(datagram) != KEY_REPLY_SIZE:
        raise BadPacket(f"key reply of {len(datagram)} bytes")
    return bytes(datagram[4:12]), bytes(datagram[12:])
