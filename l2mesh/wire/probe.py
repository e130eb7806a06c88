"""Probe and probe reply: a connectivity check of one path, inside a session.

    probe        kind 5 | missed (1) | 0 (2) | transaction id (8) | padding (any)
    probe reply  kind 6 | 0 (3) | transaction id (8) | address the probe came from (19)

A reply proves a round trip only when its transaction id was sent on the very path it came back on. `missed` says
how many probes on this path before it had no answer, so that who receives them all knows which direction is
broken.
The padding makes a probe as large as the datagrams that the path shall carry (RFC 8899). Bytes behind the reply's
address are ignored.
"""

from __future__ import annotations

from typing import Final

from l2mesh.wire.address import ADDRESS_SIZE, Address, emit_address, parse_address
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.plaintext import Kind

TRANSACTION_SIZE: Final = 8
PROBE_SIZE_MIN: Final = 4 + TRANSACTION_SIZE


def emit_probe(transaction: bytes, size: int = PROBE_SIZE_MIN, missed: int = 0) -> bytes:
    """A probe padded to `size` bytes of plaintext."""
    return (bytes((Kind.PROBE, min(missed, 255), 0, 0)) + transaction).ljust(size, b"\0")


def emit_probe_reply(transaction: bytes, observed: Address) -> bytes:
    return bytes((Kind.PROBE_REPLY, 0, 0, 0)) + transaction + emit_address(observed)


def parse_probe(plaintext: bytes) -> bytes:
    """The transaction id."""
    if len(plaintext) < PROBE_SIZE_MIN:
        raise BadPacket("probe cut short")
    return plaintext[4:PROBE_SIZE_MIN]


def parse_missed(plaintext: bytes) -> int:
    """Of what parse_probe took."""
    return plaintext[1]


def parse_probe_reply(plaintext: bytes) -> tuple[bytes, Address]:
    """(transaction id, address the probe came from)."""
    if len(plaintext) < PROBE_SIZE_MIN + ADDRESS_SIZE:
        raise BadPacket("probe reply cut short")
    return plaintext[4:PROBE_SIZE_MIN], parse_address(memoryview(plaintext)[PROBE_SIZE_MIN:])
