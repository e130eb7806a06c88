"""Requests under way: when they are repeated, and what answers them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from l2mesh.core.stun_client import CONTROL_SENDS, REQUESTS_MAX, SENDS, Outcome, StunClient
from l2mesh.wire.address import Address, SideAddress
from l2mesh.wire.stun import BindingAnswer, BindingError, BindingRequest, parse_stun

SERVER = ("198.51.100.7", 7777)
ME = ("203.0.113.5", 40000)


class Wire:
    """Collects what is sent."""

    def __init__(self) -> None:
        counter = itertools.count(1)
        self.sent: list[tuple[bytes, Address]] = []
        self.client: StunClient[str] = StunClient(
            lambda datagram, address: self.sent.append((datagram, address)),
            lambda size: next(counter).to_bytes(size, "big"),
        )

    def transaction(self) -> bytes:
        """Of the latest request."""
        message = parse_stun(self.sent[-1][0])
        assert isinstance(message, BindingRequest)
        return message.transaction

    def sending_instants(self) -> list[float]:
        """When each send happens from now on, and the giving up."""
        instants = []
        while (at := self.client.next_at()) is not None:
            self.client.handle_timer(at)
            instants.append(round(at, 3))
        return instants


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.mark.parametrize(
    ("rtt", "instants"),
    [
        (None, [0.5, 1.5, 3.1, 4.7, 6.3, 7.9, 9.5]),
        (0.1, [0.3, 0.9, 2.1, 3.7, 5.3, 6.9, 8.5]),
        (0.001, [0.1, 0.3, 0.7, 1.5, 3.1, 4.7, 6.3]),
        (2.0, [1.6, 3.2, 4.8, 6.4, 8.0, 9.6, 11.2]),
    ],
)
def test_a_request_is_repeated_more_and_more_slowly_and_given_up(
    wire: Wire, rtt: float | None, instants: list[float]
) -> None:
    wire.client.ask(SERVER, "where", 0.0, rtt)
    assert wire.sending_instants() == instants
    assert wire.sent == [wire.sent[0]] * SENDS  # the same bytes: the same transaction


def test_one_answered_from_elsewhere_is_repeated_evenly(wire: Wire) -> None:
    wire.client.ask_from_elsewhere(SERVER, "filter", 0.0, 0.05, host=True, port=True)
    assert wire.sending_instants() == [0.15, 0.3, 0.45, 0.6, 0.75, 0.9]
    assert len(wire.sent) == CONTROL_SENDS


def test_what_is_given_up_is_told_once(wire: Wire) -> None:
    wire.client.ask(SERVER, "where", 0.0)
    outcomes = [outcome for at in range(20) for outcome in wire.client.handle_timer(float(at))]
    assert outcomes == [Outcome("where", SERVER, None, SERVER)]
    assert wire.client.under_way() == []


def test_an_answer_ends_a_request_and_gives_the_round_trip(wire: Wire) -> None:
    wire.client.ask(SERVER, "where", 10.0)
    answer = BindingAnswer(wire.transaction(), ME)
    assert wire.client.receive(SERVER, answer, 10.5) == Outcome("where", SERVER, answer, SERVER, 0.5)
    assert wire.client.next_at() is None
    assert wire.client.receive(SERVER, answer, 10.09) is None


def test_after_a_repeat_the_round_trip_is_ambiguous(wire: Wire) -> None:
    wire.client.ask(SERVER, "where", 0.0)
    wire.client.handle_timer(0.5)
    outcome = wire.client.receive(SERVER, BindingAnswer(wire.transaction(), ME), 0.51)
    assert outcome is not None
    assert outcome.rtt is None


SIDE = SideAddress(*SERVER, 3)


@pytest.mark.parametrize(
    ("asked", "source", "counts"),
    [
        (SERVER, SERVER, True),
        (SERVER, ("198.51.100.7", 7778), False),
        (SERVER, SIDE, False),
        (SIDE, SIDE, True),
        (SIDE, SERVER, False),
        (SIDE, SideAddress(*SERVER, 4), False),
    ],
)
def test_an_answer_comes_from_where_the_request_went_to_the_socket_it_left_by(
    wire: Wire, asked: Address, source: Address, counts: bool
) -> None:
    wire.client.ask(asked, "where", 0.0)
    answer = BindingAnswer(wire.transaction(), ME)
    assert (wire.client.receive(source, answer, 0.1) is not None) is counts


@pytest.mark.parametrize(
    ("source", "counts"),
    [
        (SideAddress("198.51.100.8", 7778, 3), True),
        (SIDE, True),  # it answers as if it had not been asked for another address
        (("198.51.100.8", 7778), False),
        (SideAddress("198.51.100.8", 7778, 4), False),
    ],
)
def test_one_from_elsewhere_comes_to_the_same_socket(wire: Wire, source: Address, counts: bool) -> None:
    wire.client.ask_from_elsewhere(SIDE, "filter", 0.0, None, host=True, port=True)
    outcome = wire.client.receive(source, BindingAnswer(wire.transaction(), ME), 0.1)
    assert (outcome is not None) is counts
    if outcome is not None:
        assert outcome.source == source


def test_that_it_cannot_the_server_says_from_where_it_was_asked(wire: Wire) -> None:
    wire.client.ask_from_elsewhere(SERVER, "filter", 0.0, None, host=True, port=True)
    error = BindingError(wire.transaction(), 420, (3,))
    assert wire.client.receive(("198.51.100.8", 7778), error, 0.1) is None
    outcome = wire.client.receive(SERVER, error, 0.1)
    assert outcome is not None
    assert outcome.answer == error


@pytest.mark.parametrize("make", [lambda id_: BindingAnswer(id_, ME), lambda id_: BindingError(id_, 500)])
def test_nobody_else_knows_the_transaction(
    wire: Wire, make: Callable[[bytes], BindingAnswer | BindingError]
) -> None:
    wire.client.ask(SERVER, "where", 0.0)
    assert wire.client.receive(SERVER, make(bytes(12)), 0.1) is None
    assert wire.client.under_way() == ["where"]


def test_our_own_request_is_known_when_it_comes_back_in(wire: Wire) -> None:
    wire.client.ask_nobody(ME, "hairpin", 0.0, 0.02)
    assert wire.client.own(BindingRequest(wire.transaction())) == "hairpin"
    assert wire.client.own(BindingRequest(bytes(12))) is None


def test_cancelled_requests_are_neither_repeated_nor_answered(wire: Wire) -> None:
    wire.client.ask(SERVER, "where", 0.0)
    answer = BindingAnswer(wire.transaction(), ME)
    wire.client.ask(SERVER, "other", 0.0)
    wire.client.cancel(lambda key: key == "where")
    assert wire.client.receive(SERVER, answer, 0.1) is None
    assert wire.client.under_way() == ["other"]


def test_requests_under_way_are_bounded(wire: Wire) -> None:
    for _ in range(2 * REQUESTS_MAX):
        wire.client.ask(SERVER, "where", 0.0)
    assert len(wire.sent) == len(wire.client.under_way()) == REQUESTS_MAX
