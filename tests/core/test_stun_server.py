"""What a supernode answers to STUN requests, by which socket, and how much of it."""

from __future__ import annotations

import pytest

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.stun_server import (
    ANSWERS_BURST,
    SMALL_REQUEST_COST,
    SOURCE_BURST,
    SOURCE_RATE,
    SOURCES_MAX,
    StunServer,
    known_addresses,
)
from l2mesh.wire.address import Address, SideAddress, socket_number
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.stun import (
    Attribute,
    BindingAnswer,
    BindingError,
    BindingRequest,
    emit_answer,
    emit_request,
    parse_stun,
)

ID = bytes(range(12))
ONE, OTHER = "198.51.100.7", "198.51.100.8"
FULL = [(ONE, 7777), SideAddress(ONE, 7778, 1), SideAddress(OTHER, 7777, 2), SideAddress(OTHER, 7778, 3)]
CLIENT = ("192.0.2.1", 40000)


def server(listening: list[Address], hosts: list[str] | None = None) -> StunServer:
    made = StunServer(Drops(), 0.0)
    made.set_addresses(listening, hosts or [])
    return made


def asked(
    made: StunServer, source: Address = CLIENT, *, host: bool = False, port: bool = False
) -> tuple[BindingAnswer | BindingError, Address]:
    reply = made.answer(source, emit_request(BindingRequest(ID, host, port)), 0.0)
    assert reply is not None
    message = parse_stun(reply[0])
    assert not isinstance(message, BindingRequest)
    assert message.transaction == ID
    return message, reply[1]


def from_side(number: int) -> Address:
    return SideAddress(*CLIENT, number)


@pytest.mark.parametrize(
    ("number", "origin", "other"),
    [
        (0, (ONE, 7777), (OTHER, 7778)),
        (1, (ONE, 7778), (OTHER, 7777)),
        (2, (OTHER, 7777), (ONE, 7778)),
        (3, (OTHER, 7778), (ONE, 7777)),
    ],
)
def test_each_socket_names_itself_and_the_one_across(number: int, origin: Address, other: Address) -> None:
    source = from_side(number) if number else CLIENT
    assert asked(server(FULL), source) == (BindingAnswer(ID, CLIENT, origin, other), source)


@pytest.mark.parametrize(
    ("number", "host", "port", "by"),
    [(0, True, True, 3), (0, True, False, 2), (0, False, True, 1), (1, True, True, 2), (3, True, True, 0)],
)
def test_a_changed_answer_leaves_by_another_socket(number: int, host: bool, port: bool, by: int) -> None:
    source = from_side(number) if number else CLIENT
    answer, to = asked(server(FULL), source, host=host, port=port)
    assert isinstance(answer, BindingAnswer)
    assert (socket_number(to), tuple(to)) == (by, CLIENT)
    assert answer.origin == tuple(FULL[by])


@pytest.mark.parametrize(
    ("listening", "other", "can"),
    [
        pytest.param([(ONE, 7777)], None, set(), id="alone"),
        pytest.param([(ONE, 7777), SideAddress(ONE, 7778, 1)], (ONE, 7778), {(False, True)}, id="two ports"),
        pytest.param([(ONE, 7777), SideAddress(OTHER, 7777, 1)], (OTHER, 7777), {(True, False)}, id="two hosts"),
        pytest.param([(ONE, 7777), SideAddress(OTHER, 7778, 1)], (OTHER, 7778), {(True, True)}, id="across"),
        pytest.param([(ONE, 7777), ("2001:db8::7", 7778)], None, set(), id="one of each IP version"),
        pytest.param([], None, set(), id="not told"),
    ],
)
def test_what_there_is_serves_the_tests_it_can(
    listening: list[Address], other: Address | None, can: set[tuple[bool, bool]]
) -> None:
    made = server(listening)
    answer, _ = asked(made)
    assert isinstance(answer, BindingAnswer)
    assert answer.other == other
    for host, port in [(True, True), (True, False), (False, True)]:
        answer, to = asked(made, host=host, port=port)
        if (host, port) in can:
            assert isinstance(answer, BindingAnswer)
            assert answer.origin == other
        else:
            assert (answer, to) == (BindingError(ID, 420, (Attribute.CHANGE_REQUEST,)), CLIENT)


def test_ipv6_has_sockets_of_its_own() -> None:
    listening = [(ONE, 7777), ("2001:db8::7", 7777), SideAddress("2001:db8::8", 7778, 1)]
    answer, _ = asked(server(listening), ("2001:db8::99", 5))
    assert answer == BindingAnswer(ID, ("2001:db8::99", 5), ("2001:db8::7", 7777), ("2001:db8::8", 7778))


@pytest.mark.parametrize(
    ("hosts", "host"),
    [
        (["10.0.0.5"], "10.0.0.5"),
        (["172.17.0.1", ONE, "2001:db8::7"], ONE),
        ([ONE, OTHER], "0.0.0.0"),
        (["10.0.0.5", "172.17.0.1"], "0.0.0.0"),
        (["127.0.0.1", "169.254.3.4"], "0.0.0.0"),
        ([], "0.0.0.0"),
    ],
)
def test_a_socket_bound_to_no_address_has_the_only_one_there_is(hosts: list[str], host: str) -> None:
    known = known_addresses([("0.0.0.0", 7777), SideAddress("0.0.0.0", 7778, 1)], hosts)
    assert known == [(host, 7777), SideAddress(host, 7778, 1)]


def test_an_address_that_is_not_known_is_not_told_and_ports_change_all_the_same() -> None:
    made = server([("0.0.0.0", 7777), SideAddress("0.0.0.0", 7778, 1)], [ONE, OTHER])
    assert asked(made)[0] == BindingAnswer(ID, CLIENT)
    assert asked(made, port=True) == (BindingAnswer(ID, CLIENT), from_side(1))


# What is not understood, or is not for us.


def test_what_is_not_understood_is_named() -> None:
    request = bytearray(emit_request(BindingRequest(ID, change_port=True), 0))[:28]
    request[2:4] = (16).to_bytes(2, "big")
    request += bytes.fromhex("00240004 6e0001ff")
    reply = server(FULL).answer(CLIENT, bytes(request), 0.0)
    assert reply is not None
    assert (parse_stun(reply[0]), reply[1]) == (BindingError(ID, 420, (0x24,)), CLIENT)


def test_answers_are_not_answered_and_rubbish_is_a_bad_packet() -> None:
    drops = Drops()
    made = StunServer(drops, 0.0)
    assert made.answer(CLIENT, emit_answer(BindingAnswer(ID, CLIENT)), 0.0) is None
    assert drops.as_dict() == {DropReason.UNKNOWN_TYPE: 1}
    with pytest.raises(BadPacket):
        made.answer(CLIENT, b"\x00\x01 not STUN", 0.0)


# How much.


@pytest.mark.parametrize("listening", [FULL, [("2001:db8::7", 1), SideAddress("2001:db8::8", 2, 1)]])
def test_no_answer_is_larger_than_a_request_of_ours(listening: list[Address]) -> None:
    made = server(listening)
    source = CLIENT if listening is FULL else ("2001:db8::99", 5)
    for change in (False, True):
        request = emit_request(BindingRequest(ID, change, change))
        reply = made.answer(source, request, 0.0)
        assert reply is not None
        assert len(reply[0]) <= len(request)


@pytest.mark.parametrize("size", [28, 60, 76, 100, 1200])
def test_padding_is_answered_with_no_more_than_it_had(size: int) -> None:
    padding = bytes(size - 20 - 4)
    request = bytes.fromhex("0001") + (size - 20).to_bytes(2, "big") + bytes.fromhex("2112a442") + ID
    request += bytes.fromhex("0026") + len(padding).to_bytes(2, "big") + padding
    reply = server(FULL).answer(CLIENT, request, 0.0)
    assert reply is not None
    assert len(reply[0]) == max(size, 76)


def flood(made: StunServer, sources: list[Address], size: int, count: int, now: float = 0.0) -> int:
    request = emit_request(BindingRequest(ID), size)
    return sum(made.answer(sources[i % len(sources)], request, now) is not None for i in range(count))


def test_a_source_has_a_limit_which_small_requests_reach_sooner() -> None:
    drops = Drops()
    made = StunServer(drops, 0.0)
    made.set_addresses(FULL, [])
    small = int(SOURCE_BURST / SMALL_REQUEST_COST)
    assert flood(made, [CLIENT], 0, 3 * small) == small
    assert drops.as_dict() == {DropReason.STUN_LIMIT: 2 * small}
    assert flood(made, [("192.0.2.2", 40000)], 124, 3000) == SOURCE_BURST  # others have their own
    assert flood(made, [CLIENT], 0, 100, now=1.0) == SOURCE_RATE / SMALL_REQUEST_COST


def test_a_source_is_an_ipv4_address_with_any_port_or_a_network_of_ipv6() -> None:
    made = server(FULL)
    assert flood(made, [("192.0.2.1", port) for port in range(1, 300)], 0, 1000) == 200
    assert flood(made, [(f"2001:db8::{i:x}", 5) for i in range(300)], 0, 1000) == 200


def test_all_sources_together_have_a_limit_and_a_bounded_table() -> None:
    made = server(FULL)
    sources = [(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", 1) for i in range(int(ANSWERS_BURST) + 1000)]
    assert flood(made, list(sources), 0, len(sources)) == ANSWERS_BURST
    assert len(made._sources) == SOURCES_MAX
