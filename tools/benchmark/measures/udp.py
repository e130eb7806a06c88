"""Small and large datagrams by iperf3."""

from __future__ import annotations

from benchmark import iperf
from benchmark.iperf import UdpRun
from benchmark.measures.base import Cell, OnBothUnderlays, Samples
from benchmark.rate_search import Verdict, highest_good

SMALL, LARGE = 64, 1400
"""Bytes of payload."""
FLOOD_SECONDS = 1.0

LOST_SHARE_MAX = 0.01
DELIVERED_SHARE_MIN = 0.95
"""Of the offered rate, while it is offered: else a queue fills, and with a longer run it would lose."""
OFFERED_SHARE_MIN = 0.9
"""Of the rate asked for: with less, the sender is at its end."""

LOWEST_RATE, HIGHEST_RATE = 2_000.0, 1_000_000.0
FIRST_GUESS, FIRST_FACTOR, NEXT_FACTOR = 60_000.0, 1.6, 1.15


def judge(run: UdpRun, asked: float) -> Verdict:
    if run.lost_share > LOST_SHARE_MAX or run.delivered_rate < DELIVERED_SHARE_MIN * run.offered_rate:
        return Verdict.BAD
    return Verdict.GOOD if run.offered_rate >= OFFERED_SHARE_MIN * asked else Verdict.TOP


class SmallRate(OnBothUnderlays):
    """The result is the rate that was really offered in the best trial, and CPU time of that trial."""

    name = "udp64"
    title = "64-byte UDP, highest rate with <= 1 % loss"

    def run(self, cell: Cell) -> Samples:
        best: Samples = {"udp64_rate": 0.0}
        seconds = cell.effort.trial_seconds

        def trial(rate: float) -> Verdict:
            with cell.cpu() as cpu:
                run = iperf.udp_run(cell.iperf(iperf.udp_options(SMALL, rate, seconds), seconds), SMALL)
            verdict = judge(run, rate)
            if verdict is not Verdict.BAD and run.offered_rate > best["udp64_rate"]:
                best["udp64_rate"] = run.offered_rate
                if cpu.counted:
                    best["cpu_s_per_million"] = cpu.seconds / run.received * 1e6
            return verdict

        highest_good(
            trial,
            guess=cell.known_rate or FIRST_GUESS,
            factor=NEXT_FACTOR if cell.known_rate else FIRST_FACTOR,
            precision=cell.effort.precision,
            lowest=LOWEST_RATE,
            highest=HIGHEST_RATE,
        )
        return best


class SmallFlood(OnBothUnderlays):
    name = "flood64"
    title = "64-byte UDP flood, what the program reads"

    def run(self, cell: Cell) -> Samples:
        return {"flood64_rate": _flood(cell, SMALL).delivered_rate}


class LargeFlood(OnBothUnderlays):
    name = "udp1400"
    title = "1400-byte UDP flood, what the program reads"

    def run(self, cell: Cell) -> Samples:
        return {"udp1400_mbit": _flood(cell, LARGE).delivered_rate * LARGE * 8 / 1e6}


def _flood(cell: Cell, size: int) -> UdpRun:
    return iperf.udp_run(cell.iperf(iperf.udp_options(size, None, FLOOD_SECONDS), FLOOD_SECONDS), size)
