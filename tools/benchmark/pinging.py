"""ping: round-trip times, and the first answer."""

from __future__ import annotations

import re

from benchmark.errors import BenchmarkError
from l2mesh.lab import LabError, Namespace

TIME = re.compile(r"time=([0-9.]+) ms")
FIRST_EVERY_S = "0.01"
ANSWERED_SHARE = 0.5
"""Of the pings of a run; with less, its times say nothing."""


def parse_times(text: str) -> list[float]:
    """Round-trip times in microseconds, in the order of the answers."""
    return [float(value) * 1000 for value in TIME.findall(text)]


def times_us(host: Namespace, address: str, count: int, interval_s: float) -> list[float]:
    command = ["ping", "-n", "-c", str(count), "-i", str(interval_s), "-W", "1", address]
    done = host.run(command, check=False, timeout=count * interval_s + 10)
    times = parse_times(done.stdout)
    if len(times) < count * ANSWERED_SHARE:
        raise BenchmarkError(f"of {count} pings {len(times)} were answered: {done.stderr.strip()}")
    return times


def wait_for_answer(host: Namespace, address: str, deadline_s: float) -> None:
    """Until the first of many pings is answered. BenchmarkError after the deadline."""
    pinging = host.popen(["ping", "-n", "-i", FIRST_EVERY_S, address], name="ping")
    try:
        pinging.wait_for_line("time=", deadline_s)
    except LabError:
        raise BenchmarkError(f"no ping to {address} was answered within {deadline_s:g} s") from None
    finally:
        pinging.kill()
