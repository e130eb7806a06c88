"""Timestamps that only grow, over restarts and under wrong clocks, and the guard that insists on it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.crypto.tai64n import (
    RESERVE_BY_CLOCK,
    TIMESTAMP_SIZE,
    ReplayGuard,
    TimestampSource,
    tai64n,
    unix_seconds,
)

NOW = 1_800_000_000.0
YEAR = 365 * 86400.0
ALICE, BOB, CAROL = (bytes([index]) * 32 for index in range(3))


def test_exact_bytes() -> None:
    assert tai64n(0.0).hex() == "400000000000000a" + "00000000"
    assert tai64n(1_000_000_000.5).hex() == "400000003b9aca0a" + "1dcd6500"
    assert unix_seconds(tai64n(1_000_000_000.5)) == 1_000_000_000.5


@pytest.mark.parametrize("bad", [b"", bytes(11), bytes(13), b"\xff" * 12, bytes(8) + b"\xff" * 4])
def test_bytes_that_are_no_timestamp_are_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match="timestamp"):
        unix_seconds(bad)
    with pytest.raises(ValueError, match="timestamp"):
        TimestampSource(bad, NOW)


@given(st.lists(st.floats(0, 4e9), min_size=2, max_size=30))
def test_timestamps_grow_whatever_the_clock_does(clock: list[float]) -> None:
    source = TimestampSource(None, clock[0])
    given_out = [source.next(now) for now in clock]
    assert given_out == sorted(set(given_out))
    assert all(len(timestamp) == TIMESTAMP_SIZE for timestamp in given_out)


@given(st.lists(st.lists(st.floats(0, 4e9), min_size=1, max_size=5), min_size=1, max_size=8))
def test_timestamps_grow_over_crashes(lives: list[list[float]]) -> None:
    # What is on disk at a crash is what `stored` was before the last timestamp was asked for.
    on_disk: bytes | None = None
    given_out = []
    for clock in lives:
        source = TimestampSource(on_disk, clock[0])
        for now in clock:
            on_disk = source.stored
            given_out.append(source.next(now))
            on_disk = max(on_disk, source.stored)
            assert given_out[-1] < on_disk
    assert given_out == sorted(set(given_out))


def test_the_state_file_is_ahead_before_it_is_needed() -> None:
    source = TimestampSource(None, NOW)
    for second in range(0, 3600, 60):
        on_disk = source.stored
        assert source.next(NOW + second) < on_disk


def test_the_state_file_is_seldom_written() -> None:
    source = TimestampSource(None, NOW)
    written = set()
    for second in range(0, 3600, 5):
        source.next(NOW + second)
        written.add(source.stored)
    assert len(written) <= 1 + 2 * 3600 * 10**9 // RESERVE_BY_CLOCK


def test_a_host_that_boots_years_back_goes_on_from_what_was_stored() -> None:
    before = TimestampSource(None, NOW)
    last = before.next(NOW)
    after = TimestampSource(before.stored, NOW - 5 * YEAR)
    assert after.next(NOW - 5 * YEAR) > last
    assert unix_seconds(after.next(NOW - 5 * YEAR)) - NOW < 3600


def test_a_thousand_restarts_stay_near_the_clock() -> None:
    # Else the node would be locked out for as long, should it lose its state file.
    stored = None
    for _ in range(1000):
        source = TimestampSource(stored, NOW)
        source.next(NOW)
        stored = source.stored
    assert stored is not None
    assert unix_seconds(stored) - NOW < 1800


def test_the_clock_leads_again_once_it_has_caught_up() -> None:
    source = TimestampSource(tai64n(NOW), NOW - 10)
    assert source.next(NOW - 10) > tai64n(NOW)
    assert source.next(NOW + 10) == tai64n(NOW + 10)


def test_the_guard_accepts_only_what_has_grown() -> None:
    guard = ReplayGuard()
    assert guard.accept(ALICE, tai64n(NOW))
    assert not guard.accept(ALICE, tai64n(NOW))
    assert not guard.accept(ALICE, tai64n(NOW - 1))
    assert guard.accept(ALICE, tai64n(NOW + 1))
    assert guard.accept(BOB, tai64n(NOW - YEAR))  # each key has its own clock


def test_asking_changes_nothing() -> None:
    guard = ReplayGuard()
    assert guard.accepts(ALICE, tai64n(NOW))
    assert guard.accepts(ALICE, tai64n(NOW))
    assert len(guard) == 0


@pytest.mark.parametrize("timestamp", [b"", b"\xff", b"\xff" * 11, b"\xff" * 13])
def test_a_timestamp_of_another_length_is_refused(timestamp: bytes) -> None:
    assert not ReplayGuard().accept(ALICE, timestamp)


def test_a_full_guard_forgets_the_key_that_was_quiet_the_longest() -> None:
    guard = ReplayGuard(limit=2)
    guard.accept(ALICE, tai64n(NOW))
    guard.accept(BOB, tai64n(NOW + 1))
    guard.accept(ALICE, tai64n(NOW + 2))
    guard.accept(CAROL, tai64n(NOW - YEAR))
    assert len(guard) == 2
    assert not guard.accepts(ALICE, tai64n(NOW + 2))
    assert guard.accepts(BOB, tai64n(NOW + 1))


def test_strangers_cannot_grow_the_guard() -> None:
    guard = ReplayGuard(limit=10)
    for number in range(1000):
        guard.accept(number.to_bytes(32, "big"), tai64n(NOW))
    assert len(guard) == 10


def test_the_guard_survives_a_restart() -> None:
    guard, after = ReplayGuard(), ReplayGuard()
    guard.accept(ALICE, tai64n(NOW))
    guard.accept(BOB, tai64n(NOW))
    after.accept(BOB, tai64n(NOW + 5))
    after.restore(guard.export())
    assert not after.accepts(ALICE, tai64n(NOW))
    assert not after.accepts(BOB, tai64n(NOW + 5))


@pytest.mark.parametrize("entries", [{"AAAA": "00" * 12}, {"A" * 43 + "=": "00" * 11}, {"A" * 43 + "=": "xy"}])
def test_a_damaged_export_is_refused_whole(entries: dict[str, str]) -> None:
    guard = ReplayGuard()
    guard.accept(ALICE, tai64n(NOW))
    with pytest.raises(ValueError, match=r"replay guard|hexadecimal"):
        guard.restore(guard.export() | entries)
    assert len(guard) == 1
