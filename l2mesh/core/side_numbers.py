"""Numbers for side sockets (wire.address.SideAddress): who wants some takes them, and gives them back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

NUMBERS: Final = 240
"""Of the 256 side sockets that an edge may have; the others, numbered from 1000 on, ask STUN servers."""
REST_S: Final = 1.0
"""A number that came back rests: its socket is to be closed first, and what was sent to it to be gone."""


class SideNumbers:
    """Doors: take, give_back; ready_at."""

    def __init__(self) -> None:
        self._free: deque[tuple[int, float]] = deque((number, float("-inf")) for number in range(1, NUMBERS + 1))

    def take(self, count: int, now: float) -> list[int]:
        """So many numbers, or as many as there are."""
        taken: list[int] = []
        while len(taken) < count and self._free and now - self._free[0][1] >= REST_S:
            taken.append(self._free.popleft()[0])
        return taken

    def ready_at(self, count: int) -> float:
        """When so many, or all that are not lent, have rested."""
        waiting = list(self._free)[:count]
        return max((since + REST_S for _, since in waiting), default=float("-inf"))

    def give_back(self, numbers: Iterable[int], now: float) -> None:
        self._free.extend((number, now) for number in numbers)
