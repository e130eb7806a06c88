"""A small, telling part of tools/nat-matrix: who meets directly behind which NATs, with real edges."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from traversal.expected import Technique, expected_of
from traversal.matrix import pair_named
from traversal.pair import measure

if TYPE_CHECKING:
    from traversal.pair import Result

pytestmark = pytest.mark.root

Measured = Callable[[str, float], None]

TRIES = 2  # of what chance decides: nine of ten meet in time, and one of a hundred twice not
SHORT_S = 4.0  # that a pair is watched which will not be direct
SPRAY_MAX = 2048  # datagrams that an edge may send in one attempt to where it was told that a peer is
OTHERS_MAX = 200  # checks, openers, and what is sent from finding the way to taking it

PLAIN = (
    "home:home_accept",
    "home_accept:home_accept",
    "carrier:home",
    "fast_expiry:home",
    "ipv6_firewall:ipv6_firewall",
    "ipv6_firewall:ipv6_open",
    "lan_same_port",
    "one_carrier_hairpin",
)
PREDICTED = ("sequential:home", "sequential:sequential")
BY_CHANCE = ("home:symmetric", "home_accept:block_1024", "block_1024:block_1024")
RELAYED = ("symmetric:symmetric", "blocked:home")


def in_time(name: str, tries: int, measured: Measured) -> Result:
    """The first run in which the pair met in time, or the last."""
    for run in range(tries):
        result = measure(pair_named(name), run)
        assert not result.failure, result.failure
        if result.direct_s is not None:
            measured("from the session to direct", result.direct_s)
        if result.in_time and not result.shortfalls():
            break
    return result


@pytest.mark.parametrize("name", [*PLAIN, *PREDICTED])
def test_a_pair_that_can_meet_does_so_in_time(name: str, measured: Measured) -> None:
    assert expected_of(pair_named(name)).direct
    result = in_time(name, 1, measured)
    assert result.shortfalls() == [], result
    assert [result.a.path, result.b.path] == ["direct", "direct"]


@pytest.mark.parametrize("name", BY_CHANCE)
def test_a_pair_that_can_meet_by_chance_mostly_does(name: str, measured: Measured) -> None:
    assert expected_of(pair_named(name)).by_chance
    result = in_time(name, TRIES, measured)
    assert result.in_time, result
    assert result.shortfalls() == []
    for side in (result.a, result.b):
        assert side.first_path == "relay"
        sprays = [attempt for attempt in side.attempts if attempt["kind"] != "plain"]
        assert side.datagrams + side.openers <= SPRAY_MAX * len(sprays) + OTHERS_MAX


@pytest.mark.parametrize("name", RELAYED)
def test_the_others_are_relayed_from_the_first_frame(name: str) -> None:
    assert expected_of(pair_named(name)) is Technique.NONE
    result = measure(pair_named(name), patience_s=SHORT_S)
    assert result.shortfalls() == [], result
    assert [result.a.path, result.b.path] == ["relay", "relay"]
    for side in (result.a, result.b):
        assert side.frames_sent > 0.5 * SHORT_S / 0.02
        assert side.frames_lost == side.frames_repeated == 0
