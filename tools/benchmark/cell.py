"""One cell of the benchmark: a system on an underlay, built, started, measured and taken down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmark import pinging
from benchmark.errors import BenchmarkError
from benchmark.measures.base import Cell, Effort, Measure, Samples
from benchmark.rig import Rig
from benchmark.systems.base import System
from benchmark.underlay import Underlay
from l2mesh.lab import LabError

FIRST_PING_SECONDS = 20.0
FAULTS = (BenchmarkError, LabError, TimeoutError, OSError)
"""What a system or a tool may do to us; anything else is a mistake of ours, and ends the run."""
LINE = 160


@dataclass(frozen=True, slots=True)
class Fault:
    """`text` is a line; `details` has the ends of the programs' logs."""

    text: str
    details: str


@dataclass(slots=True)
class Outcome:
    samples: Samples = field(default_factory=dict)
    failures: list[Fault] = field(default_factory=list)


def run_cell(
    make: Callable[[], System],
    underlay: Underlay,
    measures: Sequence[Measure],
    effort: Effort,
    known_rate: float | None,
) -> Outcome:
    """What could be measured, and what failed. Nothing is left, however it ends."""
    outcome = Outcome()
    system = make()
    wanted = [one for one in measures if one.applies(underlay) and _is_for(system, one)]
    try:
        with Rig(underlay) as rig, _brought_up(system, rig) as start_seconds:
            cell = Cell(rig, system, system.overlay(rig), effort, start_seconds, known_rate)
            for measure in wanted:
                _take(measure, cell, outcome)
    except FAULTS as error:
        outcome.failures.append(fault("start", error))
    return outcome


@contextmanager
def _brought_up(system: System, rig: Rig) -> Iterator[float]:
    """Gives the seconds from its start to the first ping."""
    try:
        system.prepare(rig)
        begun = time.monotonic()
        system.start(rig)
        overlay = system.overlay(rig)
        rig.hasten_arp(rig.a, overlay.b)
        rig.hasten_arp(rig.b, overlay.a)
        pinging.wait_for_answer(rig.a, overlay.b, FIRST_PING_SECONDS)
        start_seconds = time.monotonic() - begun
        system.settle(rig)
        yield start_seconds
    finally:
        system.stop()


def _take(measure: Measure, cell: Cell, outcome: Outcome) -> None:
    try:
        outcome.samples |= measure.run(cell)
    except FAULTS as error:
        outcome.failures.append(fault(measure.name, error))


def _is_for(system: System, measure: Measure) -> bool:
    return system.measures is None or measure.name in system.measures


def fault(where: str, error: BaseException) -> Fault:
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    details = "\n".join([str(error), *getattr(error, "__notes__", ())])
    return Fault(f"{where}: {first_line[:LINE]}", details)
