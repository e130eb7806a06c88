"""The pace of sprays: not more than so many datagrams in any second, evenly."""

from __future__ import annotations

from collections import deque
from typing import Final

TICK_S: Final = 0.05
"""Between two bursts, so that a burst is 10 packets of 200 a second: no router's queue is filled by that."""
LATE_MAX: Final = 4.0
"""Ticks that are made up for when a timer came late."""


class Pace:
    """Doors: take, next_at."""

    def __init__(self, per_second: int) -> None:
        self._burst = per_second * TICK_S
        self._sent_at: deque[float] = deque(maxlen=per_second)
        self._tick_at = float("-inf")

    def take(self, wanted: int, now: float) -> int:
        """How many of them may be sent now; the others at `next_at`, or later."""
        if now < self._tick_at:
            return 0
        late = (now - self._tick_at) / TICK_S
        burst = int(self._burst * (1 + late if late < LATE_MAX else 1))
        free = (self._sent_at.maxlen or 0) - sum(1 for at in self._sent_at if now - at < 1.0)
        granted = min(wanted, burst, free)
        self._sent_at.extend([now] * granted)
        if granted:
            self._tick_at = now + TICK_S
        return granted

    def next_at(self, now: float) -> float:
        """When to ask again."""
        return max(self._tick_at, now + TICK_S / 10)
