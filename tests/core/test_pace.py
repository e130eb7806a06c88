"""The pace of sprays: no second has more than it may, wherever that second begins."""

from __future__ import annotations

from random import Random

import pytest

from l2mesh.core.pace import Pace
from l2mesh.core.side_numbers import NUMBERS, REST_S, SideNumbers


@pytest.mark.parametrize("seed", range(5))
def test_no_second_has_more_than_is_allowed(seed: int) -> None:
    """The timer comes late now and then, and several ask."""
    chance = Random(seed)
    pace = Pace(200)
    now, sent = 0.0, []
    while now < 10:
        sent += [now] * pace.take(chance.choice([1, 4, 16, 2048]), now)
        now = max(pace.next_at(now), now + chance.choice([0, 0, 0.003, 0.2]))
    for begin in sent:
        assert sum(1 for at in sent if begin <= at < begin + 1) <= 200


def test_what_may_go_goes_evenly() -> None:
    pace = Pace(200)
    now, sent = 0.0, []
    while now < 2:
        granted = pace.take(2048, now)
        assert granted <= 10
        sent += [now] * granted
        at = pace.next_at(now)
        assert at > now
        now = at
    assert 390 <= len(sent) <= 400


def test_side_numbers_are_lent_once_and_rest_before_they_are_lent_again() -> None:
    numbers = SideNumbers()
    taken = numbers.take(NUMBERS - 10, 0.0)
    rest = numbers.take(100, 0.0)
    assert len(rest) == 10
    assert sorted(taken + rest) == list(range(1, NUMBERS + 1))
    assert numbers.take(1, 0.0) == []
    numbers.give_back(rest, 1.0)
    assert numbers.take(10, 1.0) == []
    assert sorted(numbers.take(20, 1.0 + REST_S)) == sorted(rest)
