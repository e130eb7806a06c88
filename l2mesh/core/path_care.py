"""Care for the paths to all peers of an edge: facts, checks, choice. What a path is, says path.py; candidates
and calls, by which new paths come about, are punching.py's.

up         both ends send a Call with their candidates and check; the best path that answers is selected
moved      addresses or routes changed at one end, or it slept: a Call says so by what way is left, mostly the
           relay, and both ends go back to the relay and check again
traffic    probes as large as the datagrams that go out say whether those arrive (path_size.py)
in doubt   answers are missing, or an error came: frames go by the best other path too. Where that is a supernode's
           relay, it is asked at once whether it hears us: whatever broke the path may have closed our NAT to it
relayed    now and then, and after a rest, both ends are told to try again
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from l2mesh.core.candidates import Origin
from l2mesh.core.events import Event, PathChanged
from l2mesh.core.paths import Probe
from l2mesh.core.send_errors import Effect
from l2mesh.core.silence import NEVER

if TYPE_CHECKING:
    from l2mesh.core.path import Path
    from l2mesh.core.peer import Peer, Via
    from l2mesh.core.punching import Punching
    from l2mesh.core.reach import Reach
    from l2mesh.core.remote_edge import RemoteEdge
    from l2mesh.core.send_errors import SendError
    from l2mesh.wire.control import Call


class PathNode(Protocol):
    """What the care needs of its edge."""

    def send_probe(self, peer: Peer, via: Via, now: float, size: int = 0, missed: int = 0) -> bytes: ...
    def wake_peer(self, peer: Peer, at: float) -> None: ...
    def tell(self, event: Event) -> None: ...
    def path_chosen(self, edge: RemoteEdge, now: float) -> None: ...
    def relay_asked(self, via: Via, now: float) -> None: ...


class PathCare:
    """Doors: established, heard_elsewhere, replied, missed, called, suspect, send_failed; choose, turn."""

    def __init__(self, node: PathNode, reach: Reach, punching: Punching) -> None:
        self._node = node
        self._reach = reach
        self._punching = punching

    # ---- facts

    def established(self, edge: RemoteEdge, via: Via, now: float) -> None:
        """A handshake was completed on this way: a round trip."""
        path = self._add(edge, via, now)
        if path is not None:
            edge.paths.established(path, now)
        self.choose(edge, now)

    def heard_elsewhere(self, edge: RemoteEdge, via: Via, now: float) -> bool:
        """A genuine datagram that did not come on the selected path; False when it may not come so at all."""
        path = edge.paths.by_via.get(via)
        is_new = path is None
        if path is None:
            if not self._may_come(via):
                return False
            path = self._add(edge, via, now) if edge.new_places.take(1, now) else None
        if path is not None and edge.paths.heard_aside(path, now, is_new=is_new):
            self._node.wake_peer(edge, now)
        return True

    def replied(self, edge: RemoteEdge, via: Via, transaction: bytes, now: float) -> None:
        if edge.paths.replied(via, transaction, now):
            self.choose(edge, now)
            self._node.wake_peer(edge, edge.paths.next_at())

    def missed(self, edge: RemoteEdge, via: Via, count: int, now: float) -> None:
        """A probe of the peer came by, which says that so many before it had no answer."""
        if edge.paths.missed(via, count, now):
            self.choose(edge, now)
            self._node.wake_peer(edge, now)

    def called(self, edge: RemoteEdge, call: Call, via: Via, now: float) -> None:
        self._punching.add_candidates(edge, call.candidates, now)
        if call.moved:
            edge.paths.suspect(now)
            edge.via = via
            self.choose(edge, now)
        self._punching.called(edge, call, now)

    def suspect(self, edge: RemoteEdge, now: float) -> None:
        """Our own addresses or routes changed, or we slept."""
        before = edge.via
        edge.paths.suspect(now)
        self.choose(edge, now)
        # By the relay, and where it was last: the one may be gone, the other closed to us.
        self._punching.moved(edge, (edge.via, before), now)
        self._node.wake_peer(edge, now)

    def send_failed(self, edge: RemoteEdge, via: Via, error: SendError, now: float) -> None:
        """What was sent on this way did not get there."""
        paths = edge.paths
        if error.effect is Effect.TOO_LARGE:
            paths.too_large(via, now, local=error.local)
        elif error.effect is Effect.GONE:
            paths.refuse(via, error.reason, now)
        else:
            paths.accuse(via, error.reason, now)
        self.choose(edge, now)
        self._node.wake_peer(edge, paths.next_at())

    # ---- choice and timers

    def choose(self, edge: RemoteEdge, now: float) -> None:
        """Select the best path, and say so."""
        paths = edge.paths
        changed = paths.choose(now)
        selected, beside = paths.selected, paths.beside
        if selected is not None:
            edge.via, edge.room = selected.via, selected.room
        edge.beside = None
        if beside is not None:
            edge.beside, edge.room = beside.via, min(edge.room, beside.room)
            self._ask_relay(beside, now)
        if changed and selected is not None and edge.up:
            self._node.tell(PathChanged(edge.label, paths.changes[-1].old, selected.describe()))
        if changed:
            self._node.path_chosen(edge, now)

    def turn(self, edge: RemoteEdge, now: float) -> float | None:
        """Send the probes that are due; the instant of the next. Without a session there is nothing to probe."""
        paths = edge.paths
        if edge.session.sealing_keypair(now) is None:
            return None
        if now >= paths.recheck_at:
            self._punching.retry(edge, now)
        self._look_at_size(edge, now)
        for probe in [*paths.due(now, edge.tx_bytes), *self._confirming(edge, now)]:
            path = probe.path
            transaction = self._node.send_probe(edge, path.via, now, probe.size, path.unanswered)
            paths.probed(probe, transaction, now)
            if probe.counts:
                self._ask_relay(path, now)
        self.choose(edge, now)
        overdue_at = paths.selected.sizing.overdue_at if paths.selected is not None else NEVER
        return min(self._punching.turn(edge, now), paths.next_at(), overdue_at)

    # ---- details

    def _look_at_size(self, edge: RemoteEdge, now: float) -> None:
        """An answer to a probe of full size is overdue: ask by a small one and a large one at once."""
        selected = edge.paths.selected
        if selected is not None and now >= selected.sizing.overdue_at:
            selected.sizing.doubt()
            selected.next_probe_at = min(selected.next_probe_at, now)

    def _confirming(self, edge: RemoteEdge, now: float) -> list[Probe]:
        """The probe of full size, if one is due."""
        selected = edge.paths.selected
        if selected is None or selected.checks_from is not None:
            return []
        size = selected.sizing.confirm(edge.tx_bytes, selected.patience, now)
        return [Probe(selected, size - selected.overhead, counts=False)] if size is not None else []

    def _ask_relay(self, path: Path, now: float) -> None:
        """Where our NAT forgot us the relay cannot reach us, nor does it know us, before we speak to it."""
        if path.relayed:
            self._node.relay_asked(path.via, now)

    def _add(self, edge: RemoteEdge, via: Via, now: float) -> Path | None:
        if not self._may_come(via):
            return None
        if via[1]:
            return edge.paths.add_relay(via, now)
        return edge.paths.add_direct(via[0], Origin.PEER_REFLEXIVE, now)

    def _may_come(self, via: Via) -> bool:
        """Whether a peer may be on this way; a relayed one was looked at where it came in."""
        return bool(via[1]) or (self._reach.direct and not self._reach.is_overlay(via[0][0]))
