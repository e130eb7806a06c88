"""PCP messages (RFC 6887): exact bytes, and what is made of wrong ones."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.wire.errors import BadPacket
from l2mesh.wire.pcp import (
    Map,
    Response,
    Result,
    emit_map_request,
    emit_response,
    parse_map_request,
    parse_response,
)

NONCE = bytes(range(12))
MAP = Map(NONCE, 40000, ("192.0.2.1", 41000))
MAP_HEX = "000102030405060708090a0b 11 000000 9c40 a028 00000000000000000000ffff c0000201"


def test_a_map_request_has_60_bytes() -> None:
    request = emit_map_request("192.168.1.5", MAP, 3600)
    assert request == bytes.fromhex("02 01 0000 00000e10 00000000000000000000ffff c0a80105" + MAP_HEX)
    assert parse_map_request(request) == ("192.168.1.5", MAP, 3600)


def test_ipv6_addresses_are_themselves() -> None:
    request = emit_map_request("2001:db8::5", Map(NONCE, 1, ("2001:db8::5", 1)), 0)
    assert request[8:24] == request[44:60] == bytes.fromhex("20010db8000000000000000000000005")
    assert parse_map_request(request)[1].external == ("2001:db8::5", 1)


def test_a_map_response_says_what_was_assigned_and_for_how_long() -> None:
    response = Response(1, Result.SUCCESS, 3600, 7, MAP)
    data = bytes.fromhex("02 81 00 00 00000e10 00000007 000000000000000000000000" + MAP_HEX)
    assert emit_response(response) == data
    assert parse_response(data) == response
    option = bytes.fromhex("80000004 01020304")
    assert parse_response(data + option) == response


def test_an_announcement_has_no_more_than_the_header() -> None:
    data = bytes.fromhex("02 80 00 00 00000000 00000009 000000000000000000000000")
    assert parse_response(data) == Response(0, 0, 0, 9, None)


def test_an_unknown_result_is_a_number() -> None:
    assert parse_response(emit_response(Response(1, 99, 30, 7, MAP))).result == 99


@pytest.mark.parametrize(
    ("offset", "value", "problem"),
    [(0, 1, "version 1"), (0, 0, "version 0"), (1, 1, "not a response"), (36, 6, "of protocol 6")],
)
def test_what_is_no_response_to_us_is_a_bad_packet(offset: int, value: int, problem: str) -> None:
    data = bytearray(emit_response(Response(1, 0, 3600, 7, MAP)))
    data[offset] = value
    with pytest.raises(BadPacket, match=problem):
        parse_response(bytes(data))


def test_one_cut_short_is_a_bad_packet() -> None:
    data = emit_response(Response(1, 0, 3600, 7, MAP))
    for length in range(len(data)):
        with pytest.raises(BadPacket):
            parse_response(data[:length])


@given(st.binary(max_size=80).map(lambda data: b"\2\x81" + data))
def test_any_bytes_are_a_value_or_a_bad_packet(data: bytes) -> None:
    with contextlib.suppress(BadPacket):
        parse_response(data)
    with contextlib.suppress(BadPacket):
        parse_map_request(b"\2\1" + data[2:])
