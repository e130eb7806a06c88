"""What two edges do at once to meet through their NATs: a pure function of both classes (RFC 4787's words).

Checks of the candidates (plain) are all it takes, unless one side's outside port depends on the destination, so
that nobody knows it, and the other side lets in only what comes from an address and port it has sent to.

    one takes the next port of a sequence    prediction: the other one sends to the next few ports
    one takes any port, or any of a block    birthday: it sends from many side sockets, so that it has many ports;
                                             the other one sends to many ports until it meets one
    both take the next ones                  prediction: each sends to the other's next ports, in the same order
    both take any of a block                 blocks: many ports here meet many there by chance
    anything else                            hopeless: the numbers are too large

Who has the ports that nobody knows opens them by datagrams that die on the way (low TTL), and the other one
searches: so no probe comes to a router that did not send there first. One that does spoils that port, where a
Linux router accepts what comes unasked: it notes a flow, and gives our own datagram, should it come later, another
port. Only when the search is done do the side sockets send real probes, for a NAT further away than openers live.

What an opener or a probe opened stays open for a while, for Linux half a minute. So the second attempt on two
blocks follows the first at once, from the same sockets: each new datagram may meet what all those of the peer have
opened so far. No pair of socket and port is tried twice: it would leave by the same outside port again.

Chances, with P ports to guess, n datagrams of one side and m of the other: a birthday fails with (1 - n/P)^m, 240
sockets against 2048 of 64512 ports 1 in 2000; two blocks of P ports fail with exp(-nm/P^2). Blocks of 2048
and 2048 datagrams a side: nm/P^2 is 7/8 after the first attempt, whose halves overlap, and 4 after the second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from math import gcd, isqrt
from typing import TYPE_CHECKING, Final

from l2mesh.core.nat import (
    PORTS_HIGH,
    PORTS_LOW,
    Allocation,
    AllocationKind,
    Filtering,
    Mapping,
    allocation_of,
    filtering_of,
    mapping_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l2mesh.wire.control import NatReport

PACKETS_PER_SECOND: Final = 200
"""In all sprays of this edge: as much as a telephone call, times four."""
PACKETS_MAX: Final = 2048
"""In one attempt, from one side."""
LINGER_S: Final = 3.0
"""An attempt ends so long after the last datagram: an answer may be under way."""

BIRTHDAY_SOCKETS: Final = 240
"""Of the 256 side sockets that an edge may have; the others ask STUN servers."""
SEARCHED_FIRST: Final = 896
"""Then 96 of 100 have met, and the rest may need real probes of the other side: they too should meet in 8 s."""
BLOCK_SOCKETS: Final = 64
"""Against a block: of 2048 ports one in 32 is open then."""
BLOCKS_PRODUCT_MAX: Final = 4096 * 4096
"""Of the sizes of two blocks: 2048 datagrams a side meet with one chance in five."""
BLOCKS_MEETINGS: Final = 4
"""To be expected where the blocks are small enough: then 98 of 100 meet."""

PREDICTED_PORTS: Final = 8
PREDICTION_SOCKETS: Final = 4
"""Four of the next eight ports: flows of others may take some between."""
MATCHED_PORTS: Final = 16
MATCHED_BATCH: Final = 2
"""Where both predict: after each two ports, one more is allowed for that others took meanwhile, here or there; so
up to five in all."""
REPEAT_AT_S: Final = (0.15, 0.4, 0.9)
"""A few datagrams cost nothing to repeat."""


class Kind(StrEnum):
    PLAIN = "plain"
    PREDICTION = "prediction"
    BIRTHDAY = "birthday"
    BLOCKS = "blocks"
    HOPELESS = "hopeless"

    @property
    def is_attempt(self) -> bool:
        """Whether there is something to do beside checks of candidates."""
        return self not in (Kind.PLAIN, Kind.HOPELESS)


class Aim(Enum):
    """Which port of the peer's."""

    REFLEXIVE = "the one that a supernode sees"
    NEXT = "the next ones of its sequence"
    ANY = "all that it may have, in no order"


@dataclass(frozen=True, slots=True)
class Spray:
    """`packets` datagrams, begun `after_s` into the attempt: from so many side sockets in turn; 0: the main one.

    `opener`: they die on the way. `shifted`: allows for ports that others took (MATCHED_BATCH).
    """

    aim: Aim
    packets: int
    sockets: int = 0
    after_s: float = 0.0
    opener: bool = False
    shifted: bool = False

    @property
    def ends_s(self) -> float:
        return self.after_s + self.packets / PACKETS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Plan:
    """Our part of an attempt. `lasts_s`: until both sides are done and answers had time."""

    kind: Kind
    sprays: tuple[Spray, ...] = ()
    lasts_s: float = 0.0
    continues: bool = False
    """The next attempt is to follow at once: it profits by what this one opened."""

    @property
    def sockets(self) -> int:
        """Side sockets it wants."""
        return max((spray.sockets for spray in self.sprays), default=0)

    @property
    def packets(self) -> int:
        return sum(spray.packets for spray in self.sprays)


@dataclass(frozen=True, slots=True)
class Side:
    """What a report means for meeting."""

    mapping: Mapping
    allocation: Allocation
    strict: bool = field(default=True)
    """It lets in only from address and port; taken so while unknown."""

    @property
    def dependent(self) -> bool:
        return self.mapping.depends_on_destination

    @property
    def known(self) -> bool:
        undecided = self.dependent and self.allocation.kind is AllocationKind.UNKNOWN
        return self.mapping is not Mapping.UNKNOWN and not undecided

    @property
    def sequential(self) -> bool:
        return self.dependent and self.allocation.kind is AllocationKind.SEQUENTIAL

    @property
    def in_block(self) -> bool:
        return self.dependent and self.allocation.kind is AllocationKind.BLOCK

    @property
    def ports(self) -> int:
        """How many it may have."""
        return self.allocation.high - self.allocation.low + 1

    @property
    def search(self) -> tuple[int, int]:
        """The first and the last port that it may have towards us.

        Where the mapping depends on the address, or may, the block may be another one for each: so all ports. That
        takes a little longer and finds a block as surely.
        """
        if self.in_block and self.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT:
            return self.allocation.low, self.allocation.high
        return PORTS_LOW, PORTS_HIGH


def side_of(report: NatReport) -> Side:
    filtering = filtering_of(report)
    strict = filtering in (Filtering.UNKNOWN, Filtering.ADDRESS_AND_PORT_DEPENDENT)
    return Side(mapping_of(report), allocation_of(report), strict)


def kind_of(ours: Side, theirs: Side) -> Kind:
    """The same at both ends."""
    one_is_plain = not (ours.dependent and theirs.strict) and not (theirs.dependent and ours.strict)
    if not (ours.known and theirs.known) or one_is_plain:
        return Kind.PLAIN
    if ours.dependent and theirs.dependent:
        if ours.sequential and theirs.sequential:
            return Kind.PREDICTION
        small = ours.ports * theirs.ports <= BLOCKS_PRODUCT_MAX
        return Kind.BLOCKS if ours.in_block and theirs.in_block and small else Kind.HOPELESS
    return Kind.PREDICTION if ours.sequential or theirs.sequential else Kind.BIRTHDAY


def plan(ours: NatReport, theirs: NatReport, *, first: bool, number: int) -> Plan:
    """What we do. `first`: we are the one of the two that goes first where that matters; the other one says False.
    `number`: which attempt of theirs and ours it is, the same at both ends; the roles change.
    """
    us, them = side_of(ours), side_of(theirs)
    kind = kind_of(us, them)
    if kind is Kind.PREDICTION:
        return _both_predict(first) if us.dependent and them.dependent else _prediction(us.dependent)
    if kind is Kind.BIRTHDAY:
        return _birthday(us if us.dependent else them, opens=us.dependent)
    if kind is Kind.BLOCKS:
        return _blocks(us.ports, them.ports, first, number)
    return Plan(kind)


def _made(kind: Kind, ours: tuple[Spray, ...], theirs: tuple[Spray, ...], *, continues: bool = False) -> Plan:
    return Plan(kind, ours, max(spray.ends_s for spray in ours + theirs) + LINGER_S, continues)


def _prediction(opens: bool) -> Plan:
    opening = (
        Spray(Aim.REFLEXIVE, PREDICTION_SOCKETS, PREDICTION_SOCKETS, opener=True),
        Spray(Aim.REFLEXIVE, PREDICTION_SOCKETS, PREDICTION_SOCKETS, after_s=REPEAT_AT_S[-1]),
    )
    search = tuple(Spray(Aim.NEXT, PREDICTED_PORTS, after_s=at) for at in (0.0, *REPEAT_AT_S))
    ours, theirs = (opening, search) if opens else (search, opening)
    return _made(Kind.PREDICTION, ours, theirs)


def _both_predict(first: bool) -> Plan:
    opening = Spray(Aim.NEXT, MATCHED_PORTS, opener=True, shifted=not first)
    probes = tuple(Spray(Aim.NEXT, MATCHED_PORTS, after_s=at, shifted=not first) for at in REPEAT_AT_S)
    return _made(Kind.PREDICTION, (opening, *probes), ())


def _birthday(dependent: Side, *, opens: bool) -> Plan:
    """The block, each port once, or as much of all ports as is allowed."""
    low, high = dependent.search
    ports = high - low + 1
    sockets = min(ports, BIRTHDAY_SOCKETS if (low, high) == (PORTS_LOW, PORTS_HIGH) else BLOCK_SOCKETS)
    search = Spray(Aim.ANY, min(ports, PACKETS_MAX), after_s=sockets / PACKETS_PER_SECOND)
    again_s = min(search.ends_s, search.after_s + SEARCHED_FIRST / PACKETS_PER_SECOND)
    opening = (
        Spray(Aim.REFLEXIVE, sockets, sockets, opener=True),
        Spray(Aim.REFLEXIVE, sockets, sockets, after_s=again_s),
    )
    ours, theirs = (opening, (search,)) if opens else ((search,), opening)
    return _made(Kind.BIRTHDAY, ours, theirs)


def _blocks(our_ports: int, their_ports: int, first: bool, number: int) -> Plan:
    """By turns: one opens and the other probes; both probe, should openers die too soon; the other one opens.

    Who probes begins when half of the openers are sent. An eighth of the pairs has its opener too late so, but the
    time is saved in which what was opened first would be forgotten.
    """
    packets = min(PACKETS_MAX, isqrt(BLOCKS_MEETINGS * our_ports * their_ports))
    opening = Spray(Aim.ANY, packets, BLOCK_SOCKETS, opener=True)
    probes = Spray(Aim.ANY, packets, BLOCK_SOCKETS, after_s=opening.ends_s / 2)
    at_once = Spray(Aim.ANY, packets, BLOCK_SOCKETS)
    turn = number % 3
    if turn == 1:
        return _made(Kind.BLOCKS, (at_once,), (at_once,))
    we_open = first == (turn == 0)
    ours, theirs = (opening, probes) if we_open else (probes, opening)
    return _made(Kind.BLOCKS, (ours,), (theirs,), continues=turn == 0)


# The ports of a spray.


def ports_of(kind: Kind, theirs: NatReport) -> tuple[int, int]:
    """The first and the last one that the other side may have, for Aim.ANY.

    Of an estimated block, the middle half: it lies in the true one, be the estimate off by a quarter. For each
    datagram any port of the block is as good as any other, and one outside is wasted.
    """
    side = side_of(theirs)
    if kind is Kind.BIRTHDAY:
        return side.search
    low, margin = side.allocation.low, side.ports // 4
    return low + margin, side.allocation.high - margin


def predicted_ports(allocation: Allocation, count: int, *, shifted: bool) -> list[int]:
    """The next ones of a sequence, in order. `shifted`: MATCHED_BATCH of them, then one left out, and so on."""
    size = allocation.high - allocation.low + 1
    steps = [1 + i + (i // MATCHED_BATCH if shifted else 0) for i in range(count)]
    next_ports = [allocation.last + step * allocation.step for step in steps]
    return [allocation.low + (port - allocation.low) % size for port in next_ports]


def scattered(low: int, high: int, seed: int) -> Iterator[int]:
    """All ports from `low` to `high`, each once, in no order that matters; then again in the same order.

    That it is an arithmetic progression does no harm: it is the NAT that takes ports by chance.
    """
    size = high - low + 1
    stride = 1 + seed % size
    while gcd(stride, size) != 1:
        stride += 1
    port = seed // size % size
    while True:
        yield low + port
        port = (port + stride) % size
