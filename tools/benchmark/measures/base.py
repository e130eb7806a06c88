"""What a measure is, and what it has to work with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from benchmark import iperf, processes
from benchmark.rig import Rig
from benchmark.systems.base import Overlay, System
from benchmark.underlay import Underlay

Samples = dict[str, float]
"""By the keys of metrics.METRICS."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long measures take."""

    tcp_seconds: int
    trial_seconds: float
    """Of each trial of a rate."""
    precision: float
    """Ratio of two neighbouring rates that are told apart."""
    pings: int
    loss_factor: int
    """So much longer is a TCP run under loss: a stream that waits for a timer waits 200 ms."""


FULL = Effort(tcp_seconds=1, trial_seconds=0.4, precision=1.08, pings=300, loss_factor=2)
QUICK = Effort(tcp_seconds=1, trial_seconds=0.3, precision=1.2, pings=150, loss_factor=1)


@dataclass(frozen=True, slots=True)
class Cell:
    """A system that is up between the two hosts of a rig."""

    rig: Rig
    system: System
    overlay: Overlay
    effort: Effort
    start_seconds: float
    known_rate: float | None
    """Where the search for the highest rate begins: what earlier rounds found."""

    def begin_iperf(self, options: list[str], seconds: float) -> iperf.Run:
        """iperf3 from a to b, for so many seconds."""
        return iperf.Run(self.rig.a, self.rig.b, self.overlay.b, options, seconds)

    def iperf(self, options: list[str], seconds: float) -> Any:
        """The JSON document of a whole run."""
        return self.begin_iperf(options, seconds).result()

    @contextmanager
    def cpu(self) -> Iterator[CpuTime]:
        """What the system's processes spend inside the block."""
        pids = self.system.pids()
        spent = CpuTime(counted=bool(pids))
        before = processes.cpu_seconds(pids)
        yield spent
        spent.seconds = processes.cpu_seconds(pids) - before


@dataclass(slots=True)
class CpuTime:
    counted: bool
    """False for a system in the kernel, whose time nobody counts."""
    seconds: float = 0.0


class Measure(Protocol):
    name: str
    title: str

    def applies(self, underlay: Underlay) -> bool: ...

    def run(self, cell: Cell) -> Samples: ...


class OnBothUnderlays:
    """Base of nearly all."""

    def applies(self, underlay: Underlay) -> bool:
        return True
