"""Deadlines against a naive list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l2mesh.core.deadlines import NEVER, Deadlines

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wake"), st.integers(0, 5), st.integers(0, 50)),
        st.tuples(st.just("discard"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("pop"), st.just(0), st.integers(0, 20)),
    ),
    max_size=60,
)


@given(STEPS)
def test_each_owner_comes_up_at_its_earliest_instant(steps: list[tuple[str, int, int]]) -> None:
    deadlines: Deadlines[int] = Deadlines()
    naive: dict[int, float] = {}
    now = 0.0
    for action, owner, number in steps:
        if action == "wake":
            deadlines.wake(owner, now + number)
            naive[owner] = min(naive.get(owner, float("inf")), now + number)
        elif action == "discard":
            deadlines.discard(owner)
            naive.pop(owner, None)
        else:
            now += number
            due = deadlines.pop_due(now)
            assert sorted(due) == sorted(known for known, at in naive.items() if at <= now)
            assert [naive[known] for known in due] == sorted(naive[known] for known in due)
            for known in due:
                del naive[known]
        assert deadlines.first_at == min(naive.values(), default=NEVER)


def test_none_is_no_instant_and_a_later_one_changes_nothing() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.wake("a", None)
    assert deadlines.first_at == NEVER
    deadlines.wake("a", 5.0)
    deadlines.wake("a", 9.0)
    assert deadlines.pop_due(5.0) == ["a"]
    assert deadlines.pop_due(100.0) == []


def test_an_owner_may_set_its_next_instant_while_it_is_due() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.wake("a", 1.0)
    for now in (1.0, 2.0, 3.0):
        for owner in deadlines.pop_due(now):
            deadlines.wake(owner, now + 1.0)
    assert deadlines.first_at == 4.0


def test_owners_of_one_instant_come_in_the_order_they_were_set() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for owner in "cab":
        deadlines.wake(owner, 1.0)
    assert deadlines.pop_due(1.0) == ["c", "a", "b"]
