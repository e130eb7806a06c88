"""Round-trip times: idle, and beside a TCP stream."""

from __future__ import annotations

import statistics
import time

from benchmark import iperf, pinging
from benchmark.measures.base import Cell, OnBothUnderlays, Samples
from benchmark.statistics import percentile

EVERY_S = 0.002
LOADED_SHARE = 0.6
"""Of the stream's time, after the ramp-up."""
RAMP_UP_S = 0.2
"""A stream has filled the queues by then."""


class IdlePing(OnBothUnderlays):
    name = "ping"
    title = "ping, idle"

    def run(self, cell: Cell) -> Samples:
        times = pinging.times_us(cell.rig.a, cell.overlay.b, cell.effort.pings, EVERY_S)
        return {"rtt_us": statistics.median(times), "rtt_p99_us": percentile(times, 99)}


class LoadedPing(OnBothUnderlays):
    name = "loaded-ping"
    title = "ping beside a TCP stream of the same direction"

    def run(self, cell: Cell) -> Samples:
        seconds = cell.effort.tcp_seconds
        count = round(LOADED_SHARE * seconds / EVERY_S)
        stream = cell.begin_iperf(iperf.tcp_options(seconds), seconds)
        try:
            time.sleep(RAMP_UP_S)
            times = pinging.times_us(cell.rig.a, cell.overlay.b, count, EVERY_S)
        finally:
            stream.result()
        return {"loaded_rtt_us": statistics.median(times), "loaded_rtt_p99_us": percentile(times, 99)}
