"""What two edges do to meet, by both classes: the table, and what makes the parts of both ends fit."""

from __future__ import annotations

from itertools import islice, product

import pytest

from l2mesh.core.attempt_plan import (
    BIRTHDAY_SOCKETS,
    BLOCK_SOCKETS,
    LINGER_S,
    MATCHED_PORTS,
    PACKETS_MAX,
    PACKETS_PER_SECOND,
    PREDICTED_PORTS,
    PREDICTION_SOCKETS,
    Aim,
    Kind,
    Plan,
    Spray,
    kind_of,
    plan,
    ports_of,
    predicted_ports,
    scattered,
    side_of,
)
from l2mesh.core.nat import PORTS_HIGH, PORTS_LOW, Allocation, AllocationKind, Filtering, Mapping
from l2mesh.wire.control import UNKNOWN_NAT, NatReport

EI, AD, APD = Filtering.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_DEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT
EIM, ADM = Mapping.ENDPOINT_INDEPENDENT, Mapping.ADDRESS_DEPENDENT
APDM = Mapping.ADDRESS_AND_PORT_DEPENDENT


def block(size: int, filtering: Filtering = APD, low: int = 20_000) -> NatReport:
    return NatReport(APDM, filtering, low, low + size - 1, last=low)


def everywhere(mapping: Mapping, filtering: Filtering = APD) -> NatReport:
    return NatReport(mapping, filtering, PORTS_LOW, PORTS_HIGH, last=30_000)


HOME = NatReport(EIM, APD)
CONE = NatReport(EIM, EI)
HALF_CONE = NatReport(EIM, AD)
OPEN = NatReport(Mapping.NONE, EI)
WALLED = NatReport(Mapping.NONE, APD)
UNFILTERED = NatReport(EIM, Filtering.UNKNOWN)
RANDOM = everywhere(APDM)
RANDOM_ADM = everywhere(ADM)
RANDOM_EITHER = everywhere(Mapping.DESTINATION_DEPENDENT)
RANDOM_OPEN = everywhere(APDM, EI)
COUNTING = NatReport(APDM, APD, PORTS_LOW, PORTS_HIGH, step=1, last=5000)
COUNTING_DOWN = NatReport(ADM, APD, PORTS_LOW, PORTS_HIGH, step=-2, last=5000)
UNDECIDED = NatReport(APDM, APD)
NEWER = NatReport(77, 78)

P, PRED, BIRTH, BLOCKS, NO = Kind.PLAIN, Kind.PREDICTION, Kind.BIRTHDAY, Kind.BLOCKS, Kind.HOPELESS

TABLE: list[tuple[NatReport, NatReport, Kind]] = [
    (UNKNOWN_NAT, UNKNOWN_NAT, P),
    (UNKNOWN_NAT, RANDOM, P),
    (NEWER, RANDOM, P),
    (UNDECIDED, HOME, P),
    (HOME, HOME, P),
    (HOME, CONE, P),
    (OPEN, RANDOM, P),
    (CONE, RANDOM, P),
    (HALF_CONE, RANDOM, P),
    (CONE, COUNTING, P),
    (HOME, RANDOM, BIRTH),
    (WALLED, RANDOM, BIRTH),
    (UNFILTERED, RANDOM, BIRTH),
    (HOME, RANDOM_ADM, BIRTH),
    (HOME, RANDOM_EITHER, BIRTH),
    (HOME, RANDOM_OPEN, BIRTH),
    (HOME, block(2048), BIRTH),
    (HOME, block(8192), BIRTH),
    (HOME, COUNTING, PRED),
    (WALLED, COUNTING, PRED),
    (HOME, COUNTING_DOWN, PRED),
    (COUNTING, COUNTING, PRED),
    (COUNTING, COUNTING_DOWN, PRED),
    (RANDOM, RANDOM, NO),
    (RANDOM, block(512), NO),
    (RANDOM, COUNTING, NO),
    (COUNTING, block(512), NO),
    (block(512), block(2048), BLOCKS),
    (block(2048), block(2048), BLOCKS),
    (block(4096), block(4096), BLOCKS),
    (block(4096), block(8192), NO),
    (block(512), block(512, EI), BLOCKS),
    (block(512, EI), block(512, EI), P),
]
REPORTS = list(dict.fromkeys(report for ours, theirs, _ in TABLE for report in (ours, theirs)))


@pytest.mark.parametrize(("ours", "theirs", "kind"), TABLE)
def test_the_kind_of_attempt(ours: NatReport, theirs: NatReport, kind: Kind) -> None:
    assert kind_of(side_of(ours), side_of(theirs)) is kind
    assert kind_of(side_of(theirs), side_of(ours)) is kind


def both(ours: NatReport, theirs: NatReport, number: int = 0) -> tuple[Plan, Plan]:
    return plan(ours, theirs, first=True, number=number), plan(theirs, ours, first=False, number=number)


@pytest.mark.parametrize("number", range(4))
def test_both_ends_make_the_same_attempt_within_bounds(number: int) -> None:
    for ours, theirs in product(REPORTS, REPORTS):
        one, other = both(ours, theirs, number)
        assert (one.kind, one.lasts_s) == (other.kind, other.lasts_s)
        assert one.kind.is_attempt == bool(one.sprays) == bool(other.sprays)
        for made in (one, other):
            assert made.packets <= PACKETS_MAX
            assert made.sockets <= BIRTHDAY_SOCKETS
            assert made.lasts_s < 30, "the next round of checks is due then"
            ends = [spray.ends_s for spray in made.sprays]
            assert not ends or max(ends) + LINGER_S <= made.lasts_s
            begins = [spray.after_s for spray in made.sprays]
            assert begins == sorted(begins)


def opens(made: Plan) -> bool:
    return made.sprays[0].opener


@pytest.mark.parametrize("theirs", [RANDOM, RANDOM_ADM, block(512), block(2048), COUNTING])
def test_who_has_the_unknown_ports_opens_them_before_the_other_one_searches(theirs: NatReport) -> None:
    search, opening = both(HOME, theirs)
    assert opens(opening)
    assert not opens(search)
    first, again = opening.sprays
    assert (first.aim, first.packets, first.opener) == (Aim.REFLEXIVE, first.sockets, True)
    assert (again.aim, again.packets, again.opener) == (Aim.REFLEXIVE, first.sockets, False)
    assert not search.sockets
    assert search.sprays[0].after_s >= (0 if theirs is COUNTING else first.ends_s)


def test_a_birthday_is_240_sockets_against_as_many_ports_as_are_allowed() -> None:
    search, opening = both(HOME, RANDOM)
    assert opening.sockets == BIRTHDAY_SOCKETS
    [spray] = search.sprays
    assert (spray.aim, spray.packets) == (Aim.ANY, PACKETS_MAX)
    seconds_to_1024 = spray.after_s + 1024 / PACKETS_PER_SECOND
    assert seconds_to_1024 < 7, "with a second of plain checks before, 8 s in all"


@pytest.mark.parametrize(("size", "searched"), [(512, 512), (2048, 2048), (8192, PACKETS_MAX)])
def test_a_block_is_searched_once(size: int, searched: int) -> None:
    search, opening = both(HOME, block(size))
    assert opening.sockets == BLOCK_SOCKETS
    assert [(spray.aim, spray.packets) for spray in search.sprays] == [(Aim.ANY, searched)]


@pytest.mark.parametrize("mapping", [ADM, Mapping.DESTINATION_DEPENDENT])
def test_where_the_block_may_be_another_one_towards_us_all_ports_are_searched(mapping: Mapping) -> None:
    theirs = NatReport(mapping, APD, 20_480, 22_527)
    search, opening = both(HOME, theirs)
    assert (search, opening) == both(HOME, RANDOM)
    assert ports_of(search.kind, theirs) == (PORTS_LOW, PORTS_HIGH)
    assert ports_of(Kind.BIRTHDAY, block(512)) == (20_000, 20_511)


def test_of_two_blocks_the_middle_of_the_estimate_is_searched() -> None:
    assert ports_of(Kind.BLOCKS, block(2048)) == (20_512, 21_535)
    assert ports_of(Kind.BLOCKS, block(512)) == (20_128, 20_383)
    assert ports_of(Kind.BLOCKS, block(1)) == (20_000, 20_000)


def test_a_prediction_is_eight_ports_repeated() -> None:
    search, opening = both(HOME, COUNTING)
    assert opening.sockets == PREDICTION_SOCKETS
    assert {(spray.aim, spray.packets, spray.sockets) for spray in search.sprays} == {
        (Aim.NEXT, PREDICTED_PORTS, 0)
    }
    assert search.sprays[0].after_s == 0
    assert search.lasts_s < 5


def test_two_blocks_take_turns() -> None:
    roles = [tuple(opens(made) for made in both(block(2048), block(2048), number)) for number in range(4)]
    assert roles == [(True, False), (False, False), (False, True), (True, False)]
    assert [both(block(2048), block(2048), number)[0].continues for number in range(3)] == [True, False, False]
    one, other = both(block(2048), block(2048), 0)
    assert other.sprays[0].after_s == one.sprays[0].ends_s / 2
    assert one.sprays[0].packets == other.sprays[0].packets == PACKETS_MAX
    at_once, too = both(block(2048), block(2048), 1)
    assert at_once.sprays[0].after_s == too.sprays[0].after_s == 0
    assert both(block(512), block(512))[0].packets == 1024, "four meetings are to be expected"


def test_two_sequences_predict_with_one_socket_each() -> None:
    for made in both(COUNTING, COUNTING_DOWN):
        assert made.sockets == 0
        assert opens(made)
        assert {spray.packets for spray in made.sprays} == {MATCHED_PORTS}
    one, other = both(COUNTING, COUNTING)
    assert {spray.shifted for spray in one.sprays} == {False}
    assert {spray.shifted for spray in other.sprays} == {True}


@pytest.mark.parametrize(("here", "there"), [(a, b) for a in range(6) for b in range(6 - a)])
@pytest.mark.parametrize(("step", "their_step"), [(1, 1), (1, -1), (2, 3)])
def test_two_sequences_meet_though_others_took_ports(here: int, there: int, step: int, their_step: int) -> None:
    """`here`, `there`: ports that others took since each end's sample."""
    ours = Allocation(AllocationKind.SEQUENTIAL, PORTS_LOW, PORTS_HIGH, step, 5000)
    theirs = Allocation(AllocationKind.SEQUENTIAL, PORTS_LOW, PORTS_HIGH, their_step, 60_000)

    def pairs(own: Allocation, aims: list[int], taken: int) -> set[tuple[int, int]]:
        return {(own.last + own.step * (1 + index + taken), aim) for index, aim in enumerate(aims)}

    sent = pairs(ours, predicted_ports(theirs, MATCHED_PORTS, shifted=False), here)
    received = pairs(theirs, predicted_ports(ours, MATCHED_PORTS, shifted=True), there)
    assert sent & {(aim, source) for source, aim in received}


def test_predicted_ports_stay_in_the_range() -> None:
    allocation = Allocation(AllocationKind.SEQUENTIAL, 1024, 65535, 1, 65534)
    assert predicted_ports(allocation, 4, shifted=False) == [65535, 1024, 1025, 1026]
    down = Allocation(AllocationKind.SEQUENTIAL, 1024, 65535, -2, 1025)
    assert predicted_ports(down, 2, shifted=False) == [65535, 65533]
    assert predicted_ports(Allocation(AllocationKind.SEQUENTIAL, 1024, 65535, 1, 1), 1, shifted=False) == [64514]


@pytest.mark.parametrize(("low", "high"), [(1024, 65535), (20_000, 22_047), (5, 5), (1, 7), (20_000, 20_511)])
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1, 123_456_789_123])
def test_scattered_ports_are_each_there_once_and_then_again(low: int, high: int, seed: int) -> None:
    size = high - low + 1
    ports = list(islice(scattered(low, high, seed), 2 * size))
    assert sorted(ports[:size]) == list(range(low, high + 1))
    assert ports[size:] == ports[:size]


def test_a_spray_knows_when_it_ends() -> None:
    assert Spray(Aim.ANY, 400, after_s=1.5).ends_s == pytest.approx(1.5 + 400 / PACKETS_PER_SECOND)
