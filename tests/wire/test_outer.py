"""Exact bytes of the outer datagrams, and what is made of wrong ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.wire.errors import BadPacket
from l2mesh.wire.outer import (
    DATA_WORD,
    NONCE,
    Outer,
    data_header,
    emit_cookie_reply,
    emit_handshake,
    emit_key_reply,
    emit_key_request,
    parse_cookie_reply,
    parse_handshake,
    parse_key_reply,
    parse_key_request,
    relay_header,
)

NOISE_1 = bytes(range(96)) + b"payload"
NOISE_2 = bytes(range(48)) + b"payload"
NO_MACS = bytes(32)


def test_code_points_lie_above_those_of_stun_and_turn() -> None:
    assert [kind.value for kind in Outer] == [192, 193, 194, 195, 196, 197, 198]


def test_initiation() -> None:
    datagram = emit_handshake(Outer.INITIATION, 0x01020304, NOISE_1)
    assert datagram == bytes.fromhex("c0000000 01020304") + NOISE_1
    assert parse_handshake(datagram + NO_MACS) == (0x01020304, NOISE_1)


def test_response() -> None:
    datagram = emit_handshake(Outer.RESPONSE, 0xFFFFFFFF, NOISE_2)
    assert datagram == bytes.fromhex("c1000000 ffffffff") + NOISE_2
    assert parse_handshake(datagram + NO_MACS) == (0xFFFFFFFF, NOISE_2)


def test_cookie_reply() -> None:
    salt, sealed = bytes(range(16)), bytes(range(100, 132))
    datagram = emit_cookie_reply(7, salt, sealed)
    assert datagram == bytes.fromhex("c2000000 00000007") + salt + sealed
    assert len(datagram) == 56
    assert parse_cookie_reply(datagram) == (7, salt, sealed)


def test_data_header() -> None:
    header = data_header.pack(DATA_WORD, 0x01020304, 0x05060708090A0B0C)
    assert header == bytes.fromhex("c3000000 01020304 05060708090a0b0c")
    assert header[NONCE] == bytes(range(1, 13))


def test_relayed() -> None:
    assert relay_header(b"\1\2\3\4\5\6\7\10") == bytes.fromhex("c4000000 0102030405060708")


def test_key_request_is_longer_than_its_reply() -> None:
    request = emit_key_request(b"nonce678")
    reply = emit_key_reply(b"nonce678", bytes(range(32)))
    assert request == bytes.fromhex("c5000000") + b"nonce678" + bytes(52)
    assert reply == bytes.fromhex("c6000000") + b"nonce678" + bytes(range(32))
    assert (len(request), len(reply)) == (64, 44)
    assert parse_key_request(request) == b"nonce678"
    assert parse_key_reply(reply) == (b"nonce678", bytes(range(32)))


@pytest.mark.parametrize(
    ("parse", "datagram"),
    [
        (parse_handshake, bytes((192,)) + bytes(134)),
        (parse_handshake, bytes((193,)) + bytes(86)),
        (parse_cookie_reply, bytes(55)),
        (parse_cookie_reply, bytes(57)),
        (parse_key_request, bytes(63)),
        (parse_key_request, bytes(65)),
        (parse_key_reply, bytes(43)),
        (parse_key_reply, bytes(45)),
    ],
)
def test_a_byte_less_or_more_is_a_bad_packet(parse: Callable[[bytes], object], datagram: bytes) -> None:
    with pytest.raises(BadPacket):
        parse(datagram)


def test_the_shortest_handshakes_are_parsed() -> None:
    assert parse_handshake(bytes((192,)) + bytes(135)) == (0, bytes(96))
    assert parse_handshake(bytes((193,)) + bytes(87)) == (0, bytes(48))


def test_reserved_bytes_are_ignored() -> None:
    assert parse_handshake(b"\xc1abc" + bytes(84)) == (0, bytes(48))
    assert parse_cookie_reply(b"\xc2abc" + bytes(52))[0] == 0


@pytest.mark.parametrize("parse", [parse_handshake, parse_cookie_reply, parse_key_request, parse_key_reply])
@given(data=st.binary(min_size=1, max_size=300))
def test_any_bytes_are_a_value_or_a_bad_packet(parse: Callable[[bytes | memoryview], object], data: bytes) -> None:
    for form in (data, memoryview(data)):
        with contextlib.suppress(BadPacket):
            parse(form)


@given(
    st.sampled_from((Outer.INITIATION, Outer.RESPONSE)),
    st.integers(0, (1 << 32) - 1),
    st.binary(min_size=96, max_size=200),
)
def test_handshake_round_trip(kind: Outer, index: int, noise: bytes) -> None:
    assert parse_handshake(emit_handshake(kind, index, noise) + NO_MACS) == (index, noise)
