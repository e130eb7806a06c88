"""What answers say about a NAT: tables."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from l2mesh.core.nat import (
    NO_ALLOCATION,
    PORTS_HIGH,
    PORTS_LOW,
    Allocation,
    AllocationKind,
    Filtering,
    Mapping,
    NatBehaviour,
    ServerFinding,
    allocation_of,
    filtering_of,
    mapping_of,
)
from l2mesh.core.nat_classes import (
    BLOCK_SIZES,
    classify_filtering,
    classify_mapping,
    estimate_allocation,
    surrounding_block,
    update_allocation,
)
from l2mesh.wire.address import Address
from l2mesh.wire.control import NatReport

A, AB, B, BB = ("198.51.100.1", 7777), ("198.51.100.1", 7778), ("198.51.100.2", 7777), ("198.51.100.2", 7778)
LAN = ("192.168.1.9", 7777)
OWN = ("192.168.1.2", 40000)
X, Y, Z = ("203.0.113.5", 40000), ("203.0.113.5", 40001), ("203.0.113.5", 40002)


@pytest.mark.parametrize(
    ("seen", "mapping"),
    [
        ({}, Mapping.UNKNOWN),
        ({A: X}, Mapping.UNKNOWN),
        ({A: X, AB: X}, Mapping.UNKNOWN),  # of two addresses it may differ
        ({A: X, B: X}, Mapping.ENDPOINT_INDEPENDENT),
        ({A: X, AB: X, B: X}, Mapping.ENDPOINT_INDEPENDENT),
        ({A: X, B: Y}, Mapping.DESTINATION_DEPENDENT),
        ({A: X, AB: X, B: Y}, Mapping.ADDRESS_DEPENDENT),
        ({A: X, AB: X, B: Y, BB: Y}, Mapping.ADDRESS_DEPENDENT),
        ({A: X, AB: Y}, Mapping.ADDRESS_AND_PORT_DEPENDENT),
        ({A: X, AB: Y, B: Z}, Mapping.ADDRESS_AND_PORT_DEPENDENT),
        ({A: X, AB: Y, B: X}, Mapping.ADDRESS_AND_PORT_DEPENDENT),
        ({A: OWN}, Mapping.NONE),
        ({A: OWN, B: OWN}, Mapping.NONE),
        ({LAN: OWN, A: X}, Mapping.UNKNOWN),  # a server of our own LAN sees no NAT where there is one
        ({LAN: OWN, A: X, B: X}, Mapping.ENDPOINT_INDEPENDENT),
        ({A: X, B: ("203.0.113.6", 40000)}, Mapping.DESTINATION_DEPENDENT),  # another outside address
    ],
)
def test_mapping(seen: dict[Address, Address], mapping: Mapping) -> None:
    assert classify_mapping(seen, {OWN}) is mapping


@pytest.mark.parametrize(
    ("other_host", "other_port", "filtering"),
    [
        (True, True, Filtering.ENDPOINT_INDEPENDENT),
        (True, None, Filtering.ENDPOINT_INDEPENDENT),
        (False, True, Filtering.ADDRESS_DEPENDENT),
        (False, False, Filtering.ADDRESS_AND_PORT_DEPENDENT),
        (None, False, Filtering.ADDRESS_AND_PORT_DEPENDENT),
        (None, True, Filtering.UNKNOWN),
        (False, None, Filtering.UNKNOWN),
        (None, None, Filtering.UNKNOWN),
    ],
)
def test_filtering(other_host: bool | None, other_port: bool | None, filtering: Filtering) -> None:
    assert classify_filtering(other_host=other_host, other_port=other_port) is filtering


@pytest.mark.parametrize(
    ("ports", "step", "last"),
    [
        pytest.param([20003, 20004, 20005, 20006, 20007], 1, 20007, id="one after the other"),
        pytest.param([20010, 20008, 20006, 20004, 20002], -2, 20002, id="downwards, each second one"),
        pytest.param([20003, 20005, 20006, 20009, 20010], 1, 20010, id="others take some between"),
        pytest.param([20000, 20004, 20006, 20014, 20016], 2, 20016, id="others, with its parity kept"),
        pytest.param([65533, 65534, 65535, 1024, 1025, 1026], 1, 1026, id="around the end of the range"),
        pytest.param([20003, 20004, 20006, 20005, 20007, 20008], 1, 20008, id="two overtook each other"),
    ],
)
def test_a_sequence_is_found_with_its_step(ports: list[int], step: int, last: int) -> None:
    found = estimate_allocation(ports)
    assert found == Allocation(AllocationKind.SEQUENTIAL, PORTS_LOW, PORTS_HIGH, step, last)


@pytest.mark.parametrize(
    ("ports", "low", "high"),
    [
        pytest.param([20700, 20500, 20990, 20485, 20600], 20480, 20991, id="a block at a multiple of its size"),
        pytest.param([20700, 20200, 20990, 20485, 20100], 20033, 21056, id="around the samples"),
        pytest.param([20700, 23999, 20990, 22485, 17100], 16384, 24575, id="8192"),
        pytest.param([1100, 1050, 1500, 1024, 1300], 1024, 1535, id="at the low end"),
        pytest.param([65535, 65100, 65500, 65031, 65400], 65024, 65535, id="at the high end"),
        pytest.param([600, 700, 1020, 650, 1021], 512, 1023, id="below what servers leave"),
        pytest.param([40000, 2000, 61000, 30000, 33000], PORTS_LOW, PORTS_HIGH, id="anywhere"),
    ],
)
def test_a_block_surrounds_its_samples(ports: list[int], low: int, high: int) -> None:
    found = estimate_allocation(ports)
    assert (found.low, found.high, found.step) == (low, high, 0)
    assert found.kind is (
        AllocationKind.RANDOM if low == PORTS_LOW and high == PORTS_HIGH else AllocationKind.BLOCK
    )


def test_few_samples_say_nothing() -> None:
    assert estimate_allocation([20001, 20002, 20003, 20004]) == NO_ALLOCATION
    assert estimate_allocation([]) == NO_ALLOCATION
    assert estimate_allocation([], [1, 2, 3, 4, 5, 6]) == NO_ALLOCATION


BLOCK = Allocation(AllocationKind.BLOCK, 20000, 21023, last=20500)
NARROW = Allocation(AllocationKind.BLOCK, 20400, 20911, last=20600)
RANDOM = Allocation(AllocationKind.RANDOM, PORTS_LOW, PORTS_HIGH, last=4711)


@pytest.mark.parametrize(
    ("before", "found", "samples", "holds"),
    [
        (NO_ALLOCATION, BLOCK, [20010, 20900], BLOCK),
        (BLOCK, NO_ALLOCATION, [], BLOCK),
        (BLOCK, NARROW, [20410, 20900], Allocation(AllocationKind.BLOCK, 20000, 21023, last=20600)),
        (NARROW, BLOCK, [20010, 20900], BLOCK),
        (BLOCK, RANDOM, [4711, 60000], RANDOM),
        (RANDOM, BLOCK, [20010, 20900], BLOCK),
    ],
)
def test_a_later_survey_changes_what_it_contradicts(
    before: Allocation, found: Allocation, samples: list[int], holds: Allocation
) -> None:
    assert update_allocation(before, found, samples) == holds


def test_samples_whose_order_is_not_known_count_for_a_block() -> None:
    assert estimate_allocation([20700, 20500], [20990, 20485, 20600]).kind is AllocationKind.BLOCK


@given(st.lists(st.integers(1, 65535), min_size=1, max_size=16))
@example([1, 512])
def test_a_block_holds_all_samples_and_is_no_larger_than_it_says(ports: list[int]) -> None:
    low, high = surrounding_block(min(ports), max(ports))
    if (low, high) != (PORTS_LOW, PORTS_HIGH):
        assert 0 < low <= min(ports)
        assert max(ports) <= high <= PORTS_HIGH
        assert high + 1 - low in BLOCK_SIZES or (low == 1 and high + 1 in BLOCK_SIZES)  # port 0 is none


# Reports.


@pytest.mark.parametrize(
    "allocation",
    [
        NO_ALLOCATION,
        Allocation(AllocationKind.SEQUENTIAL, PORTS_LOW, PORTS_HIGH, -2, 20000),
        Allocation(AllocationKind.BLOCK, 20000, 22047, 0, 20007),
        Allocation(AllocationKind.RANDOM, PORTS_LOW, PORTS_HIGH, 0, 4711),
    ],
)
def test_a_report_says_to_others_what_was_found(allocation: Allocation) -> None:
    behaviour = NatBehaviour(Mapping.ADDRESS_DEPENDENT, Filtering.ADDRESS_DEPENDENT, allocation)
    report = behaviour.report()
    assert (mapping_of(report), filtering_of(report)) == (behaviour.mapping, behaviour.filtering)
    assert allocation_of(report) == allocation


def test_what_a_later_version_reports_is_unknown() -> None:
    report = NatReport(200, 200, 5, 4, 1, 9)
    assert (mapping_of(report), filtering_of(report)) == (Mapping.UNKNOWN, Filtering.UNKNOWN)
    assert allocation_of(report) == NO_ALLOCATION


def test_mappings_that_depend_on_the_destination() -> None:
    assert [mapping for mapping in Mapping if mapping.depends_on_destination] == [
        Mapping.ADDRESS_DEPENDENT,
        Mapping.ADDRESS_AND_PORT_DEPENDENT,
        Mapping.DESTINATION_DEPENDENT,
    ]


def test_each_reflexive_address_is_told_once() -> None:
    servers = (ServerFinding("a", A, X), ServerFinding("b", B), ServerFinding("c", BB, X))
    behaviour = NatBehaviour(servers=servers)
    assert behaviour.reflexive_addresses() == [X]
    assert behaviour.answered
    assert not NatBehaviour(servers=servers[1:2]).answered
