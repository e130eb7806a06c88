"""The bounds on what goes to hosts that never answered."""

from __future__ import annotations

import pytest

from l2mesh.core.attempt_plan import PACKETS_MAX
from l2mesh.core.strangers import (
    BURST,
    HOSTS_MAX,
    INITIATION_COST,
    NOT_FOR_SPRAYS,
    PER_SECOND,
    REFILL_PER_SECOND,
    Strangers,
)


def sent(strangers: Strangers, seconds: float, per_second: int, *, spray: bool = False) -> list[float]:
    """When datagrams to "v" were let through, of so many."""
    times = (1000 + number / per_second for number in range(int(seconds * per_second)))
    return [at for at in times if strangers.may_send("v", at, spray=spray)]


@pytest.mark.parametrize("spray", [True, False])
@pytest.mark.parametrize("per_second", [150, 1000, 50_000])
def test_no_second_has_more_than_its_part(per_second: int, spray: bool) -> None:
    times = sent(Strangers(), 4, per_second, spray=spray)
    for begin in times[::7]:
        assert sum(begin <= at < begin + 1 for at in times) <= PER_SECOND
    least = 150 if per_second == 150 else 190 - (NOT_FOR_SPRAYS if spray else 0)
    assert sum(1001 <= at < 1002 for at in times) >= least


def test_beside_a_spray_what_it_found_can_be_checked() -> None:
    strangers = Strangers()
    checks = 0
    for number in range(1000):
        at = 1000 + number / 1000
        strangers.may_send("v", at, spray=True)
        checks += number % 70 == 69 and strangers.may_send("v", at)
    assert checks == 14


def test_what_is_no_spray_ends_and_goes_on_slowly() -> None:
    times = sent(Strangers(), 100, 1000)
    assert BURST <= len(times) <= BURST + 100 * REFILL_PER_SECOND
    late = [at for at in times if at >= 1050]
    assert 45 * REFILL_PER_SECOND < len(late) < 55 * REFILL_PER_SECOND


def test_sprays_end_too() -> None:
    times = sent(Strangers(), 200, 1000, spray=True)
    assert 4 * PACKETS_MAX <= len(times) <= 4 * PACKETS_MAX + PACKETS_MAX * 200 / 600


def test_large_ones_count_as_several() -> None:
    strangers = Strangers()
    times = [at for at in range(1000, 3000) if strangers.may_send("v", at, cost=BURST / 2)]
    assert len(times) <= 2 + 2000 * REFILL_PER_SECOND / (BURST / 2)
    assert INITIATION_COST > 1


def test_where_somebody_is_found_nothing_is_counted_until_all_have_left() -> None:
    strangers = Strangers()
    assert len(sent(strangers, 1, 1000)) == PER_SECOND
    strangers.found("v")
    strangers.found("v")
    assert len(sent(strangers, 1, 1000)) == 1000
    strangers.lost("v")
    assert len(sent(strangers, 1, 1000)) == 1000
    strangers.lost("v")
    assert len(sent(strangers, 1, 1000)) == PER_SECOND


def test_of_hosts_without_end_a_bounded_number_is_remembered() -> None:
    strangers = Strangers()
    hosts = [f"h{number}" for number in range(HOSTS_MAX + 10)]
    allowed = [strangers.may_send(host, 1000.0) for host in hosts]
    assert allowed == [True] * HOSTS_MAX + [False] * 10
    assert all(strangers.may_send(host, 1005.0) for host in hosts[-10:])
    assert len(strangers._hosts) == HOSTS_MAX
