"""Probes and their replies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.wire.errors import BadPacket
from l2mesh.wire.probe import (
    PROBE_SIZE_MIN,
    emit_probe,
    emit_probe_reply,
    parse_missed,
    parse_probe,
    parse_probe_reply,
)

ID = bytes(range(1, 9))


def test_a_probe_is_kind_and_transaction_and_padding() -> None:
    assert emit_probe(ID) == bytes.fromhex("05000000 0102030405060708")
    assert emit_probe(ID, 20) == bytes.fromhex("05000000 0102030405060708 0000000000000000")
    assert emit_probe(ID, missed=3) == bytes.fromhex("05030000 0102030405060708")
    assert [parse_missed(emit_probe(ID, missed=missed)) for missed in (0, 3, 1000)] == [0, 3, 255]
    assert parse_probe(emit_probe(ID)) == parse_probe(emit_probe(ID, 1440)) == ID


def test_a_reply_says_where_the_probe_came_from() -> None:
    reply = emit_probe_reply(ID, ("192.0.2.1", 0x1E61))
    assert reply == bytes.fromhex("06000000 0102030405060708 04 1e61 c0000201 000000000000000000000000")
    assert parse_probe_reply(reply) == (ID, ("192.0.2.1", 0x1E61))
    assert parse_probe_reply(reply + b"later versions") == (ID, ("192.0.2.1", 0x1E61))


def test_one_cut_short_is_a_bad_packet() -> None:
    reply = emit_probe_reply(ID, ("2001:db8::1", 7))
    for length in range(len(reply)):
        with pytest.raises(BadPacket):
            parse_probe_reply(reply[:length])
    for length in range(PROBE_SIZE_MIN):
        with pytest.raises(BadPacket):
            parse_probe(emit_probe(ID)[:length])


@pytest.mark.parametrize("parse", [parse_probe, parse_probe_reply])
@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_bad_packet(parse: Callable[[bytes], object], data: bytes) -> None:
    with contextlib.suppress(BadPacket):
        parse(data)
