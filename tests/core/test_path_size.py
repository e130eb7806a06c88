"""The size of a path's datagrams: searched upwards, taken back when a black hole shows."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from l2mesh.core.path_size import (
    BASE_SIZE,
    BLACK_HOLE_ROUNDS,
    CONFIRM_AFTER_DATAGRAMS,
    CONFIRM_EVERY_S,
    LEAST_SIZE,
    ROUNDS_FOR_A_LOST_ONE,
    ROUNDS_MAX,
    SEARCH_AGAIN_AFTER_S,
    SIZES,
    SMALL_SIZES,
    TRIES,
    PathSize,
)

SMALL = 44


def search(size: PathSize, carries: Callable[[int], bool], start: float, end: float) -> list[tuple[float, int]]:
    """Answer what is tried, at once; (instant, size) of what was."""
    tried = []
    now = max(start, size.next_at)
    while now <= end:
        one = size.due(now)
        if one is not None:
            tried.append((round(now, 6), one))
            if carries(one):
                size.answered(one, now)
        now = max(now, size.next_at)
    return tried


def rounds(size: PathSize, carries: Callable[[int], bool], most: int, now: float = 0.0) -> int:
    """Rounds of a doubt until it ends, at most so many."""
    for count in range(most):
        large = size.round(now)
        if large is None:
            return count
        for one in (SMALL, large):
            if carries(one):
                size.answered(one, now)
    return most


def found(version: int, carried: int) -> PathSize:
    size = PathSize(version)
    size.search(0.0)
    search(size, lambda one: one <= carried, 0.0, 8.0)
    return size


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("carried", [1472, 1471, 1452, 1400, 1301, 1272, 1252, 1251, 1240])
def test_the_size_is_the_first_of_the_table_that_passes(version: int, carried: int) -> None:
    size = PathSize(version)
    assert size.size == BASE_SIZE
    assert size.next_at == float("inf")
    size.search(0.0)
    tried = [one for _, one in search(size, lambda one: one <= carried, 0.0, 8.0)]
    expected = next((one for one in SIZES[version] if one <= carried), BASE_SIZE)
    assert size.size == expected
    too_large = [one for one in SIZES[version] if one > carried]
    assert tried == [one for one in too_large for _ in range(TRIES)] + [expected] * (expected > BASE_SIZE)


def test_the_largest_size_is_final() -> None:
    assert found(4, 1500).next_at == float("inf")


def test_larger_ones_are_tried_again_and_again_more_and_more_rarely() -> None:
    size = found(4, 1400)
    tried = search(size, lambda one: one <= 1400, 8.0, 5000.0)
    starts = [at for (at, _), (before, _) in zip(tried, [(0.0, 0), *tried], strict=False) if at - before > 5]
    gaps = [round(b - a) for a, b in zip([0.0, *starts], starts, strict=False)]
    assert gaps[1:6] == pytest.approx(list(SEARCH_AGAIN_AFTER_S[1:]), abs=4)
    assert gaps[6:] == pytest.approx([SEARCH_AGAIN_AFTER_S[-1]] * len(gaps[6:]), abs=4)
    search(size, lambda one: True, 5000.0, 6000.0)
    assert size.size == 1472


def test_a_base_that_nobody_saw_pass_is_asked_for() -> None:
    size = found(4, BASE_SIZE)
    assert size.doubted
    assert rounds(size, lambda one: one <= BASE_SIZE, 10) == 1
    assert not size.doubted
    assert size.size == BASE_SIZE


@pytest.mark.parametrize("carried", [1252, 1240, BASE_SIZE])
def test_a_black_hole_above_the_base_is_left_after_five_rounds(carried: int) -> None:
    size = found(4, 1500)
    assert size.size == 1472
    size.doubt()
    assert rounds(size, lambda one: one <= carried, 20) == BLACK_HOLE_ROUNDS + 1
    assert size.size == BASE_SIZE
    search(size, lambda one: one <= carried, 10.0, 18.0)
    assert size.size == BASE_SIZE


@pytest.mark.parametrize("carried", [1231, 1100, 999, 600, 552])
def test_a_path_that_carries_only_small_packets_is_used_as_far_as_it_goes(carried: int) -> None:
    size = found(4, carried)
    assert size.size == BASE_SIZE
    assert rounds(size, lambda one: one <= carried, 20) == BLACK_HOLE_ROUNDS + 1
    assert size.size == LEAST_SIZE
    assert not size.doubted
    search(size, lambda one: one <= carried, 10.0, 30.0)
    assert size.size == next((one for one in (*SMALL_SIZES, LEAST_SIZE) if one <= carried), 0)


def test_a_path_that_carries_nothing_of_use_is_left_in_peace() -> None:
    size = found(4, 100)
    assert rounds(size, lambda one: one <= 100, 100) == 2 * BLACK_HOLE_ROUNDS
    assert size.size == LEAST_SIZE
    assert size.round(1.0) is None


def test_one_answer_ends_the_doubt() -> None:
    size = found(4, 1500)
    size.doubt()
    for _ in range(BLACK_HOLE_ROUNDS):
        assert size.round(0.0) == 1472
        size.answered(SMALL, 0.0)
    size.answered(1472, 0.0)
    assert size.round(0.0) is None
    assert size.size == 1472


def test_while_much_is_sent_probes_of_this_size_confirm_it() -> None:
    size = found(4, 1500)
    enough = CONFIRM_AFTER_DATAGRAMS * 1472
    assert size.confirm(enough - 1, 0.1, 10.0) is None
    assert size.confirm(enough, 0.1, 10.0) == 1472
    assert size.overdue_at == 10.1
    size.answered(1472, 10.05)
    assert size.overdue_at == float("inf")
    assert size.confirm(3 * enough, 0.1, 10.05) is None, "it is too soon"
    assert size.confirm(2 * enough - 1, 0.1, 11.0) is None, "too little was sent since"
    assert size.confirm(3 * enough, 0.1, 10.0 + CONFIRM_EVERY_S) == 1472
    size.doubt()
    assert size.overdue_at == float("inf")
    assert size.confirm(9 * enough, 0.1, 20.0) is None, "the rounds ask"


def test_while_in_doubt_frames_are_cut_small() -> None:
    size = found(4, 1500)
    assert size.safe_size == 1472
    size.doubt()
    assert (size.size, size.safe_size) == (1472, BASE_SIZE)
    size.answered(SMALL, 0.0)
    assert size.safe_size == BASE_SIZE
    size.answered(1472, 0.0)
    assert size.safe_size == 1472


def test_the_base_is_given_up_after_one_round_in_vain() -> None:
    size = found(4, BASE_SIZE)
    assert size.doubted
    size.round(0.0)
    assert size.safe_size == BASE_SIZE
    size.round(0.1)
    assert size.safe_size == LEAST_SIZE
    size.answered(BASE_SIZE, 0.2)
    assert size.safe_size == BASE_SIZE


def test_a_small_one_that_is_lost_makes_it_last_longer() -> None:
    size = found(4, 1500)
    size.doubt()
    assert size.round(0.0) == 1472  # neither is answered
    assert rounds(size, lambda one: one < 100, BLACK_HOLE_ROUNDS + ROUNDS_FOR_A_LOST_ONE - 1) > 0
    assert size.size == 1472
    assert size.round(0.0) == BASE_SIZE


def test_without_any_answer_nothing_is_learned() -> None:
    size = found(4, 1500)
    size.doubt()
    assert rounds(size, lambda one: False, 100) == ROUNDS_MAX
    assert size.size == 1472


@pytest.mark.parametrize(("loss", "at_most"), [(0.01, 0), (0.05, 0), (0.1, 1), (0.2, 3)])
def test_a_lossy_path_is_hardly_ever_taken_for_a_black_hole(loss: float, at_most: int) -> None:
    """`loss` each way; out of 1000 doubts. And then the search finds the old size again."""
    random = Random(1)

    def carries(one: int) -> bool:
        return random.random() < (1 - loss) ** 2

    size = found(4, 1500)
    shrunk = 0
    for _ in range(1000):
        size.doubt()
        rounds(size, carries, 100)
        shrunk += size.size < 1472
        size.search(0.0)
        search(size, lambda one: True, 0.0, 1.0)
        assert size.size == 1472
    assert shrunk <= at_most


def test_what_our_own_link_refuses_is_not_tried_three_times() -> None:
    size = PathSize(4)
    size.search(0.0)
    now, tried = 0.0, []
    while (one := size.due(now)) is not None:
        tried.append(one)
        if one <= 1400:
            size.answered(one, now)
        else:
            size.refused(now)
    assert tried == [1472, 1452, 1432, 1392]
    assert (now, size.size) == (0.0, 1392)


def test_a_link_that_became_smaller_sends_us_to_the_base_at_once() -> None:
    size = found(4, 1500)
    size.refused(20.0)
    assert (size.size, size.next_at) == (BASE_SIZE, 20.0)
    for _ in range(64):  # a burst that was packed before
        size.refused(20.0)
    assert size.size == BASE_SIZE
    search(size, lambda one: one <= 1300, 20.0, 30.0)
    assert size.size == 1272
