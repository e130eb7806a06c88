"""NAT-PMP messages (RFC 6886): exact bytes, and what is made of wrong ones."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.wire.errors import BadPacket
from l2mesh.wire.nat_pmp import (
    AddressResponse,
    Failure,
    MapResponse,
    Response,
    emit_address_request,
    emit_map_request,
    emit_response,
    parse_map_request,
    parse_response,
)

RESPONSES = [
    (AddressResponse(9, "192.0.2.1"), "00 80 0000 00000009 c0000201"),
    (MapResponse(9, 40000, 41000, 3600), "00 81 0000 00000009 9c40 a028 00000e10"),
    (Failure(1, 4, 9), "00 81 0004 00000009"),
    (Failure(2, 1, 9), "00 82 0001 00000009"),
]


def test_requests() -> None:
    assert emit_address_request() == bytes.fromhex("00 00")
    request = emit_map_request(40000, 41000, 3600)
    assert request == bytes.fromhex("00 01 0000 9c40 a028 00000e10")
    assert parse_map_request(request) == (40000, 41000, 3600)


@pytest.mark.parametrize(("response", "text"), RESPONSES)
def test_responses(response: Response, text: str) -> None:
    data = bytes.fromhex(text)
    assert emit_response(response) == data
    assert parse_response(data) == parse_response(data + b"more") == response


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("02 81 0000 00000009", "version 2"),
        ("00 01 0000 9c40 a028 00000e10", "not a response"),
        ("00 83 0000 00000009 00000000", "opcode 3"),
    ],
)
def test_what_is_no_response_to_us_is_a_bad_packet(text: str, problem: str) -> None:
    with pytest.raises(BadPacket, match=problem):
        parse_response(bytes.fromhex(text))


def test_one_cut_short_is_a_bad_packet() -> None:
    for _, text in RESPONSES:
        data = bytes.fromhex(text)
        for length in range(len(data)):
            with pytest.raises(BadPacket):
                parse_response(data[:length])


@given(st.binary(max_size=20).map(lambda data: b"\0" + data))
def test_any_bytes_are_a_value_or_a_bad_packet(data: bytes) -> None:
    with contextlib.suppress(BadPacket):
        parse_response(data)
    with contextlib.suppress(BadPacket):
        parse_map_request(data)
