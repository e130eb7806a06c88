"""Frames went out to a peer: did anything come in? And when did the last ones go out?

The timer is looked at rarely: it runs from the first frames after it was looked at, and what is heard only writes
down when. So a busy peer costs a look every quarter of a second.
"""

from __future__ import annotations

from typing import Final

SILENCE_S: Final = 0.25
"""Without an answer for so long, or longer where the round-trip time is. With the two probes that follow, frames
go both ways before TCP's second retransmission, at about 0.65 s."""
DELAYED_S: Final = 0.05
"""TCP's acknowledgements are delayed by 40 ms."""

NEVER: Final = float("inf")


class Silence:
    """Doors: sent, heard (by writing `heard_at`); is_suspicious, next_at."""

    __slots__ = ("heard_at", "next_at", "sent_at", "waiting_from")

    def __init__(self) -> None:
        self.sent_at = float("-inf")
        """The last frames, answer expected or not."""
        self.heard_at = 0.0
        self.waiting_from = float("-inf")
        """When the first frames were sent since anything was heard."""
        self.next_at = NEVER

    def sent(self, now: float) -> bool:
        """Frames that expect an answer; True when `next_at` is set by it. Hot."""
        if self.waiting_from < self.heard_at:
            self.waiting_from = now
        if self.next_at != NEVER:
            return False
        self.next_at = now + SILENCE_S
        return True

    def is_suspicious(self, patience: float, now: float) -> bool:
        """Whether an answer is overdue; to be asked at `next_at`. `patience`: how long one may take, seconds."""
        if now < self.next_at:
            return False
        self.next_at = NEVER
        if self.heard_at > self.waiting_from:
            return False
        at = self.waiting_from + max(SILENCE_S, patience + DELAYED_S)
        if now >= at:
            return True
        self.next_at = at
        return False
