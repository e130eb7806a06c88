"""Paths to one peer: candidates, connectivity checks, choice and care.

A path is a way for datagrams (`Via`): an address directly, or a relay channel of a supernode. Checks run inside
the session, so a path is valid only after a round trip that nobody but the peer can answer, and the frames go by
relay until one is. The terms are ICE's (RFC 8445); the numbers are connectivity.md's, each with its reason here.

    checking    probes at 0, 50, 150, 350, 750, 1550 ms, then each second to 6.55 s. Both ends do so at
                once, so each end's probes open its NAT for the other's.
    valid       a probe was answered on this very path
    selected    the best valid path. It is probed every 3 s under traffic, every 17 s when idle: inside the 30 s
                after which Linux forgets a UDP flow that was one-way
    doubted     a probe on the selected path has no answer: again each second
    failed      nothing heard for 3.5 s since the first of at least four probes without an answer, so 6.5 s after
                the last answer under traffic: the next best path is selected, and all are checked again

While relayed, all candidates are tried again after 30 s, 1, 2, 4, 8, then every 10 minutes.

The size of datagrams is found by padded probes (RFC 8899): a path begins with what every IPv6 path carries and
goes up to the first size of a short table that is answered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from l2mesh.core.candidates import Origin, is_private
from l2mesh.core.peer import Via
from l2mesh.wire.address import Address, format_address, ip_version
from l2mesh.wire.outer import DATA_OVERHEAD
from l2mesh.wire.probe import PROBE_SIZE_MIN

CHECK_AT_S: Final = (0.0, 0.05, 0.15, 0.35, 0.75, 1.55, 2.55, 3.55, 4.55, 5.55, 6.55)
PROBE_ACTIVE_S: Final = 3.0
PROBE_IDLE_S: Final = 17.0
PROBE_DOUBT_S: Final = 1.0
ACTIVE_FOR_S: Final = 5.0
FAIL_AFTER_S: Final = 3.5
"""In doubt for so long: 6.5 s after the last answer under traffic."""
FAIL_AFTER_PROBES: Final = 4
"""With a fifth of all datagrams lost, four probes go unanswered one time in sixty, and nothing is heard meanwhile
far more rarely."""
RECHECK_AFTER_S: Final = (30.0, 60.0, 120.0, 240.0, 480.0, 600.0)
FRESH_S: Final = 30.0
"""A valid path that is not selected is not probed, and its NAT mappings may be gone after this."""

PATHS_MAX: Final = 40
OUTSTANDING_MAX: Final = 16
"""Probes per path whose answer is still awaited."""

BASE_SIZE: Final = 1232
"""UDP payload every IPv6 path carries (1280 - 40 - 8), and practically every IPv4 one."""
SIZES: Final = {4: (1472, 1452, 1432, 1392, 1352, 1312, 1272), 6: (1452, 1432, 1412, 1372, 1332, 1292, 1252)}
"""UDP payloads to try by IP version: Ethernet, PPPoE, tunnels over them, then in steps of 40."""
SIZE_TRIES: Final = 3
SIZE_TRY_AFTER_S: Final = 0.3

RTT_SMOOTHING: Final = 0.125
"""RFC 6298's alpha."""
RTT_HYSTERESIS: Final = 0.75
"""Inside a class another path must have less than this part of the selected one's round-trip time."""


class PathClass(IntEnum):
    """Better first."""

    SAME_LAN = 0
    IPV6 = 1
    IPV4 = 2
    RELAY = 3


@dataclass(slots=True, eq=False)
class Path:
    via: Via
    origin: Origin
    created_at: float
    valid_at: float | None = None
    heard_at: float = float("-inf")
    rtt: float | None = None
    unanswered: int = 0
    asked_at: float = float("-inf")
    """When the first of the unanswered probes was sent."""
    checks_from: float | None = None
    checks_done: int = 0
    next_probe_at: float = float("inf")
    size: int = BASE_SIZE
    size_index: int = 0
    size_tries: int = 0
    probes_sent: int = 0
    outstanding: dict[bytes, tuple[float, int]] = field(default_factory=dict)
    """Transaction id -> (sent at, datagram size)."""
    path_class: PathClass = field(init=False)

    def __post_init__(self) -> None:
        self.path_class = class_of(self.via)

    @property
    def relayed(self) -> bool:
        return bool(self.via[1])

    @property
    def room(self) -> int:
        """Bytes of plaintext in one datagram."""
        return self.size - DATA_OVERHEAD - len(self.via[1])

    def describe(self) -> str:
        return f"relay {format_address(self.via[0])}" if self.relayed else f"direct {format_address(self.via[0])}"


def class_of(via: Via) -> PathClass:
    host = via[0][0]
    if via[1]:
        return PathClass.RELAY
    if is_private(host):
        return PathClass.SAME_LAN
    return PathClass.IPV6 if ip_version(host) == 6 else PathClass.IPV4


def better_path(candidate: Path, selected: Path) -> bool:
    """Whether to change from one valid path to another: class first, then clearly less round-trip time."""
    if candidate.path_class != selected.path_class:
        return candidate.path_class < selected.path_class
    if candidate.rtt is None or selected.rtt is None:
        return False
    return candidate.rtt < selected.rtt * RTT_HYSTERESIS


class Paths:
    """All paths to one peer. Told facts; asked which is selected, what to probe, and when next.

    Doors: add_direct, add_relay, remove, check_all, suspect; probed, replied, heard, active; due, next_at.
    """

    def __init__(self) -> None:
        self.by_via: dict[Via, Path] = {}
        self.selected: Path | None = None
        self._active_at = float("-inf")
        self._recheck_at = float("inf")
        self._rechecks = 0

    # ---- candidates

    def add_direct(self, address: Address, origin: Origin, now: float) -> Path | None:
        return self._add((address, b""), origin, now)

    def add_relay(self, via: Via, now: float) -> Path | None:
        return self._add(via, Origin.CONFIGURED, now)

    def _add(self, via: Via, origin: Origin, now: float) -> Path | None:
        path = self.by_via.get(via)
        if path is None and self._make_room():
            path = self.by_via[via] = Path(via, origin, now)
        return path

    def _make_room(self) -> bool:
        """When the table is full the oldest path that never worked goes."""
        if len(self.by_via) < PATHS_MAX:
            return True
        useless = [path for path in self.by_via.values() if path.valid_at is None and not path.relayed]
        if not useless:
            return False
        del self.by_via[min(useless, key=lambda path: path.created_at).via]
        return True

    def remove(self, via: Via) -> None:
        path = self.by_via.pop(via, None)
        if path is not None and path is self.selected:
            self.selected = None

    # ---- facts

    def check(self, path: Path, now: float) -> None:
        """Begin the checks of one path, unless they are under way."""
        if path.checks_from is None:
            path.checks_from, path.checks_done = now, 0
            path.next_probe_at = now

    def check_all(self, now: float) -> None:
        """Begin checks on every path: a call came, or something changed."""
        for path in self.by_via.values():
            path.checks_from = None
            self.check(path, now)
        self._plan_recheck(now)

    def suspect(self, now: float) -> None:
        """Addresses changed, here or there, or time was lost: no direct path is valid until it answers again."""
        for path in self.by_via.values():
            if not path.relayed:
                path.valid_at = None
                path.outstanding.clear()
        if self.selected and not self.selected.relayed:
            self.selected = None
        self._rechecks = 0
        self.check_all(now)

    def active(self, now: float) -> bool:
        """Frames were sent to the peer; True when a probe is due earlier for it. Hot."""
        rested = now - self._active_at > ACTIVE_FOR_S
        self._active_at = now
        if not rested or self.selected is None or self.selected.next_probe_at <= now + PROBE_DOUBT_S:
            return False
        self.selected.next_probe_at = now + PROBE_DOUBT_S
        return True

    def fail(self, via: Via, now: float) -> None:
        """This way is known to be gone: no need to find it out by probes."""
        path = self.by_via.get(via)
        if path is None:
            return
        path.valid_at = None
        path.outstanding.clear()
        if path is self.selected:
            self.selected = None
            self.check_all(now)

    def heard(self, via: Via, now: float) -> bool:
        """A genuine datagram of the peer came on this way; False when it is no known path."""
        path = self.by_via.get(via)
        if path is None:
            return False
        path.heard_at = now
        return True

    def probed(self, path: Path, transaction: bytes, size: int, now: float) -> None:
        """A probe of a `size` byte datagram was sent."""
        if len(path.outstanding) >= OUTSTANDING_MAX:
            del path.outstanding[next(iter(path.outstanding))]
        path.outstanding[transaction] = (now, size)
        path.probes_sent += 1
        if size > path.size:  # that it is lost says nothing of the path, only of its size
            path.size_tries += 1
        else:
            path.asked_at = path.asked_at if path.unanswered else now
            path.unanswered += 1
        self._plan(path, now)

    def replied(self, via: Via, transaction: bytes, now: float) -> bool:
        """A probe reply came; False when it answers nothing that was sent on this path."""
        path = self.by_via.get(via)
        sent = path.outstanding.pop(transaction, None) if path else None
        if path is None or sent is None:
            return False
        sent_at, size = sent
        rtt = now - sent_at
        path.rtt = rtt if path.rtt is None else path.rtt + RTT_SMOOTHING * (rtt - path.rtt)
        path.valid_at = path.heard_at = now
        path.unanswered = 0
        path.checks_from = None
        if size > path.size:
            path.size = size
            path.size_index = len(self._sizes(path))
        self._plan(path, now)
        return True

    # ---- choice

    def choose(self, now: float) -> bool:
        """Select the best valid path; True when the selection changed."""
        before = self.selected
        if before is not None and self._has_failed(before, now):
            before.valid_at = None
            self.selected = None
            self._rechecks = 0
            self.check_all(now)
        for path in self.by_via.values():
            if self._is_usable(path, now) and (self.selected is None or better_path(path, self.selected)):
                self.selected = path
        if self.selected is not before:
            if self.selected is not None:
                self.selected.unanswered = 0  # what it did not answer while nobody relied on it does not count
                self._plan(self.selected, now)
            self._plan_recheck(now)
        return self.selected is not before

    def _is_usable(self, path: Path, now: float) -> bool:
        if path.valid_at is None:
            return False
        return path.relayed or path is self.selected or now - path.valid_at < FRESH_S

    def _has_failed(self, path: Path, now: float) -> bool:
        silent_since = max(path.asked_at, path.heard_at)
        return path.unanswered >= FAIL_AFTER_PROBES and now - silent_since >= FAIL_AFTER_S

    # ---- timers

    def due(self, now: float) -> list[tuple[Path, int]]:
        """(path, plaintext size) of the probes to send now."""
        if now >= self._recheck_at:
            self._rechecks += 1
            self.check_all(now)
        return [(path, self._probe_size(path)) for path in self.by_via.values() if path.next_probe_at <= now]

    def next_at(self) -> float:
        """When `due`, or `choose` for a failing path, has something to do."""
        earliest = min((path.next_probe_at for path in self.by_via.values()), default=float("inf"))
        return min(earliest, self._recheck_at)

    def _plan(self, path: Path, now: float) -> None:
        """When to probe this path next."""
        if path.checks_from is not None:
            path.checks_done += 1
            if path.checks_done < len(CHECK_AT_S):
                path.next_probe_at = path.checks_from + CHECK_AT_S[path.checks_done]
                return
            path.checks_from = None
            path.unanswered = 0 if path is not self.selected else path.unanswered
        if path.valid_at is not None and self._wants_larger(path):
            path.next_probe_at = now + (SIZE_TRY_AFTER_S if path.size_tries else 0.0)
        elif path is not self.selected:
            path.next_probe_at = float("inf")
        elif path.unanswered:
            path.next_probe_at = now + PROBE_DOUBT_S
        elif now - self._active_at < ACTIVE_FOR_S:
            path.next_probe_at = now + PROBE_ACTIVE_S
        else:
            path.next_probe_at = now + PROBE_IDLE_S

    def _plan_recheck(self, now: float) -> None:
        if self.selected is not None and not self.selected.relayed:
            self._recheck_at = float("inf")
            self._rechecks = 0
        else:
            self._recheck_at = now + RECHECK_AFTER_S[min(self._rechecks, len(RECHECK_AFTER_S) - 1)]

    # ---- size

    def _sizes(self, path: Path) -> tuple[int, ...]:
        return SIZES[ip_version(path.via[0][0])]

    def _wants_larger(self, path: Path) -> bool:
        if path.size_tries >= SIZE_TRIES:
            path.size_index += 1
            path.size_tries = 0
        return path.size_index < len(self._sizes(path))

    def _probe_size(self, path: Path) -> int:
        overhead = DATA_OVERHEAD + len(path.via[1])
        if path.valid_at is not None and path.checks_from is None and self._wants_larger(path):
            return self._sizes(path)[path.size_index] - overhead
        return PROBE_SIZE_MIN
