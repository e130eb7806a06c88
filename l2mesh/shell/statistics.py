"""Counters of one descriptor: nothing that crosses it, and nothing dropped at it, goes uncounted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class PortStatistics:
    """What one TAP or UDP socket did since it was opened.

    `reads` and `writes` are messages the kernel passed: frames or superframes at a TAP, bursts and trains (without
    GRO or GSO single datagrams) at a UDP socket. recvmmsg aside, each was one system call. `drops` counts, by
    reason, what was handed to us and never reached the kernel.
    """

    reads: int = 0
    read_bytes: int = 0
    writes: int = 0
    write_bytes: int = 0
    drops: Counter[str] = field(default_factory=Counter)
