"""The highest rate that still works, found by few and noisy trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum, auto

TRIALS_MAX = 16
"""Noise that keeps changing its mind ends here."""


class Verdict(Enum):
    """Of one trial."""

    GOOD = auto()
    BAD = auto()
    TOP = auto()
    """Good, and nobody can offer more."""


class Bracket:
    """What is known: the best good rate, and the bad ones above it, the lowest last."""

    def __init__(self) -> None:
        self.good: float | None = None
        self.bad: list[float] = []
        self.failed_twice = False

    def learn(self, rate: float, *, good: bool) -> None:
        if good:
            self.good = rate if self.good is None else max(rate, self.good)
            while self.bad and self.bad[-1] <= self.good:
                self.bad.pop()
        elif self.bad and rate == self.bad[-1]:
            self.failed_twice = True
        else:
            self.bad.append(rate)

    def next_rate(self, factor: float, precision: float) -> float:
        """Up until one is bad, down until one is good, between them; at last the lowest bad one again."""
        if not self.bad:
            assert self.good is not None
            return self.good * factor
        if self.good is None:
            return self.bad[-1] / factor
        if self.bad[-1] / self.good > precision:
            return math.sqrt(self.bad[-1] * self.good)
        return self.bad[-1]


def highest_good(
    trial: Callable[[float], Verdict],
    *,
    guess: float,
    factor: float,
    precision: float,
    lowest: float,
    highest: float,
) -> float | None:
    """The highest rate found good, None if even `lowest` is bad.

    A bad trial next to the result is repeated: one hiccup of the machine must not decide. `factor`: how far
    each step goes while nothing bounds it; `precision`: the ratio of the lowest bad and highest good rate to
    stop at.
    """
    bracket = Bracket()
    rate = guess
    for _ in range(TRIALS_MAX):
        verdict = trial(rate)
        bracket.learn(rate, good=verdict is not Verdict.BAD)
        if verdict is Verdict.TOP or bracket.failed_twice:
            break
        if bracket.good is None and rate <= lowest:
            return None
        if bracket.good is not None and bracket.good >= highest:
            break
        rate = min(highest, max(lowest, bracket.next_rate(factor, precision)))
    return bracket.good
