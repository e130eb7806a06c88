"""The replay window against a naive one that remembers everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.crypto.replay import DEFAULT_SIZE, ReplayWindow


class NaiveWindow:
    """What the window means: at most `size` back from the newest, and each counter once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.seen: set[int] = set()
        self.newest = -1

    def would_accept(self, counter: int) -> bool:
        return counter not in self.seen and counter > self.newest - self.size

    def accept(self, counter: int) -> bool:
        if not self.would_accept(counter):
            return False
        self.seen.add(counter)
        self.newest = max(self.newest, counter)
        return True

    def accept_run(self, first: int, count: int) -> bool:
        return first > self.newest and all(self.accept(first + index) for index in range(count))


STEPS = st.lists(
    st.tuples(
        # Mostly near the newest counter, on both edges of a window of 16; sometimes far ahead.
        st.one_of(st.integers(-20, 20), st.integers(-70, 70), st.sampled_from([10**6, 2**40])),
        st.integers(0, 20),
    ),
    max_size=200,
)


@given(STEPS)
def test_it_accepts_what_a_naive_window_accepts(steps: list[tuple[int, int]]) -> None:
    window, naive = ReplayWindow(16), NaiveWindow(16)
    for distance, count in steps:
        counter = max(0, naive.newest + distance)
        assert window.would_accept(counter) == naive.would_accept(counter)
        if count:
            assert window.accept_run(counter, count) == naive.accept_run(counter, count)
        else:
            assert window.accept(counter) == naive.accept(counter)
        for near in range(max(0, naive.newest - 40), naive.newest + 3):
            assert window.would_accept(near) == naive.would_accept(near)


@given(st.lists(st.integers(0, 64), max_size=300), st.integers(1, 40))
def test_no_counter_is_ever_accepted_twice(counters: list[int], size: int) -> None:
    window = ReplayWindow(size)
    accepted = [counter for counter in counters if window.accept(counter)]
    assert len(accepted) == len(set(accepted))


def test_each_counter_once_in_order() -> None:
    window = ReplayWindow()
    assert all(window.accept(counter) for counter in range(20_000))
    assert not any(window.accept(counter) for counter in range(20_000))


def test_a_late_datagram_is_accepted_to_the_edge_of_the_window() -> None:
    for late, accepted in ((0, False), (1, True), (2, True)):
        window = ReplayWindow()
        window.accept(DEFAULT_SIZE)
        assert window.accept(late) is accepted


def test_a_run_that_is_partly_old_changes_nothing() -> None:
    window = ReplayWindow()
    assert window.accept_run(0, 64)
    assert not window.accept_run(63, 64)
    assert window.would_accept(64)
    assert [window.accept(counter) for counter in range(63, 66)] == [False, True, True]


def test_a_late_run_falls_back_to_single_counters() -> None:
    window = ReplayWindow()
    assert window.accept_run(64, 64)
    assert not window.accept_run(0, 64)
    assert all(window.accept(counter) for counter in range(64))


def test_in_order_traffic_and_any_jump_leave_little_memory() -> None:
    window = ReplayWindow()
    for first in range(0, 2**62, 2**55):
        assert window.accept_run(first, 64)
        assert window._missing.bit_length() <= 3 * DEFAULT_SIZE


def test_a_hole_from_long_ago_is_not_reached_for() -> None:
    # The bitmap stays where the last gap was; a counter far above it must not build a mask of that length.
    window = ReplayWindow()
    window.accept(5)
    window.accept_run(6, 2**40)
    assert not window.would_accept(2**40)
    assert not window.accept(2**40)
    assert not window.accept(3)


@pytest.mark.parametrize("counter", [2**63, 2**64 - 1])
def test_the_greatest_counters_of_the_wire_are_no_special_case(counter: int) -> None:
    window = ReplayWindow()
    assert window.accept(counter)
    assert not window.accept(counter)
    assert window.accept(counter - 1)
    assert not window.accept(counter - DEFAULT_SIZE)
