"""What travels encrypted inside both handshake messages: one msgpack array.

[ timestamp (12 bytes, TAI64N; of the initiator, zeros in a response),
  receiver index (the sender's own, for data sent to it),
  cipher suites (offered, fastest first; in a response the one chosen),
  instance (8 bytes, new with every start of the program),
  certificate (X.509 DER; empty for a supernode),
  extensions (map of integer to bytes; unknown ones are ignored) ]
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from l2mesh.wire.control import CERTIFICATE_MAX
from l2mesh.wire.errors import BadPacket


class HandshakePayload(Struct, array_like=True, frozen=True):
    timestamp: Annotated[bytes, Meta(min_length=12, max_length=12)]
    index: Annotated[int, Meta(ge=0, lt=1 << 32)]
    suites: Annotated[tuple[int, ...], Meta(min_length=1, max_length=8)]
    instance: Annotated[bytes, Meta(min_length=8, max_length=8)]
    certificate: Annotated[bytes, Meta(max_length=CERTIFICATE_MAX)]
    extensions: dict[int, bytes] = {}


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(HandshakePayload)


def emit_payload(payload: HandshakePayload) -> bytes:
    return _encoder.encode(payload)


def parse_payload(data: bytes) -> HandshakePayload:
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadPacket(f"handshake payload: {error}") from None
