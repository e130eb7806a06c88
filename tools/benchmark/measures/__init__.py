"""All measures, in the order in which they are taken: quiet ones first, memory after all load."""

from __future__ import annotations

from benchmark.measures.base import Measure
from benchmark.measures.resources import Memory, Start
from benchmark.measures.rtt import IdlePing, LoadedPing
from benchmark.measures.tcp import TcpOneStream, TcpWith, TcpWithLoss
from benchmark.measures.udp import LargeFlood, SmallFlood, SmallRate

MEASURES: tuple[Measure, ...] = (
    Start(),
    IdlePing(),
    TcpOneStream(),
    TcpWith("tcp4", "TCP, 4 streams", "tcp4_mbit", "-P", "4"),
    TcpWith("reverse", "TCP, 1 stream, reverse", "reverse_mbit", "-R"),
    TcpWith("both", "TCP, both ways at once", "both_mbit", "--bidir"),
    LoadedPing(),
    SmallRate(),
    SmallFlood(),
    LargeFlood(),
    TcpWithLoss(),
    Memory(),
)
