"""Which of many things is due next: a heap with lazy deletion.

Instants may be set as often as one likes; setting a later instant than the one known costs nothing until the
earlier one comes up, and then the owner is asked again. So a hot path may simply write down facts
("data sent at"), and the owner works out at its next turn what is really due.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heappop, heappush
from typing import Final, Generic, TypeVar

NEVER: Final = float("inf")

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Instants (seconds) by owner; each owner has at most one that counts, its earliest.

    `first_at` is the earliest of all, NEVER when there is none.
    """

    __slots__ = ("_at", "_heap", "_sequence", "first_at")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._at: dict[T, float] = {}
        self._sequence = 0
        self.first_at = NEVER

    def wake(self, owner: T, at: float | None) -> None:
        """Let `owner` come up at `at`, or earlier where that is set already."""
        if at is None or at >= self._at.get(owner, NEVER):
            return
        if at < self.first_at:
            self.first_at = at
        self._at[owner] = at
        self._sequence += 1
        heappush(self._heap, (at, self._sequence, owner))

    def discard(self, owner: T) -> None:
        if self._at.pop(owner, NEVER) == self.first_at:
            self._find_first()

    def _find_first(self) -> None:
        heap, at = self._heap, self._at
        while heap and at.get(heap[0][2]) != heap[0][0]:
            heappop(heap)
        self.first_at = heap[0][0] if heap else NEVER

    def pop_due(self, now: float) -> list[T]:
        """Owners whose instant has come, each once; they are to set their next one."""
        due = []
        while self.first_at <= now:
            owner = heappop(self._heap)[2]
            del self._at[owner]
            due.append(owner)
            self._find_first()
        return due
