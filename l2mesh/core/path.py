"""One path to a peer: a way for datagrams (`Via`), an address directly or a channel of a relay, and what is known
of it. Which of two is better is a pure function here; the paths to one peer, their checks and their choice, are
paths.py's. The terms are ICE's (RFC 8445).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from l2mesh.core.candidates import Origin, is_private
from l2mesh.core.path_size import PathSize
from l2mesh.core.peer import Via
from l2mesh.wire.address import format_address, ip_version
from l2mesh.wire.outer import DATA_OVERHEAD

RTT_SMOOTHING: Final = 0.125
"""RFC 6298's alpha."""
LOSS_SMOOTHING: Final = 1 / 16
"""Of the last minute under traffic, roughly."""
RTT_HYSTERESIS: Final = 0.75
"""Inside a class another path must have less than this part of the selected one's round-trip time."""

PATIENCE_UNKNOWN_S: Final = 0.5
PATIENCE_MIN_S: Final = 0.1
"""A busy peer may take tens of milliseconds to answer a probe."""
PATIENCE_MAX_S: Final = 2.0
PATIENCE_RTTS: Final = 1.5

OUTSTANDING_MAX: Final = 16
"""Probes per path whose answer is still awaited."""
ANSWER_WITHIN_S: Final = 5.0
"""Then a probe counts as lost: no path with such a round-trip time is of use."""
DEAF_FOR_S: Final = 10.0
"""Whoever forges ICMP errors without end makes us send both ways for one round-trip time of so many seconds."""


class PathClass(IntEnum):
    """Better first."""

    SAME_LAN = 0
    IPV6 = 1
    IPV4 = 2
    MEMBER_RELAY = 3
    """By another member of the network that relays for us."""
    RELAY = 4
    """By a supernode, over UDP."""


class Sent(NamedTuple):
    """A probe without an answer yet. `size`: of the datagram; `counts`: its loss says something of the path."""

    at: float
    size: int
    counts: bool


@dataclass(slots=True, eq=False)
class Path:
    """Instants are in seconds. `valid_at` is that of the last answer; None: it does not work, or nobody knows."""

    via: Via
    origin: Origin
    created_at: float
    path_class: PathClass = PathClass.RELAY
    valid_at: float | None = None
    valid_since: float | None = None
    proven: bool = False
    """A round trip was made on it, whenever."""
    selected_since: float | None = None
    heard_at: float = float("-inf")

    rtt: float | None = None
    last_rtt: float = 0.0
    loss: float = 0.0
    """Part of the probes that had no answer, smoothed; of the time when it was selected."""
    first_probe_at: float | None = None
    probes_sent: int = 0
    answers: int = 0
    last_error: str = ""
    """Why it failed the last time, in words."""

    unanswered: int = 0
    """Probes in a row; of those whose loss says something of the path."""
    asked_at: float = float("-inf")
    """When the first of them was sent."""
    doubted_at: float | None = None
    """Since when it may have failed, so that another one is used beside it."""
    accused: bool = False
    """Somebody who may lie says so."""
    deaf_until: float = float("-inf")
    """An accusation proved wrong: the next ones are not listened to for a while."""
    asked_with: int = 0
    """Size of the datagram of the last probe that counts."""

    checks_from: float | None = None
    held_at: float = float("-inf")
    """When it was last said that its checks are to begin later."""
    checks_done: int = 0
    triggered_at: float = float("-inf")
    next_probe_at: float = float("inf")
    relay_name: str = ""
    """Of the member that relays; a supernode is told by its address."""
    sizing: PathSize = field(init=False)
    outstanding: dict[bytes, Sent] = field(default_factory=dict)
    """By transaction id."""

    def __post_init__(self) -> None:
        if not self.relayed:
            self.path_class = class_of(self.via[0][0])
        self.sizing = PathSize(ip_version(self.via[0][0]))

    @property
    def relayed(self) -> bool:
        return bool(self.via[1])

    @property
    def size(self) -> int:
        """Bytes of UDP payload that one datagram carries."""
        return self.sizing.size

    @property
    def overhead(self) -> int:
        """Bytes of a datagram that are not plaintext."""
        return DATA_OVERHEAD + len(self.via[1])

    @property
    def room(self) -> int:
        """Bytes of plaintext that one datagram with frames is to have."""
        return self.sizing.safe_size - self.overhead

    @property
    def patience(self) -> float:
        """Seconds to wait for an answer before the next question."""
        if self.rtt is None:
            return PATIENCE_UNKNOWN_S
        longest = PATIENCE_RTTS * max(self.rtt, self.last_rtt)
        return min(max(PATIENCE_MIN_S, longest), PATIENCE_MAX_S)

    def is_held(self, now: float) -> bool:
        """Whether its checks wait for the peer, which is to send first."""
        return self.checks_from is not None and self.checks_from > now

    @property
    def only_heard(self) -> bool:
        """Whether nothing but datagrams, from a source that may be forged, says that the peer is there."""
        return self.origin is Origin.PEER_REFLEXIVE and not self.proven

    def describe(self) -> str:
        where = self.relay_name or format_address(self.via[0])
        return f"relay {where}" if self.relayed else f"direct {where}"

    # ---- facts

    def sent(self, transaction: bytes, probe: Sent) -> None:
        """A probe was."""
        self._give_up(probe.at)
        self.outstanding[transaction] = probe
        self.probes_sent += 1
        if self.first_probe_at is None:
            self.first_probe_at = probe.at
        if probe.counts:
            self.asked_with = probe.size
            self.asked_at = self.asked_at if self.unanswered else probe.at
            self.unanswered += 1

    def answered(self, transaction: bytes, now: float) -> bool:
        """A probe was; False when there is none with this id on this path."""
        sent = self.outstanding.pop(transaction, None)
        if sent is None:
            return False
        self.last_rtt = now - sent.at
        self.rtt = self.last_rtt if self.rtt is None else self.rtt + RTT_SMOOTHING * (self.last_rtt - self.rtt)
        self.answers += 1
        if sent.counts:
            self._estimate(lost=False)
        self.works(now)
        self.sizing.answered(sent.size, now)
        return True

    def works(self, now: float) -> None:
        """A round trip was made."""
        if self.valid_at is None:
            self.valid_since = now
            self.sizing.search(now)
        self.valid_at = self.heard_at = now
        self.proven = True
        self.unanswered = 0
        self.doubted_at = None
        self.checks_from = None
        self.last_error = ""
        if self.accused:
            self.accused = False
            self.deaf_until = now + DEAF_FOR_S

    def fails(self, reason: str) -> None:
        """It cannot be used until it answers."""
        self.valid_at = self.valid_since = self.doubted_at = None
        self.accused = False
        self.outstanding.clear()
        self.last_error = reason

    def _give_up(self, now: float) -> None:
        """Probes that have waited too long are lost, and the oldest where there are too many."""
        while self.outstanding:
            transaction, sent = next(iter(self.outstanding.items()))
            if len(self.outstanding) < OUTSTANDING_MAX and now - sent.at < ANSWER_WITHIN_S:
                return
            del self.outstanding[transaction]
            if sent.counts:
                self._estimate(lost=True)

    def _estimate(self, *, lost: bool) -> None:
        if self.selected_since is not None:
            self.loss += LOSS_SMOOTHING * (lost - self.loss)


def class_of(host: str) -> PathClass:
    """Of a direct path to this address."""
    if is_private(host):
        return PathClass.SAME_LAN
    return PathClass.IPV6 if ip_version(host) == 6 else PathClass.IPV4


def better_path(candidate: Path, selected: Path) -> bool:
    """Whether to change from one valid path to another: class first, then where the peer is heard, then clearly
    less round-trip time.
    """
    if candidate.path_class != selected.path_class:
        return candidate.path_class < selected.path_class
    if candidate.doubted_at is not None:
        return False
    if moved_to(candidate, selected):
        return True
    if candidate.rtt is None or selected.rtt is None:
        return False
    return candidate.rtt < selected.rtt * RTT_HYSTERESIS


def moved_to(candidate: Path, selected: Path) -> bool:
    """Whether the peer seems to have gone from one path to another: another port of its NAT, say."""
    doubted_at = selected.doubted_at
    return doubted_at is not None and candidate.heard_at >= doubted_at > selected.heard_at
