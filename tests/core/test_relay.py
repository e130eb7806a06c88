"""The relay: who may send where, how much, and how many channels there are."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.peer import Peer, Role
from l2mesh.core.relay import BURST_S, Relay
from l2mesh.wire.address import Address
from l2mesh.wire.outer import relay_header

RandomBytes = Callable[[int], bytes]
NETWORK = b"n" * 32
AT: dict[str, Address] = {"a": ("5.0.0.1", 1), "b": ("5.0.0.2", 2), "c": ("5.0.0.3", 3)}


class Hub:
    def __init__(
        self,
        random_bytes: RandomBytes,
        pair_rate: float = 1e9,
        network_rate: float = 1e9,
        **limits: int,
    ) -> None:
        self.drops = Drops()
        self.relay = Relay(self.drops, random_bytes, pair_rate=pair_rate, network_rate=network_rate, **limits)
        self.members = {name: Peer(name.encode() * 32, Role.EDGE, bytes(32)) for name in AT}
        for name, peer in self.members.items():
            peer.via = (AT[name], b"")

    def open(self, one: str, other: str, network: bytes = NETWORK) -> tuple[bytes, bytes]:
        channels = self.relay.open_pair(network, self.members[one], self.members[other], 0.0)
        assert channels is not None
        return channels

    def forward(
        self, source: Address, data: bytes, size: int, now: float = 0.0
    ) -> list[tuple[Address, bytes, int]]:
        sent: list[tuple[Address, bytes, int]] = []
        self.consumed = self.relay.forward(
            source,
            memoryview(bytearray(data)),
            size,
            now,
            lambda train: sent.append((train[0], bytes(train[1]), train[2])),
        )
        return sent


@pytest.fixture
def hub(random_bytes: RandomBytes) -> Hub:
    return Hub(random_bytes)


def test_a_datagram_leaves_under_the_other_ends_channel(hub: Hub) -> None:
    ours, theirs = hub.open("a", "b")
    assert ours != theirs
    assert hub.forward(AT["a"], relay_header(ours) + b"sealed", 18) == [
        (AT["b"], relay_header(theirs) + b"sealed", 18)
    ]
    assert hub.forward(AT["b"], relay_header(theirs) + b"reply", 17) == [
        (AT["a"], relay_header(ours) + b"reply", 17)
    ]
    assert hub.relay.relayed_datagrams == 2
    assert hub.relay.relayed_bytes == 35


def test_a_train_goes_on_as_a_train(hub: Hub) -> None:
    ours, theirs = hub.open("a", "b")
    train = b"".join(relay_header(ours) + body for body in (b"one", b"two", b"x"))
    [(target, data, size)] = hub.forward(AT["a"], train, 15)
    assert (target, size) == (AT["b"], 15)
    assert data == b"".join(relay_header(theirs) + body for body in (b"one", b"two", b"x"))


@pytest.mark.parametrize(("count", "size"), [(64, 1472), (150, 100), (3, 1472)])
def test_a_long_burst_goes_on_in_trains_that_a_socket_takes(hub: Hub, count: int, size: int) -> None:
    """Datagrams that came one by one lie in a row (shell/mmsg.py): more of them than one UDP_SEGMENT send has."""
    ours, theirs = hub.open("a", "b")
    burst = b"".join(relay_header(ours) + bytes([number]) * (size - 12) for number in range(count))
    trains = hub.forward(AT["a"], burst, size)
    assert b"".join(data for _, data, _ in trains) == burst.replace(relay_header(ours), relay_header(theirs))
    assert all(len(data) <= 65_507 and len(data) <= 64 * size for _, data, _ in trains)
    assert len(trains) == -(-count // min(64, 65_000 // size))


def test_a_burst_of_several_channels_is_parted(hub: Hub) -> None:
    to_b, to_c = hub.open("a", "b"), hub.open("a", "c")
    bodies = [(to_b, b"11"), (to_b, b"22"), (to_c, b"33"), (to_b, b"44")]
    sent = hub.forward(AT["a"], b"".join(relay_header(pair[0]) + body for pair, body in bodies), 14)
    assert sent == [
        (AT["b"], relay_header(to_b[1]) + b"11" + relay_header(to_b[1]) + b"22", 14),
        (AT["c"], relay_header(to_c[1]) + b"33", 14),
        (AT["b"], relay_header(to_b[1]) + b"44", 14),
    ]


def test_a_datagram_of_another_type_behind_relayed_ones_is_left_to_the_node(hub: Hub) -> None:
    """UDP GRO joins a supernode's own datagrams with relayed ones when their sizes allow."""
    ours, theirs = hub.open("a", "b")
    relayed = relay_header(ours) + bytes(40)
    own = bytes((195, 0, 0, 0)) + bytes(40)
    sent = hub.forward(AT["a"], relayed + relayed + own, len(relayed))
    assert sent == [(AT["b"], (relay_header(theirs) + bytes(40)) * 2, 52)]
    assert hub.consumed == 104
    assert not hub.drops.as_dict()


def test_only_the_owner_of_a_channel_sends_on_it(hub: Hub) -> None:
    ours, theirs = hub.open("a", "b")
    for source in (AT["b"], AT["c"], (AT["a"][0], 9), ("6.6.6.6", 1)):
        assert not hub.forward(source, relay_header(ours) + b"stolen", 18)
    assert hub.drops.as_dict() == {DropReason.NOT_THE_OWNER: 4}
    hub.members["a"].via = (("5.0.0.9", 9), b"")  # it moved
    assert hub.forward(("5.0.0.9", 9), relay_header(ours) + b"mine", 16)
    assert theirs


def test_unknown_channels_and_headers_without_a_datagram_are_dropped(hub: Hub) -> None:
    ours, _ = hub.open("a", "b")
    assert not hub.forward(AT["a"], relay_header(b"unknown!") + b"xx" + relay_header(b"unknown!") + b"yy", 14)
    for length in range(1, 13):
        assert not hub.forward(AT["a"], relay_header(ours)[:length], length)
    # Cut inside the channel it is no channel of ours either; without any datagram behind it is malformed.
    assert hub.drops.as_dict() == {DropReason.UNKNOWN_CHANNEL: 2, DropReason.MALFORMED: 12}


@given(st.binary(max_size=200), st.integers(1, 220))
def test_no_bytes_break_the_relay(data: bytes, size: int) -> None:
    hub = Hub(Random(1).randbytes)
    hub.open("a", "b")
    hub.forward(AT["a"], data, size)
    hub.forward(AT["a"], b"\xc4" + data, size)
    assert 0 <= hub.consumed <= len(data) + 1


def test_a_pair_opens_once_from_either_end(hub: Hub) -> None:
    ours, theirs = hub.open("a", "b")
    assert hub.open("a", "b") == (ours, theirs)
    assert hub.open("b", "a") == (theirs, ours)
    assert len(hub.relay) == 1


def test_a_pair_has_its_rate(random_bytes: RandomBytes) -> None:
    hub = Hub(random_bytes, pair_rate=1000.0)
    (ours, theirs), (other, _) = hub.open("a", "b"), hub.open("a", "c")
    datagram = relay_header(ours) + bytes(88)
    passed = [bool(hub.forward(AT["a"], datagram, 100)) for _ in range(5)]
    assert passed == [True] * int(BURST_S * 10) + [False] * 3
    assert not hub.forward(AT["b"], relay_header(theirs) + bytes(88), 100), "both directions share it"
    assert hub.forward(AT["a"], relay_header(other) + bytes(88), 100), "another pair has its own"
    assert hub.forward(AT["a"], datagram, 100, now=0.1)
    assert hub.drops.as_dict() == {DropReason.RELAY_LIMIT: 4}


def test_a_network_has_its_rate_and_others_have_theirs(random_bytes: RandomBytes) -> None:
    hub = Hub(random_bytes, network_rate=1000.0)
    (ours, _), (other, _), (foreign, _) = hub.open("a", "b"), hub.open("a", "c"), hub.open("b", "c", b"m" * 32)
    assert hub.forward(AT["a"], relay_header(ours) + bytes(188), 200)
    assert not hub.forward(AT["a"], relay_header(other) + bytes(88), 100)
    assert hub.forward(AT["b"], relay_header(foreign) + bytes(88), 100)


def test_who_leaves_takes_its_channels_along(hub: Hub) -> None:
    ours, theirs = hub.open("a", "b")
    kept, _ = hub.open("b", "c")
    hub.relay.close_all_of(hub.members["a"])
    hub.relay.close_all_of(hub.members["a"])
    assert len(hub.relay) == 1
    assert not hub.forward(AT["a"], relay_header(ours) + b"x", 13)
    assert not hub.forward(AT["b"], relay_header(theirs) + b"x", 13)
    assert hub.forward(AT["b"], relay_header(kept) + b"x", 13)
    hub.relay.close_all_of(hub.members["c"])
    assert not hub.relay._channels
    assert not hub.relay._by_owner


def test_the_number_of_pairs_is_bounded(random_bytes: RandomBytes) -> None:
    hub = Hub(random_bytes, pairs_max=2)
    ours = hub.open("a", "b")
    hub.open("a", "c")
    assert hub.relay.open_pair(NETWORK, hub.members["b"], hub.members["c"], 0.0) is None
    assert hub.drops.as_dict() == {DropReason.TOO_MANY_CHANNELS: 1}
    assert hub.open("a", "b") == ours
    hub.relay.close_all_of(hub.members["a"])
    hub.open("b", "c")


def test_who_asks_has_a_bound_of_its_own(random_bytes: RandomBytes) -> None:
    hub = Hub(random_bytes, pairs_per_member_max=1)
    ours = hub.open("a", "b")
    assert hub.relay.open_pair(NETWORK, hub.members["a"], hub.members["c"], 0.0) is None
    assert hub.open("a", "b") == ours
    hub.open("c", "a")  # who has fewer may ask for who has as many
    assert hub.drops.as_dict() == {DropReason.TOO_MANY_CHANNELS: 1}


def test_what_carried_nothing_for_long_is_closed(hub: Hub) -> None:
    ours, theirs = hub.open("a", "b")
    idle, _ = hub.open("a", "c")
    assert hub.forward(AT["b"], relay_header(theirs) + b"x", 13, now=50.0)
    assert hub.relay.close_idle(0.0) == []
    [pair] = hub.relay.close_idle(20.0)
    assert set(pair) == {hub.members["a"], hub.members["c"]}
    assert hub.relay.others_of(hub.members["a"]) == [hub.members["b"]]
    assert not hub.forward(AT["a"], relay_header(idle) + b"x", 13)
    assert hub.forward(AT["a"], relay_header(ours) + b"x", 13, now=55.0)
    hub.relay.close_idle(60.0)
    assert len(hub.relay) == 0
    assert not hub.relay._by_owner


def test_nothing_goes_on_by_another_relay(hub: Hub) -> None:
    ours, theirs = hub.open("a", "b")
    hub.members["b"].via = (("5.0.0.9", 7777), relay_header(b"another!"))
    assert not hub.forward(AT["a"], relay_header(ours) + b"x", 13)
    assert not hub.forward(("5.0.0.9", 7777), relay_header(ours) + b"x", 13)
    assert hub.drops.as_dict() == {DropReason.NO_PATH: 1, DropReason.NOT_THE_OWNER: 1}
    assert theirs


def test_a_datagram_on_a_channel_of_another_relay_behind_relayed_ones_is_left_to_the_node(hub: Hub) -> None:
    """Of two members that relay for each other, one burst may hold both."""
    ours, theirs = hub.open("a", "b")
    relayed, other = relay_header(ours) + b"one", relay_header(b"another!") + b"two"
    sent = hub.forward(AT["a"], relayed + relayed + other + relayed, 15)
    assert sent == [(AT["b"], (relay_header(theirs) + b"one") * 2, 15)]
    assert hub.consumed == 30
    assert not hub.drops.as_dict()
