"""One pair: a lab with both sites, real edges, and what they do from the moment when both are ready."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from l2mesh.lab import Host, Lab, Site, wait_until
from traversal.daemons import Document, Edge, Programs, wait_ready
from traversal.expected import FIRST_FRAME_S, OUTAGE_S, Pair, Technique, expected_of, misjudged
from traversal.frames import Direction, Stream
from traversal.kinds import FIXED_PORT, Kind, Place
from traversal.packets import Counters

PREFIX: Final = "l2x"
TICK_S: Final = 0.002
POLL_FIRST_S: Final = 0.02
POLL_SHARE: Final = 0.03
"""Of the time that has passed: asking costs the edges what they are measured by."""
PATIENCE_S: Final = 12.0
"""How long a pair is watched that need not become direct: somewhat longer than the longest technique's limit."""
LATE_S: Final = 8.0
"""How much longer than its limit a pair is waited for, to tell late from never."""
SETTLE_S: Final = 1.2
"""Watched on from the moment when both are direct."""
SESSION_S: Final = 15.0
REGISTERED_S: Final = 10.0


@dataclass
class Side:
    """What one edge made of it. `…_s` count from the session, when both had it."""

    path: str | None = None
    endpoint: str | None = None
    session_s: float | None = None
    """From when both were ready."""
    direct_s: float | None = None
    first_path: str | None = None
    first_frame_s: float | None = None
    """From the session (never negative) to the first frame of the other that came out of the TAP."""
    frames_sent: int = 0
    """By the other, since its first one arrived."""
    frames_lost: int = 0
    frames_repeated: int = 0
    outage_s: float = 0.0
    openers: int = 0
    datagrams: int = 0
    """Sent to the other's site until both were direct, or to the end: probes and the like (and what they cost)."""
    nat: Document | None = None
    """What it found out of the NAT before it (IPv4), as /v1/status has it."""
    misjudged: list[str] = field(default_factory=list)
    """What of that is wrong. Told, and no shortfall: what a pair owes is to meet."""
    attempts: list[Document] = field(default_factory=list)
    """What it did, as /v1/why has it."""
    rtt_ms: float | None = None


@dataclass
class Result:
    """`direct_s`: from the session until both were direct, and stayed so."""

    pair: str
    run: int
    a: Side = field(default_factory=Side)
    b: Side = field(default_factory=Side)
    technique: str = Technique.NONE.name
    direct_s: float | None = None
    session_s: float | None = None
    first_frame_s: float | None = None
    took_s: float = 0.0
    failure: str = ""
    """Why it could not be measured."""

    @property
    def path(self) -> str:
        if self.failure or self.first_frame_s is None:
            return "nothing"
        return "direct" if self.direct_s is not None else "relay"

    def shortfalls(self) -> list[str]:
        """What it owes; that it is not direct where chance decides is for `report` to count."""
        technique = Technique[self.technique]
        found = []
        if self.failure:
            return [self.failure]
        if self.first_frame_s is None or self.first_frame_s > FIRST_FRAME_S:
            found.append(f"first frame after {seconds(self.first_frame_s)}")
        outage = max(self.a.outage_s, self.b.outage_s)
        if outage > OUTAGE_S:
            found.append(f"frames lost for {outage:.2f} s")
        if not technique.by_chance and not self.in_time:
            found.append(f"direct after {seconds(self.direct_s)}")
        return found

    @property
    def attempt(self) -> str:
        """What was tried last, beside plain checks."""
        kinds = [one["kind"] for side in (self.a, self.b) for one in side.attempts if one["kind"] != "plain"]
        return kinds[-1] if kinds else ""

    @property
    def in_time(self) -> bool:
        technique = Technique[self.technique]
        return not technique.direct or (self.direct_s is not None and self.direct_s <= technique.within_s)


def seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"


def measure(pair: Pair, run: int = 1, patience_s: float | None = None, keep_logs: Path | None = None) -> Result:
    """In a lab of its own: nothing of another pair is left in any router."""
    begun_at = time.monotonic()
    technique = expected_of(pair)
    result = Result(pair.name, run, technique=technique.name)
    with tempfile.TemporaryDirectory(prefix="l2mesh-matrix-") as name, ExitStack() as stack:
        directory = Path(name)
        directory.chmod(0o755)
        logs = directory
        if keep_logs:
            logs = keep_logs / f"{pair.name.replace(':', '-')}-{run}"
            logs.mkdir(parents=True, exist_ok=True)
        lab = stack.enter_context(Lab(prefix=PREFIX, directory=logs))
        watch = stack.enter_context(started(lab, directory, pair))
        limit_s = technique.within_s + LATE_S if technique.direct else PATIENCE_S
        watch.run(limit_s if patience_s is None else patience_s)
        watch.fill(result)
    for kind, side in ((pair.a, result.a), (pair.b, result.b)):
        if isinstance(kind, Kind) and side.nat is not None:
            side.misjudged = misjudged(kind, side.nat)
    result.took_s = round(time.monotonic() - begun_at, 3)
    return result


@contextmanager
def started(lab: Lab, directory: Path, pair: Pair) -> Iterator[Watch]:
    """Both edges are ready."""
    programs = Programs(lab, directory)
    supernode = programs.supernode()
    sites, hosts = build(lab, pair, supernode.host)
    ports = (pair.a.port, (pair.b or pair.a).port)
    edges = [programs.edge(host, i + 1, port=ports[i]) for i, host in enumerate(hosts)]
    neighbours = [
        programs.edge(site.hosts[1], 9, port=FIXED_PORT, foreign=True)
        for site, kind in zip(sites, (pair.a, pair.b), strict=True)
        if isinstance(kind, Kind) and kind.neighbour
    ]
    supernode.launch()
    wait_ready(supernode)
    for neighbour in neighbours:
        start_and_register(neighbour)
    counters = [
        Counters(hosts[i], [hosts[1 - i].address4, *dict.fromkeys(sites[1 - i].router.prefixes)]) for i in (0, 1)
    ]
    for edge in edges:
        edge.launch()
    wait_ready(*edges)
    watch = Watch(edges, counters)
    try:
        yield watch
    finally:
        watch.close()


def build(lab: Lab, pair: Pair, supernode: Host) -> tuple[tuple[Site, Site], list[Host]]:
    if isinstance(pair.a, Place):
        alice, bob, hosts = pair.a.build(lab)
        return (alice, bob), hosts
    assert pair.b is not None, "a kind has another at its side"
    alice, bob = pair.a.build(lab, "alice", supernode), pair.b.build(lab, "bob", supernode)
    return (alice, bob), [alice.host, bob.host]


def start_and_register(edge: Edge) -> None:
    edge.launch()
    wait_ready(edge)

    def registered() -> bool:
        return any(one["state"] == "registered" for one in edge.get("status")["supernodes"])

    wait_until(registered, REGISTERED_S, f"{edge.name} is registered", poll_s=POLL_FIRST_S)


class Watch:
    """Sends frames both ways, and looks at both edges, from now on. Doors: run, fill, close."""

    def __init__(self, edges: list[Edge], counters: list[Counters]) -> None:
        self._edges = edges
        self._counters = counters
        self._stream = Stream(edges[0].host, edges[1].host)
        self.ready_at = max(edge.ready_at for edge in edges)
        self._up_at: list[float | None] = [None, None]
        self._direct_at: list[float | None] = [None, None]
        self._first_path: list[str | None] = [None, None]
        self._peers: list[Document] = [{}, {}]
        self._nats: list[Document | None] = [None, None]
        self._attempts: list[list[Document]] = [[], []]
        self._sent: list[tuple[int, int]] = [(0, 0), (0, 0)]
        self.ended_at = self.ready_at

    @property
    def session_at(self) -> float | None:
        """When both had it."""
        first, second = self._up_at
        return max(first, second) if first is not None and second is not None else None

    @property
    def direct_at(self) -> float | None:
        first, second = self._direct_at
        return max(first, second) if first is not None and second is not None else None

    def run(self, limit_s: float) -> None:
        """Until both are direct and settled, or `limit_s` after the session."""
        look_at = self.ready_at
        counted = False
        while time.monotonic() < self._end(limit_s):
            self._stream.tick()
            now = time.monotonic()
            if now >= look_at:
                self._look()
                look_at = now + max(POLL_FIRST_S, POLL_SHARE * (now - self.ready_at))
            if self.direct_at is not None and not counted:
                counted = True
                self._count()
            time.sleep(TICK_S)
        if not counted:
            self._count()
        self._look()
        self._nats = [edge.get("status")["nat"] for edge in self._edges]
        if self.session_at is not None:
            self._attempts = [self._edges[i].why(self._edges[1 - i].name)["attempts"] for i in (0, 1)]
        self._stream.tick()
        self.ended_at = time.monotonic()

    def _end(self, limit_s: float) -> float:
        if self.session_at is None:
            return self.ready_at + SESSION_S
        if self.direct_at is not None:
            return self.direct_at + SETTLE_S
        return self.session_at + limit_s

    def _look(self) -> None:
        for i in (0, 1):
            peer = self._edges[i].peer(self._edges[1 - i].name)
            now = time.monotonic()
            if peer.get("state") != "up":
                self._up_at[i] = self._direct_at[i] = None
                continue
            self._peers[i] = peer
            if self._up_at[i] is None:
                self._up_at[i] = now - peer["up_for_s"]
                self._first_path[i] = peer["path"]
            if peer["path"] != "direct":
                self._direct_at[i] = None
            elif self._direct_at[i] is None:
                self._direct_at[i] = now - peer["path_for_s"]

    def _count(self) -> None:
        self._sent = [counters.read() for counters in self._counters]

    def close(self) -> None:
        self._stream.close()

    # ---- what came of it

    def fill(self, result: Result) -> None:
        session_at = self.session_at
        received = (self._stream.to_a, self._stream.to_b)
        for i, side in enumerate((result.a, result.b)):
            self._fill_side(side, i, received[i], session_at)
        if session_at is None:
            return
        result.session_s = round(session_at - self.ready_at, 3)
        if self.direct_at is not None:
            result.direct_s = round(max(0.0, self.direct_at - session_at), 3)
        firsts = [result.a.first_frame_s, result.b.first_frame_s]
        result.first_frame_s = None if None in firsts else max(one for one in firsts if one is not None)

    def _fill_side(self, side: Side, i: int, received: Direction, session_at: float | None) -> None:
        peer = self._peers[i]
        side.path, side.endpoint, side.rtt_ms = peer.get("path"), peer.get("endpoint"), peer.get("rtt_ms")
        side.first_path = self._first_path[i]
        side.nat, side.attempts = self._nats[i], self._attempts[i]
        side.openers, side.datagrams = self._sent[i]
        side.frames_sent = len(received.since_first(self.ended_at))
        side.frames_lost = received.lost(self.ended_at)
        side.frames_repeated = received.repeated
        side.outage_s = round(received.outage_s(self.ended_at), 3)
        up_at, direct_at = self._up_at[i], self._direct_at[i]
        if up_at is not None:
            side.session_s = round(up_at - self.ready_at, 3)
        if session_at is not None and direct_at is not None:
            side.direct_s = round(max(0.0, direct_at - session_at), 3)
        if session_at is not None and received.first_at is not None:
            side.first_frame_s = round(max(0.0, received.first_at - session_at), 3)
