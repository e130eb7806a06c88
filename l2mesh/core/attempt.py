"""What an edge remembers of its attempts to reach one peer directly."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final

from l2mesh.core.token_bucket import TokenBucket
from l2mesh.wire.control import UNKNOWN_NAT, NatReport

if TYPE_CHECKING:
    from l2mesh.core.attempt_plan import Kind, Plan
    from l2mesh.core.peer import Via
    from l2mesh.core.remote_edge import RemoteEdge
    from l2mesh.core.supernode_link import SupernodeLink
    from l2mesh.wire.address import Address

KEPT: Final = 8
"""Attempts that are remembered, for `l2mesh why`."""
ROUNDS_PER_SECOND: Final = 1.0
ROUNDS_BURST: Final = 5.0
"""Rounds of checks that one peer's calls, or what happens here, may begin."""


ONE_WAY_UNKNOWN_S: Final = 0.1
ONE_WAY_MAX_S: Final = 0.5
OPENS_WITHIN_S: Final = 0.05
"""From a call to the openers that it makes a peer send: it may be busy."""


class Result(StrEnum):
    UNDER_WAY = "under way"
    DIRECT = "direct"
    NO_ANSWER = "no answer"
    NOT_TAKEN_UP = "the peer did not take part"
    STOPPED = "stopped"


@dataclass(slots=True)
class Attempt:
    """One attempt. Of plain checks `probes` counts those of all candidates."""

    kind: Kind
    round: int
    begun_at: float
    openers: int = 0
    probes: int = 0
    side_sockets: int = 0
    result: Result = Result.UNDER_WAY
    ended_at: float | None = None

    def end(self, result: Result, now: float) -> None:
        if self.ended_at is None:
            self.result, self.ended_at = result, now


class Step(Enum):
    """Of an attempt by class."""

    IDLE = "idle"
    QUEUED = "another peer's turn"
    SAMPLING = "asking which port our NAT took last"
    CALLING = "waiting for the peer to take part"
    RUNNING = "under way"


@dataclass(slots=True)
class Running:
    """An attempt by class that is under way."""

    plan: Plan
    target: Address
    """Where a supernode sees the peer."""
    numbers: list[int]
    """Of our side sockets."""
    ports: list[int]
    """Of the peer's NAT, to be tried in this order, again and again."""
    began_at: float
    probes_wait_s: float
    """Probes, not openers, go so much later: the peer's openers are to leave before."""
    spray: int = 0
    sent: int = 0
    """Of that spray."""
    scattered: int = 0
    """Sent to ports in no order, by the attempts before it too, if it continues them."""
    checked: set[Via] = field(default_factory=set)

    @property
    def all_sent(self) -> bool:
        return self.spray >= len(self.plan.sprays)


class Punch:
    """All that concerns punching and one peer."""

    def __init__(self, now: float) -> None:
        self.nat: NatReport = UNKNOWN_NAT
        """What the peer, or a directory, says of its NAT."""
        self.observed: dict[SupernodeLink, Address] = {}
        """Where each supernode itself sees it."""
        self.round = 0
        """Even: plain checks. Odd: the attempt by class that follows them. 0 whenever something changed."""
        self.begun_at = float("-inf")
        """When the plain checks began."""
        self.begin_at: float | None = None
        """When a round is to begin because something changed."""
        self.attempt_at = float("inf")
        """From when on an attempt by class makes sense."""
        self.opened: dict[Address, float] = {}
        """When an opener was sent to an address."""
        self.rounds = TokenBucket(ROUNDS_PER_SECOND, ROUNDS_BURST, now)
        self.was_direct = False

        self.step = Step.IDLE
        self.until = float("inf")
        """When the step ends that waits."""
        self.call_at = float("inf")
        """When the call is repeated."""
        self.called_at = float("-inf")
        self.heard_round = -1
        self.heard_at = float("-inf")
        """The peer's last call for an attempt by class."""
        self.running: Running | None = None
        self.before: Running | None = None
        """The attempt that ended, as long as what it opened is of use to the next one."""
        self.useful_until = float("-inf")
        self.record: Attempt | None = None
        """Of the attempt by class that is called for, or under way."""
        self.numbers: list[int] = []
        """Of side sockets that are this peer's."""
        self.tries: dict[Kind, int] = {}
        """Attempts by class since something changed."""
        self.has_met = False
        """There was a direct path."""
        self.renewals = 0
        self.renewed_at = float("-inf")
        """Since there was one: how often, and when, it got one more attempt by class than it had."""
        self.forgiven_at = float("-inf")
        """When something that the peer says of itself last changed."""
        self.attempts: deque[Attempt] = deque(maxlen=KEPT)
        self.plain: Attempt | None = None
        self.probes_before = 0
        """Of all paths, when the plain checks began."""


def peers_turn_s(edge: RemoteEdge) -> float:
    """Seconds from a call of ours until the peer's openers are on their way."""
    rtts = [path.rtt for path in edge.paths.by_via.values() if path.relayed and path.rtt is not None]
    rtt = min(rtts, default=edge.handshake_rtt)
    one_way = ONE_WAY_UNKNOWN_S if rtt is None else rtt / 2
    return min(one_way, ONE_WAY_MAX_S) + OPENS_WITHIN_S
