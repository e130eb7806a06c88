"""What a number means: its key in the JSON, its column, its unit, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Better(Enum):
    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, slots=True)
class Metric:
    key: str
    title: str
    unit: str
    better: Better
    digits: int = 0
    """Behind the point, in tables."""


HIGHER, LOWER = Better.HIGHER, Better.LOWER

METRICS = {
    metric.key: metric
    for metric in (
        Metric("tcp_mbit", "TCP, 1 stream", "Mbit/s", HIGHER),
        Metric("cpu_s_per_gb", "CPU time, 1 stream", "s/GB", LOWER, 2),
        Metric("tcp4_mbit", "TCP, 4 streams", "Mbit/s", HIGHER),
        Metric("reverse_mbit", "TCP, reverse", "Mbit/s", HIGHER),
        Metric("both_mbit", "TCP, both ways", "Mbit/s", HIGHER),
        Metric("loss_mbit", "TCP, 1 % loss", "Mbit/s", HIGHER),
        Metric("udp64_rate", "64-byte UDP, <= 1 % loss", "/s", HIGHER),
        Metric("cpu_s_per_million", "CPU time, 64-byte UDP", "s/million", LOWER, 2),
        Metric("flood64_rate", "64-byte UDP flood, read", "/s", HIGHER),
        Metric("udp1400_mbit", "1400-byte UDP, read", "Mbit/s", HIGHER),
        Metric("rtt_us", "ping, median", "us", LOWER),
        Metric("rtt_p99_us", "ping, p99", "us", LOWER),
        Metric("loaded_rtt_us", "ping under TCP, median", "us", LOWER),
        Metric("loaded_rtt_p99_us", "ping under TCP, p99", "us", LOWER),
        Metric("start_s", "start to first ping", "s", LOWER, 2),
        Metric("memory_mb", "memory of an end", "MB", LOWER, 1),
    )
}

GROUPS = (
    ("TCP", ("tcp_mbit", "cpu_s_per_gb", "tcp4_mbit", "reverse_mbit", "both_mbit", "loss_mbit")),
    ("UDP", ("udp64_rate", "cpu_s_per_million", "flood64_rate", "udp1400_mbit")),
    (
        "Time and memory",
        ("rtt_us", "rtt_p99_us", "loaded_rtt_us", "loaded_rtt_p99_us", "start_s", "memory_mb"),
    ),
)
"""One table each."""
