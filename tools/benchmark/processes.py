"""What /proc says of processes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from benchmark.errors import BenchmarkError

TICKS = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat behind the program's name, which may hold anything (proc(5)).
PARENT = 1
TIMES = slice(11, 15)
"""utime and stime, and those of its children that have ended."""


def parse_stat(text: str) -> list[str]:
    """The fields from the state on."""
    return text.rpartition(")")[2].split()


def _stat(pid: int) -> list[str]:
    return parse_stat(Path(f"/proc/{pid}/stat").read_text())


def with_descendants(pids: Iterable[int]) -> list[int]:
    """These processes and what they started."""
    children: dict[int, list[int]] = defaultdict(list)
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with suppress(OSError, IndexError):  # it ended
                children[int(_stat(int(directory.name))[PARENT])].append(int(directory.name))
    found = list(pids)
    for pid in found:
        found += children[pid]
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """utime + stime of all threads of these and of all that they ever started.

    The kernel counts exactly, and shows it in 10 ms. BenchmarkError if one of `pids` has ended.
    """
    own = list(pids)
    ticks = 0
    for pid in with_descendants(own):
        try:
            ticks += sum(map(int, _stat(pid)[TIMES]))
        except OSError:
            if pid in own:
                raise BenchmarkError(f"its process {pid} has ended") from None
            # A child that ended just now: its time is its parent's from here on.
    return ticks / TICKS


def peak_memory_bytes(pid: int) -> int:
    """VmHWM: the most that was ever resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == "VmHWM":
            return int(value.split()[0]) * 1024
    return 0
