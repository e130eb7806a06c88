"""TCP throughput by iperf3, its CPU time, and under loss."""

from __future__ import annotations

from benchmark import iperf
from benchmark.measures.base import Cell, OnBothUnderlays, Samples
from benchmark.underlay import Underlay

LOSS_PERCENT = 1.0


class TcpOneStream(OnBothUnderlays):
    name = "tcp"
    title = "TCP, 1 stream, and its CPU time"

    def run(self, cell: Cell) -> Samples:
        seconds = cell.effort.tcp_seconds
        with cell.cpu() as cpu:
            document = cell.iperf(iperf.tcp_options(seconds), seconds)
        samples = {"tcp_mbit": iperf.tcp_mbit(document)}
        received, _ = iperf.tcp_bytes(document)
        if cpu.counted and received:
            samples["cpu_s_per_gb"] = cpu.seconds / received * 1e9
        return samples


class TcpWith(OnBothUnderlays):
    """With further options of iperf3."""

    def __init__(self, name: str, title: str, metric: str, *options: str) -> None:
        self.name = name
        self.title = title
        self._metric = metric
        self._options = options

    def run(self, cell: Cell) -> Samples:
        seconds = cell.effort.tcp_seconds
        return {self._metric: iperf.tcp_mbit(cell.iperf(iperf.tcp_options(seconds, *self._options), seconds))}


class TcpWithLoss:
    """Only where a lost packet is one datagram."""

    name = "loss"
    title = "TCP, 1 stream, 1 % loss"

    def applies(self, underlay: Underlay) -> bool:
        return underlay is Underlay.PLAIN

    def run(self, cell: Cell) -> Samples:
        seconds = cell.effort.loss_factor * cell.effort.tcp_seconds
        with cell.rig.loss(LOSS_PERCENT):
            return {"loss_mbit": iperf.tcp_mbit(cell.iperf(iperf.tcp_options(seconds), seconds))}
