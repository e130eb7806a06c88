"""What was seen on the way: time to start, memory at its highest."""

from __future__ import annotations

from benchmark import processes
from benchmark.measures.base import Cell, OnBothUnderlays, Samples


class Start(OnBothUnderlays):
    name = "start"
    title = "time from start to the first ping"

    def run(self, cell: Cell) -> Samples:
        return {"start_s": cell.start_seconds} if cell.system.pids() else {}


class Memory(OnBothUnderlays):
    """After all the load of the others, so it has to be the last."""

    name = "memory"
    title = "memory of an end at its highest"

    def run(self, cell: Cell) -> Samples:
        ends = [
            sum(processes.peak_memory_bytes(pid) for pid in processes.with_descendants([end]))
            for end in cell.system.end_pids()
        ]
        return {"memory_mb": max(ends) / 1e6} if ends else {}
