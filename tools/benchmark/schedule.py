"""In which order cells are run, and how long the rest will take."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmark.cell import run_cell
from benchmark.measures.base import Effort, Measure
from benchmark.results import Failure, Results
from benchmark.systems.base import System
from benchmark.underlay import Underlay

Report = Callable[[str], None]
"""Takes a line of progress."""

USUAL_SECONDS = 13.0
"""Of a cell, until one has been seen."""


@dataclass(frozen=True, slots=True)
class Plan:
    systems: Sequence[Callable[[], System]]
    measures: Sequence[Measure]
    effort: Effort
    rounds: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One cell to run. Rounds count from 1."""

    round: int
    underlay: Underlay
    system: int
    """Its index in the plan."""


def turns(rounds: int, systems: int) -> list[Turn]:
    """Every system once per round and underlay; each round begins with another, so none is always first."""
    return [
        Turn(number, underlay, (number - 1 + i) % systems)
        for number in range(1, rounds + 1)
        for underlay in Underlay
        for i in range(systems)
    ]


class Clock:
    """Estimates the time left from that of the cells so far, each system by itself."""

    def __init__(self) -> None:
        self._seen: dict[int, list[float]] = defaultdict(list)

    def add(self, system: int, seconds: float) -> None:
        self._seen[system].append(seconds)

    def left(self, todo: Sequence[Turn]) -> float:
        everyone = [seconds for seen in self._seen.values() for seconds in seen]
        usual = statistics.mean(everyone) if everyone else USUAL_SECONDS
        means = {system: statistics.mean(seen) for system, seen in self._seen.items()}
        return sum(means.get(turn.system, usual) for turn in todo)


def execute(plan: Plan, results: Results, report: Report) -> None:
    """Runs all turns. `results` holds what there is at any time, so an interrupted run has its share."""
    todo = turns(plan.rounds, len(plan.systems))
    clock = Clock()
    for i, turn in enumerate(todo):
        make = plan.systems[turn.system]
        name = make().name
        begun = time.monotonic()
        known_rate = results.median(name, turn.underlay, "udp64_rate")
        outcome = run_cell(make, turn.underlay, plan.measures, plan.effort, known_rate)
        seconds = time.monotonic() - begun
        clock.add(turn.system, seconds)
        results.add(name, turn.underlay, outcome.samples)
        results.failures += [
            Failure(name, turn.underlay, turn.round, fault.text, fault.details) for fault in outcome.failures
        ]
        report(progress(i + 1, len(todo), turn, plan.rounds, name, seconds, clock.left(todo[i + 1 :])))
        for fault in outcome.failures:
            report(f"         failed: {fault.text}")


def progress(done: int, cells: int, turn: Turn, rounds: int, name: str, seconds: float, left: float) -> str:
    where = f"round {turn.round}/{rounds}  {turn.underlay.value:5}  {name:15}"
    return f"{done:>4}/{cells}  {where} {seconds:5.1f} s   {remaining(left)}"


def remaining(seconds: float) -> str:
    if seconds <= 0:
        return "done"
    return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"
