"""Virtual time: order, and where it stops."""

from __future__ import annotations

from functools import partial

import pytest

from l2mesh.simulator.clock import Clock


def test_things_happen_in_order_of_instant_then_of_request() -> None:
    clock = Clock()
    start = clock.now
    seen: list[tuple[str, float]] = []

    def note(name: str) -> None:
        seen.append((name, clock.now - start))

    for name, after in [("c", 2.0), ("a", 1.0), ("d", 2.0), ("b", 1.0)]:
        clock.call_at(start + after, partial(note, name))
    clock.run_until(start + 5)
    assert seen == [("a", 1.0), ("b", 1.0), ("c", 2.0), ("d", 2.0)]
    assert clock.now == start + 5


def test_run_until_includes_its_last_instant_and_what_that_brings_about() -> None:
    clock = Clock()
    seen: list[float] = []
    at = clock.now + 1
    clock.call_at(at, lambda: clock.call_at(at, lambda: seen.append(clock.now)))
    clock.call_at(at + 0.001, lambda: seen.append(clock.now))
    clock.run_until(at)
    assert seen == [at]


def test_run_while_stops_at_the_instant_of_the_change() -> None:
    clock = Clock()
    seen: list[int] = []
    start = clock.now
    for number in range(10):
        clock.call_at(start + number, partial(seen.append, number))
    assert clock.run_while(lambda: 3 not in seen, start + 100)
    assert (seen, clock.now) == ([0, 1, 2, 3], start + 3)


def test_run_while_gives_up_at_the_deadline() -> None:
    clock = Clock()
    start = clock.now
    clock.call_at(start + 10, lambda: None)
    assert not clock.run_while(lambda: True, start + 5)
    assert clock.now == start + 5
    assert not clock.run_while(lambda: True)
    assert clock.now == start + 10


def test_the_past_cannot_be_asked_for() -> None:
    clock = Clock()
    with pytest.raises(ValueError, match="before now"):
        clock.call_at(clock.now - 1, lambda: None)
    with pytest.raises(ValueError, match="before now"):
        clock.call_at(float("nan"), lambda: None)
