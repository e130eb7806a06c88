"""What connectivity.md and issue 4 promise to a pair: direct or by relay, by which technique, and how soon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

from l2mesh.lab import Behaviour, IPv6, nat
from traversal.daemons import Document
from traversal.kinds import Kind, Place

FIRST_FRAME_S: Final = 1.0
"""From the session to the first frame each way, whatever the path."""
OUTAGE_S: Final = 1.0
"""The longest that frames may be lost from then on: the way from relay to direct loses nothing."""


class Technique(Enum):
    """How a pair meets, with the issue's limits: seconds from the session, and the share of runs."""

    PLAIN = ("plain", 1.0, 1.0)
    PREDICTION = ("prediction", 3.0, 1.0)
    BIRTHDAY = ("birthday", 8.0, 0.9)
    BLOCKS = ("blocks", 60.0, 0.8)
    """The issue sets no time. Two attempts, one right after the other, each of at most 2048 packets a side at 200
    a second, and a third one after the next round of checks.
    """
    NONE = ("none", math.inf, 0.0)

    def __init__(self, title: str, within_s: float, share: float) -> None:
        self.title = title
        self.within_s = within_s
        self.share = share

    @property
    def direct(self) -> bool:
        return self is not Technique.NONE

    @property
    def by_chance(self) -> bool:
        return self.direct and self.share < 1


BEHAVIOURS: Final = {
    Behaviour.INDEPENDENT: "endpoint-independent",
    Behaviour.ADDRESS: "address-dependent",
    Behaviour.ADDRESS_AND_PORT: "address-and-port-dependent",
}


class Ports(Enum):
    """How a mapping that depends on the destination gets its port."""

    ANY = "any"
    NEXT = "next"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Pair:
    """Of two kinds, or (`b` None) of one place."""

    a: Kind | Place
    b: Kind | None = None

    @property
    def name(self) -> str:
        return f"{self.a.name}:{self.b.name}" if self.b else self.a.name


def ports_of(kind: Kind) -> Ports:
    if kind.nat is nat.SEQUENTIAL:
        return Ports.NEXT
    return Ports.BLOCK if kind.nat.name.startswith("block") else Ports.ANY


def is_hard(kind: Kind, other: Kind) -> bool:
    """Whether `other` cannot know the port that `kind` will come from, and lets nothing else in."""
    return kind.nat.mapping is not Behaviour.INDEPENDENT and other.nat.filtering is Behaviour.ADDRESS_AND_PORT


def expected(a: Kind, b: Kind) -> Technique:
    if a.blocked or b.blocked:
        return Technique.NONE
    if a.ipv6 is not IPv6.NONE and b.ipv6 is not IPv6.NONE:
        return Technique.PLAIN
    hard = [one for one, other in ((a, b), (b, a)) if is_hard(one, other)]
    ways = {ports_of(kind) for kind in hard}
    if not hard:
        return Technique.PLAIN
    if ways == {Ports.NEXT}:
        return Technique.PREDICTION
    if len(hard) == 1:
        return Technique.BIRTHDAY
    return Technique.BLOCKS if ways == {Ports.BLOCK} else Technique.NONE


def expected_at(place: Place) -> Technique:
    """Of hosts that do not hear each other, the way leads through the mapping of a router that they share."""
    shared = place.carrier or (place.nat if place.isolated else None)
    return Technique.NONE if shared not in (None, nat.HAIRPIN) else Technique.PLAIN


def expected_of(pair: Pair) -> Technique:
    if isinstance(pair.a, Place):
        return expected_at(pair.a)
    assert pair.b is not None, "a kind has another at its side"
    return expected(pair.a, pair.b)


def misjudged(kind: Kind, found: Document) -> list[str]:
    """What an edge got wrong of the NAT before it; what it does not know yet is not wrong.

    A neighbour with our port makes a mapping look as if it depended on the destination, or not: both are right.
    """
    mapping = BEHAVIOURS[kind.nat.mapping] if kind.nat.private else "none"
    truth = {"filtering": BEHAVIOURS[kind.nat.filtering]} | ({} if kind.neighbour else {"mapping": mapping})
    return [
        f"{what} taken for {found[what]}" for what, true in truth.items() if found[what] not in (true, "unknown")
    ]
