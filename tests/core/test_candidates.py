"""Candidates: which there are, how each was found, how many."""

from __future__ import annotations

import pytest

from l2mesh.core.candidates import PER_FAMILY_AND_SCOPE, Origin, address_of, gather, make_candidate, origin_of
from l2mesh.wire.address import Address
from l2mesh.wire.control import CANDIDATES_MAX, Candidate

HOSTS = ["192.168.1.5", "2a02:1::5"]
PORTS = {4: 40_000, 6: 40_006}
OUTSIDE: Address = ("5.6.7.8", 51_234)


def found(candidates: tuple[Candidate, ...]) -> list[tuple[Address | None, Origin]]:
    return [(address_of(candidate), origin_of(candidate)) for candidate in candidates]


def test_all_kinds_are_there_once_each() -> None:
    assert found(gather(HOSTS, PORTS, [OUTSIDE, OUTSIDE], [("5.6.7.8", 40_111)])) == [
        (OUTSIDE, Origin.SERVER_REFLEXIVE),
        (("5.6.7.8", 40_111), Origin.MAPPED),
        (("192.168.1.5", 40_000), Origin.HOST),
        (("2a02:1::5", 40_006), Origin.HOST),
        (("5.6.7.8", 40_000), Origin.PREDICTED),
    ]


def test_an_address_that_is_found_in_two_ways_is_named_once() -> None:
    kept_port: Address = ("5.6.7.8", 40_000)
    assert found(gather(["5.9.9.9"], {4: 40_000}, [kept_port, ("5.9.9.9", 40_000)], [kept_port])) == [
        (kept_port, Origin.SERVER_REFLEXIVE),
        (("5.9.9.9", 40_000), Origin.HOST),
    ]


def test_without_a_nat_nothing_is_predicted() -> None:
    assert found(gather(["5.6.7.8"], PORTS, [("5.6.7.8", 40_000)])) == [(("5.6.7.8", 40_000), Origin.HOST)]


def test_no_port_is_predicted_of_an_ipv6_address_or_without_an_ipv4_socket() -> None:
    assert found(gather([], {6: 40_006}, [("2a02:9::1", 1000), OUTSIDE])) == [
        (("2a02:9::1", 1000), Origin.SERVER_REFLEXIVE),
        (OUTSIDE, Origin.SERVER_REFLEXIVE),
    ]


def test_how_a_later_version_found_a_candidate_is_unknown_to_us() -> None:
    assert origin_of(make_candidate(OUTSIDE, Origin.PREDICTED)) is Origin.PREDICTED
    assert origin_of(Candidate(b"\5\6\7\10", 5, 99)) is Origin.CONFIGURED


@pytest.mark.parametrize("count", [9, 100])
def test_there_are_never_too_many(count: int) -> None:
    hosts = [f"10.0.0.{number}" for number in range(1, count)]
    observed = [(f"5.0.0.{number}", number) for number in range(1, count)]
    candidates = gather(hosts, PORTS, observed, observed)
    assert len(candidates) == CANDIDATES_MAX == 2 * PER_FAMILY_AND_SCOPE
