"""Virtual time: a heap of what is to happen, and a `now` that jumps from one to the next."""

from __future__ import annotations

import heapq
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

START = 1000.0
"""First instant, seconds. Not 0: a monotonic clock is never near it, and 0 hides `if deadline:` mistakes."""


class Clock:
    """Runs callbacks in order of (instant, order of the request), so that a run can be repeated exactly."""

    def __init__(self) -> None:
        self.now = START
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._sequence = 0

    def call_at(self, at: float, act: Callable[[], object]) -> None:
        """Call `act()` at the instant `at`, seconds. There is no cancelling: `act` looks whether it is due.

        Raises ValueError if `at` has passed.
        """
        if not at >= self.now:
            raise ValueError(f"{at} is before now, {self.now}")
        self._sequence += 1
        heapq.heappush(self._heap, (at, self._sequence, act))

    def run_until(self, deadline: float) -> None:
        """Let all happen that is due up to and including `deadline`; then it is `deadline`."""
        heap = self._heap
        while heap and heap[0][0] <= deadline:
            self.now, _, act = heapq.heappop(heap)
            act()
        self.now = max(self.now, deadline)

    def run_while(self, predicate: Callable[[], bool], deadline: float = inf) -> bool:
        """Let things happen, one by one, as long as `predicate()` holds, and no longer than `deadline`.

        Returns whether the predicate ceased to hold; `now` is the instant at which it did. Otherwise `now` is
        the deadline (or that of the last callback, if there is no deadline).
        """
        heap = self._heap
        while predicate():
            if not heap or heap[0][0] > deadline:
                if deadline < inf:
                    self.now = max(self.now, deadline)
                return False
            self.now, _, act = heapq.heappop(heap)
            act()
        return True
