"""An edge as a relay: who gets a channel, and who is told when it is gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.member_relay import IDLE_S, PAIRS_PER_MEMBER_MAX, MemberRelay
from l2mesh.core.peer import Peer, Via
from l2mesh.core.remote_edge import RemoteEdge
from l2mesh.wire.control import Channel, Control, NoChannel

RandomBytes = Callable[[int], bytes]
NETWORK = b"n" * 32


def key(name: str) -> bytes:
    return name.encode().ljust(32, b".")


class Member:
    """The edge that relays, with peers that it reaches directly; and all that it says, by who hears it."""

    def __init__(self, random_bytes: RandomBytes, *names: str) -> None:
        self.drops = Drops()
        self.edges: dict[bytes, RemoteEdge] = {}
        self.said: list[tuple[str, Control]] = []
        self.relays = True
        for number, name in enumerate(names):
            edge = RemoteEdge(key(name), bytes(32), self.drops, uso=True, first_id=0, now=0.0)
            edge.name = name
            edge.via = edge.leg = (("5.0.0.1", 1 + number), b"")
            self.edges[edge.public_key] = edge
        self.half = MemberRelay(self, NETWORK, random_bytes)

    def relays_for_others(self) -> bool:
        return self.relays

    def send_control(self, peer: Peer, message: Control, now: float, via: Via | None = None) -> bool:
        self.said.append((peer.name, message))
        return True

    def ask(self, one: str, other: str, now: float = 0.0) -> list[tuple[str, Control]]:
        """What it says to a request."""
        self.said.clear()
        self.half.asked(self.edges[key(one)], key(other), now)
        return list(self.said)

    def lose(self, name: str) -> list[tuple[str, Control]]:
        self.said.clear()
        edge = self.edges[key(name)]
        edge.leg = None
        self.half.leg_changed(edge, 0.0)
        return list(self.said)


@pytest.fixture
def member(random_bytes: RandomBytes) -> Member:
    return Member(random_bytes, *"abc")


def test_both_ends_are_told_their_channel_as_often_as_one_asks(member: Member) -> None:
    first = member.ask("a", "b")
    (to, ours), (to_other, theirs) = first
    assert (to, to_other) == ("a", "b")
    assert isinstance(ours, Channel)
    assert isinstance(theirs, Channel)
    assert (ours.public_key, theirs.public_key) == (key("b"), key("a"))
    assert ours.channel != theirs.channel
    assert member.ask("a", "b") == first
    assert member.ask("b", "a") == first[::-1]
    assert len(member.half.relay) == 1


@pytest.mark.parametrize("other", ["a", "x"])
def test_there_is_no_channel_to_oneself_or_to_a_stranger(member: Member, other: str) -> None:
    assert member.ask("a", other) == [("a", NoChannel(key(other)))]
    assert not len(member.half.relay)


@pytest.mark.parametrize("lost", ["a", "b"])
def test_there_is_no_channel_without_a_direct_path_to_both(member: Member, lost: str) -> None:
    member.lose(lost)
    assert member.ask("a", "b") == [("a", NoChannel(key("b")))]
    assert not member.drops.as_dict()


def test_who_does_not_relay_says_so_and_counts_it(member: Member) -> None:
    member.relays = False
    assert member.ask("a", "b") == [("a", NoChannel(key("b")))]
    assert member.drops.as_dict() == {DropReason.NOT_A_RELAY: 1}


def test_a_lost_path_closes_the_channels_of_that_end_and_all_are_told(member: Member) -> None:
    for one, other in ("ab", "ac", "bc"):
        member.ask(one, other)
    said = member.lose("a")
    assert sorted((to, message.public_key) for to, message in said if isinstance(message, NoChannel)) == [
        ("a", key("b")),
        ("a", key("c")),
        ("b", key("a")),
        ("c", key("a")),
    ]
    assert len(member.half.relay) == 1


def test_what_one_end_declines_the_other_is_told(member: Member) -> None:
    member.ask("a", "b")
    member.said.clear()
    member.half.declined(member.edges[key("b")], key("a"), 0.0)
    member.half.declined(member.edges[key("b")], key("a"), 0.0)
    member.half.declined(member.edges[key("b")], key("x"), 0.0)
    assert member.said == [("a", NoChannel(key("b")))]
    assert not len(member.half.relay)


def test_a_pair_that_carries_nothing_is_closed_in_time(member: Member) -> None:
    member.ask("a", "b")
    member.said.clear()
    member.half.sweep(IDLE_S - 1)
    assert not member.said
    member.half.sweep(IDLE_S + 1)
    assert sorted(to for to, _ in member.said) == ["a", "b"]
    assert not len(member.half.relay)


def test_one_member_does_not_take_all_channels(random_bytes: RandomBytes) -> None:
    names = [f"m{number}" for number in range(PAIRS_PER_MEMBER_MAX + 3)]
    member = Member(random_bytes, "a", "b", *names)
    for name in names:
        member.ask("a", name)
    assert len(member.half.relay) == PAIRS_PER_MEMBER_MAX
    assert member.drops.as_dict() == {DropReason.TOO_MANY_CHANNELS: 3}
    assert member.ask("a", names[-1]) == [("a", NoChannel(key(names[-1])))]
    assert [to for to, _ in member.ask("b", names[-1])] == ["b", names[-1]]
