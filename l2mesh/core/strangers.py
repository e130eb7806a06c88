"""How much goes to hosts where nobody that we know has answered yet: to one of them, whatever the reason.

Candidates are hints: of a supernode that may lie, of a member that may err. A host that has nothing to do with us
is to feel little of it, though a directory names it as the place of a thousand peers. So all that goes to a host
unproven, initiations, openers, probes and the sprays of an attempt by class, counts together; where a direct path
is in use nothing is counted.

    in any second     PER_SECOND datagrams; of sprays somewhat less, lest nothing be left to check what they found
    in all            BURST, and a few a second; of sprays SPRAYS_BURST, and one attempt's in ten minutes: whoever
                      tells us ever other addresses, ours or a peer's, gives cause for attempts without end

What exceeds it is not sent, as if it were lost on the way.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from l2mesh.core.attempt_plan import PACKETS_MAX, PACKETS_PER_SECOND
from l2mesh.core.token_bucket import TokenBucket

PER_SECOND: Final = PACKETS_PER_SECOND
NOT_FOR_SPRAYS: Final = 16
"""Of these: the first second of checks of three ways that a spray found."""
BURST: Final = 1024.0
"""A round of checks is a dozen datagrams for each candidate: eighty peers behind one address from which none has
answered."""
REFILL_PER_SECOND: Final = 4.0
SPRAYS_BURST: Final = 4.0 * PACKETS_MAX
"""Four attempts on two blocks, or on three peers behind one NAT. The first that is found ends the counting."""
SPRAYS_REFILL_PER_SECOND: Final = PACKETS_MAX / 600.0
INITIATION_COST: Final = 4.0
"""It is ten times as large as a probe, but rare."""
SLOTS: Final = 21
"""Of 50 ms, one more than a second has: the oldest may be cut by its beginning."""
SLOTS_PER_SECOND: Final = 20
HOSTS_MAX: Final = 4096
"""Then those that were not sent to for a second are forgotten, the oldest first: it takes as many others before a
host can be aimed at anew."""


class _Host:
    """What was sent to one host."""

    __slots__ = ("others", "slot", "slots", "sprays")

    def __init__(self, now: float) -> None:
        self.sprays = TokenBucket(SPRAYS_REFILL_PER_SECOND, SPRAYS_BURST, now)
        self.others = TokenBucket(REFILL_PER_SECOND, BURST, now)
        self.slots = [0] * SLOTS
        self.slot = int(now * SLOTS_PER_SECOND)

    def is_free(self, now: float, kept: int) -> bool:
        """Whether one more may be sent in this second, and `kept` others after it."""
        slot = int(now * SLOTS_PER_SECOND)
        for passed in range(self.slot + 1, min(slot, self.slot + SLOTS) + 1):
            self.slots[passed % SLOTS] = 0
        self.slot = slot
        return sum(self.slots) + kept < PER_SECOND

    def count(self) -> None:
        self.slots[self.slot % SLOTS] += 1


class Strangers:
    """Doors: found, lost; may_send."""

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}
        self._known: Counter[str] = Counter()

    def found(self, host: str) -> None:
        """A peer has a direct path to it."""
        self._known[host] += 1
        self._hosts.pop(host, None)

    def lost(self, host: str) -> None:
        """It has not any more."""
        self._known[host] -= 1
        if self._known[host] <= 0:
            del self._known[host]

    def may_send(self, host: str, now: float, *, cost: float = 1.0, spray: bool = False) -> bool:
        """Whether one datagram may be sent there now; it counts then. `spray`: of an attempt by class."""
        if host in self._known:
            return True
        record = self._hosts.get(host) or self._make(host, now)
        if record is None or not record.is_free(now, NOT_FOR_SPRAYS if spray else 0):
            return False
        if not (record.sprays if spray else record.others).take(cost, now):
            return False
        record.count()
        return True

    def _make(self, host: str, now: float) -> _Host | None:
        if len(self._hosts) >= HOSTS_MAX:
            before = int(now * SLOTS_PER_SECOND) - SLOTS
            old = next((name for name, record in self._hosts.items() if record.slot < before), None)
            if old is None:
                return None
            del self._hosts[old]
        record = self._hosts[host] = _Host(now)
        return record
