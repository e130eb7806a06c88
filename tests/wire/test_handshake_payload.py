"""The payload of both handshake messages."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.wire.control import CERTIFICATE_MAX
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.handshake_payload import HandshakePayload, emit_payload, parse_payload

PAYLOAD = HandshakePayload(bytes(range(12)), 0x01020304, (1, 2), b"instance", b"DER")
EXACT = bytes.fromhex(
    "96 c40c000102030405060708090a0b ce01020304 920102 c408696e7374616e6365 c403444552 80".replace(" ", "")
)

payloads = st.builds(
    HandshakePayload,
    st.binary(min_size=12, max_size=12),
    st.integers(0, (1 << 32) - 1),
    st.lists(st.integers(0, 1 << 40), min_size=1, max_size=8).map(tuple),
    st.binary(min_size=8, max_size=8),
    st.binary(max_size=CERTIFICATE_MAX),
    st.dictionaries(st.integers(0, 1 << 32), st.binary(max_size=20), max_size=4),
)


def test_exact_bytes() -> None:
    assert emit_payload(PAYLOAD) == EXACT
    assert parse_payload(EXACT) == PAYLOAD


def test_extensions_may_be_missing_and_what_follows_them_is_ignored() -> None:
    assert parse_payload(bytes((0x95,)) + EXACT[1:-1]) == PAYLOAD
    assert parse_payload(bytes((0x97,)) + EXACT[1:] + b"\x01") == PAYLOAD
    extended = parse_payload(EXACT[:-1] + bytes.fromhex("82 07c40161 ff c400"))
    assert extended.extensions == {7: b"a", -1: b""}


@given(payloads)
def test_round_trip(payload: HandshakePayload) -> None:
    assert parse_payload(emit_payload(payload)) == payload


@given(st.binary(max_size=200))
def test_any_bytes_are_a_payload_or_a_bad_packet(data: bytes) -> None:
    with contextlib.suppress(BadPacket):
        parse_payload(data)


@given(st.integers(0, len(EXACT) - 1), st.integers(0, 255))
def test_any_bent_byte_is_a_payload_or_a_bad_packet(position: int, value: int) -> None:
    with contextlib.suppress(BadPacket):
        parse_payload(EXACT[:position] + bytes((value,)) + EXACT[position + 1 :])


@pytest.mark.parametrize("length", range(len(EXACT)))
def test_one_cut_short_is_a_bad_packet(length: int) -> None:
    with pytest.raises(BadPacket):
        parse_payload(EXACT[:length])


@pytest.mark.parametrize(
    "payload",
    [
        HandshakePayload(bytes(11), 1, (1,), bytes(8), b""),
        HandshakePayload(bytes(13), 1, (1,), bytes(8), b""),
        HandshakePayload(bytes(12), 1 << 32, (1,), bytes(8), b""),
        HandshakePayload(bytes(12), -1, (1,), bytes(8), b""),
        HandshakePayload(bytes(12), 1, (), bytes(8), b""),
        HandshakePayload(bytes(12), 1, (1,) * 9, bytes(8), b""),
        HandshakePayload(bytes(12), 1, (1,), bytes(7), b""),
        HandshakePayload(bytes(12), 1, (1,), bytes(8), bytes(CERTIFICATE_MAX + 1)),
    ],
)
def test_what_is_out_of_bounds_is_a_bad_packet(payload: HandshakePayload) -> None:
    with pytest.raises(BadPacket):
        parse_payload(emit_payload(payload))
