"""A token bucket: the limit on everything that a stranger or a member can make happen often."""

from __future__ import annotations


class TokenBucket:
    """`rate` tokens a second, at most `burst` saved up."""

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._level = burst
        self._at = now

    def take(self, amount: float, now: float) -> bool:
        """Take `amount` tokens; False, and nothing taken, when there are not as many."""
        level = min(self.burst, self._level + (now - self._at) * self.rate)
        self._at = now
        if level < amount:
            self._level = level
            return False
        self._level = level - amount
        return True
