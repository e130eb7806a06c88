"""Addresses on the wire and as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.wire.address import (
    ADDRESS_SIZE,
    Address,
    SideAddress,
    emit_address,
    format_address,
    ip_version,
    is_sendable,
    parse_address,
    parse_ip,
    socket_number,
)
from l2mesh.wire.errors import BadPacket

ADDRESSES = st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))


@pytest.mark.parametrize(
    ("address", "packed"),
    [
        (("192.0.2.1", 0x0102), "04 0102 c0000201 000000000000000000000000"),
        (("2001:db8::1", 65535), "06 ffff 20010db8000000000000000000000001"),
    ],
)
def test_exact_bytes(address: Address, packed: str) -> None:
    assert emit_address(address) == bytes.fromhex(packed)
    assert parse_address(bytes.fromhex(packed)) == address
    assert parse_address(memoryview(bytes.fromhex(packed) + b"more")) == address


@given(ADDRESSES)
def test_round_trip(address: Address) -> None:
    assert parse_address(emit_address(address)) == address


@given(st.binary(max_size=ADDRESS_SIZE + 2))
def test_any_bytes_are_an_address_or_a_bad_packet(data: bytes) -> None:
    try:
        host, port = parse_address(data)
    except BadPacket:
        return
    assert ip_version(host) == data[0]
    assert 0 <= port < 65536


@given(st.binary(max_size=18))
def test_an_ip_has_4_or_16_bytes(packed: bytes) -> None:
    try:
        text = parse_ip(packed)
    except BadPacket:
        assert len(packed) not in (4, 16)
    else:
        assert ip_version(text) == (4 if len(packed) == 4 else 6)


def test_text() -> None:
    assert format_address(("192.0.2.1", 7777)) == "192.0.2.1:7777"
    assert format_address(("2001:db8::1", 7777)) == "[2001:db8::1]:7777"


@pytest.mark.parametrize(
    ("host", "port", "sendable"),
    [
        ("192.0.2.1", 1, True),
        ("192.0.2.1", 65535, True),
        ("10.0.0.1", 7, True),
        ("100.64.0.1", 7, True),
        ("2001:db8::1", 7, True),
        ("fd00::1", 7, True),
        ("192.0.2.1", 0, False),
        ("192.0.2.1", 65536, False),
        ("127.0.0.1", 7, False),
        ("::1", 7, False),
        ("0.0.0.0", 7, False),
        ("::", 7, False),
        ("224.0.0.1", 7, False),
        ("ff02::1", 7, False),
        ("169.254.1.1", 7, False),
        ("fe80::1", 7, False),
        ("255.255.255.255", 7, False),
        ("::ffff:192.0.2.1", 7, False),
        ("fe80::1%eth0", 7, False),
        ("2001:db8::1%eth0", 7, False),
        ("host.example", 7, False),
        ("", 7, False),
    ],
)
def test_what_may_be_sent_to(host: str, port: int, sendable: bool) -> None:
    assert is_sendable((host, port)) == sendable


def test_an_address_seen_from_a_side_socket_is_another_one() -> None:
    plain = ("192.0.2.1", 7777)
    first, again, second = SideAddress(*plain, 1), SideAddress(*plain, 1), SideAddress(*plain, 2)
    assert first == again
    assert hash(first) == hash(again)
    assert len({plain, first, again, second}) == 3
    assert first != plain
    assert plain != first
    assert tuple(first) == plain
    assert [socket_number(address) for address in (plain, first, second)] == [0, 1, 2]
    assert format_address(second) == "192.0.2.1:7777"
