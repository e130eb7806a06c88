"""The token bucket."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l2mesh.core.token_bucket import TokenBucket


def test_a_burst_then_the_rate() -> None:
    bucket = TokenBucket(10.0, 3.0, 0.0)
    assert [bucket.take(1, 0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(1, 0.1)
    assert not bucket.take(1, 0.1)


def test_no_more_than_the_burst_is_saved_up() -> None:
    bucket = TokenBucket(10.0, 3.0, 0.0)
    assert [bucket.take(1, 1000.0) for _ in range(4)] == [True, True, True, False]


def test_what_is_refused_takes_nothing() -> None:
    bucket = TokenBucket(1.0, 5.0, 0.0)
    assert not bucket.take(6, 0.0)
    assert bucket.take(5, 0.0)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), max_size=100))
def test_never_more_than_burst_and_rate_allow(steps: list[tuple[int, int]]) -> None:
    bucket, now, taken = TokenBucket(2.0, 7.0, 0.0), 0.0, 0
    for pause, amount in steps:
        now += pause
        taken += amount if bucket.take(amount, now) else 0
        assert taken <= 7 + 2 * now
