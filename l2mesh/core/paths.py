"""All paths to one peer: connectivity checks, choice and care. What one path is, says path.py.

Checks run inside the session, so a path is valid only after a round trip that nobody but the peer can answer, and
the frames go by relay until one is. The terms are ICE's (RFC 8445); the numbers are connectivity.md's, each with
its reason here.

    checking    probes at 0, 50, 150, 350, 750, 1550 ms, then each second to 6.55 s. Both ends do so at
                once, so each end's probes open its NAT for the other's.
    valid       a probe was answered on this very path
    selected    the best valid path. It is probed every 3 s under traffic, every 15 to 20 s when idle: inside the
                30 s after which Linux forgets a UDP flow that was one-way; and when frames went out and nothing
                came in for a quarter of a second (silence.py)
    doubted     probes had no answer (path_trust.py); or an ICMP error came; or the peer was
                heard from an address that we did not know, or by relay while our path is direct, or says that it
                misses our answers. It is probed at once, and frames go by a relay too, or the best other path,
                until a probe is answered
    failed      too many had no answer for too long, or this host refuses to send. The next best path is selected,
                and all are checked again

While relayed, the other relays are probed as an idle path is, so that one of them takes over at once, and all
candidates are tried again after 30 s, 1, 2, 4, 8, then every 10 minutes, and when frames flow
after a rest.

Genuine datagrams on a path that is not valid trigger a probe of it each: never more than came in, for the source
may be forged by who is on the way.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from l2mesh.core.candidates import Origin
from l2mesh.core.path import Path, PathClass, Sent, better_path, moved_to
from l2mesh.core.path_trust import ASK_AGAIN_S, DOUBT_AFTER_PROBES, ask_again_after, failure, is_doubtful
from l2mesh.core.peer import Via
from l2mesh.core.silence import NEVER, Silence
from l2mesh.wire.address import Address
from l2mesh.wire.probe import PROBE_SIZE_MIN

CHECK_AT_S: Final = (0.0, 0.05, 0.15, 0.35, 0.75, 1.55, 2.55, 3.55, 4.55, 5.55, 6.55)
PROBE_ACTIVE_S: Final = 3.0
PROBE_IDLE_S: Final = 15.0
PROBE_IDLE_JITTER_S: Final = 5.0
ACTIVE_FOR_S: Final = 5.0
PROBE_AFTER_REST_S: Final = 1.0
"""The first frames after a rest are followed by a probe."""
HINT_AFTER_S: Final = 1.0
"""Frames by relay, or answers that are missed, raise doubt about our path, not more often than this."""
TRIGGER_AFTER_S: Final = 0.04
"""Datagrams on a path that is not valid make us probe it, not more often than this."""
TRIGGERS_IN_A_ROW: Final = 8
"""Where the peer was only heard, and so many had no answer: each second at most."""

RECHECK_AFTER_S: Final = (30.0, 60.0, 120.0, 240.0, 480.0, 600.0)
RECHECK_AFTER_REST_S: Final = 30.0
FRESH_S: Final = 30.0
"""A valid path that is not selected is not probed, and its NAT mappings may be gone after this."""

PATHS_MAX: Final = 40
CHANGES_KEPT: Final = 8


class Probe(NamedTuple):
    """To send now. `size`: bytes of plaintext. `counts`: that it is lost says something of the path."""

    path: Path
    size: int
    counts: bool

    @property
    def datagram(self) -> int:
        return self.size + self.path.overhead


class Change(NamedTuple):
    """Of the selection. `old` and `new` are Path.describe()'s, or none."""

    at: float
    old: str
    new: str
    reason: str


class Paths:
    """Told facts; asked which path is selected, which one is used beside it, what to probe, and when next.

    Doors: add_direct, add_relay, remove; check, hold, check_all, suspect, fail, refuse, accuse, too_large;
    established, probed, replied, missed, heard, heard_aside, active; choose, due, next_at.
    """

    def __init__(self) -> None:
        self.by_via: dict[Via, Path] = {}
        self.selected: Path | None = None
        self.beside: Path | None = None
        """A relay, or else the best other path, while the selected one is in doubt."""
        self.changes: deque[Change] = deque(maxlen=CHANGES_KEPT)
        self._was_selected: Path | None = None
        self._reason = ""
        """Why the selected path was given up."""
        self._silence = Silence()
        self._sent_bytes = 0
        self.recheck_at = NEVER
        """When all are to be checked again because there is no direct path; the peer should do so at once then."""
        self._rechecks = 0
        self._checked_at = float("-inf")

    # ---- candidates

    def add_direct(self, address: Address, origin: Origin, now: float) -> Path | None:
        return self._add((address, b""), origin, now)

    def add_relay(self, via: Via, now: float, path_class: PathClass = PathClass.RELAY) -> Path | None:
        return self._add(via, Origin.CONFIGURED, now, path_class)

    def _add(self, via: Via, origin: Origin, now: float, path_class: PathClass = PathClass.RELAY) -> Path | None:
        path = self.by_via.get(via)
        if path is None and self._make_room():
            path = self.by_via[via] = Path(via, origin, now, path_class)
        elif path is not None and path.origin is Origin.PEER_REFLEXIVE:
            path.origin = origin
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
        if path is not None:
            self._leave(path, "the relay forgot it, or has another one for us")

    # ---- facts: what is to be checked

    def check(self, path: Path, now: float) -> None:
        """Begin the checks of one path, unless they are under way."""
        if path.checks_from is None:
            path.checks_from, path.checks_done = now, 0
            path.next_probe_at = now

    def hold(self, path: Path, until: float, now: float) -> None:
        """Its checks begin then, not now: the peer, to which a call goes now, is to send first."""
        path.held_at = now
        path.checks_from = path.next_probe_at = until
        path.checks_done = 0

    def _release(self, relay: Path, now: float) -> None:
        """The relay brought an answer: of what was held when the question left, the peer has been told."""
        for path in self.by_via.values():
            if path.is_held(now) and relay.last_rtt <= now - path.held_at:
                path.checks_from = None
                self.check(path, now)

    def check_all(self, now: float, rechecks: int | None = None, *, keep_held: bool = False) -> None:
        """Begin checks on every path: a call came, or something changed. `rechecks`: times since then.

        `keep_held`: but for those that wait for the peer to send first. Where the peer was only heard, and never
        answered, nothing begins: what is heard there next triggers a probe.
        """
        self._checked_at = now
        if rechecks is not None:
            self._rechecks = rechecks
        for path in self.by_via.values():
            if not (path.only_heard or (keep_held and path.is_held(now))):
                path.checks_from = None
                self.check(path, now)
        self._plan_recheck(now)

    def suspect(self, now: float) -> None:
        """Addresses changed, here or there, or time was lost: until it answers again no direct path is valid, and
        none by a member, for that one too is reached directly.
        """
        for path in self.by_via.values():
            if path.path_class is PathClass.RELAY:
                path.sizing.doubt()  # our own way to the relay may be another one now
            else:
                self._fail(path, "addresses or routes changed")
        self._rechecks = 0
        self.check_all(now)

    def fail(self, via: Via, reason: str, now: float) -> None:
        """This way is known to be gone: no need to find it out by probes."""
        path = self.by_via.get(via)
        if path is None or path.valid_at is None:
            return
        was_selected = path is self.selected
        self._fail(path, reason)
        if was_selected:
            self.check_all(now)

    def refuse(self, via: Via, reason: str, now: float) -> None:
        """This host cannot send there: it makes no sense to try until something changes."""
        self.fail(via, reason, now)
        path = self.by_via.get(via)
        if path is not None:
            path.last_error = reason
            path.checks_from = None
            path.next_probe_at = NEVER

    def accuse(self, via: Via, reason: str, now: float) -> None:
        """Somebody says that this path does not work: an ICMP error, which anybody can forge."""
        path = self.by_via.get(via)
        if path is None or now < path.deaf_until:
            return
        path.last_error = reason
        if path is self.selected and not path.accused:
            path.accused = True
            self._doubt(path, now)

    def too_large(self, via: Via, now: float, *, local: bool) -> None:
        """EMSGSIZE: from our own link, or from somebody who may lie."""
        path = self.by_via.get(via)
        if path is None or path.valid_at is None:
            return
        if local:
            path.sizing.refused(now)
        elif not path.sizing.doubted and now >= path.deaf_until:
            path.deaf_until = now + PROBE_ACTIVE_S
            path.sizing.doubt()
        if path.sizing.doubted:
            path.next_probe_at = min(path.next_probe_at, now)

    def _doubt(self, path: Path, now: float) -> None:
        path.doubted_at = path.doubted_at or now
        if not path.unanswered:
            path.next_probe_at = now

    # ---- facts: what was sent and heard

    def established(self, path: Path, now: float) -> None:
        """A handshake was completed on this path: a round trip."""
        path.works(now)

    def active(self, now: float, *, answer: bool = True) -> bool:
        """Frames were sent to the peer; True when `next_at` is earlier for it. Hot.

        `answer`: one may be expected, or else something is wrong.
        """
        silence = self._silence
        rested = now - silence.sent_at
        silence.sent_at = now
        selected = self.selected
        if selected is None:
            return False
        earlier = rested > ACTIVE_FOR_S and self._wake_up(selected, rested, now)
        return (answer and silence.sent(now)) or earlier

    def _wake_up(self, selected: Path, rested: float, now: float) -> bool:
        """The first frames after a rest."""
        if selected.relayed and rested > RECHECK_AFTER_REST_S and now - self._checked_at > RECHECK_AFTER_REST_S:
            self.recheck_at = now
            return True
        if selected.next_probe_at <= now + PROBE_AFTER_REST_S:
            return False
        selected.next_probe_at = now + PROBE_AFTER_REST_S
        return True

    def heard(self, via: Via, now: float) -> bool:
        """A genuine datagram of the peer came; False when that was not on the selected path. Hot."""
        selected = self.selected
        if selected is None or selected.via != via:
            return False
        selected.heard_at = self._silence.heard_at = now
        return True

    def heard_aside(self, path: Path, now: float, *, is_new: bool) -> bool:
        """One came on another path than the selected one; True when something is to be probed now.

        `is_new`: we did not know that the peer could be there.
        """
        path.heard_at = now
        selected = self.selected
        triggered = path.valid_at is None and self._trigger(path, now)
        if selected is None or selected.relayed:
            return triggered
        if path.relayed:
            return self._hint(selected, now) or triggered
        if path.valid_at is not None:
            self._silence.heard_at = now
        elif is_new:
            self._doubt(selected, now)
        return triggered

    def _trigger(self, path: Path, now: float) -> bool:
        in_vain = path.only_heard and path.unanswered >= TRIGGERS_IN_A_ROW
        wait = ASK_AGAIN_S if in_vain else TRIGGER_AFTER_S
        if path.next_probe_at <= now or now - path.triggered_at < wait:
            return False
        path.triggered_at = now
        path.next_probe_at = now
        return True

    def _hint(self, selected: Path, now: float) -> bool:
        """The peer does not use our path: is it still there?"""
        if selected.doubted_at is not None or now - selected.triggered_at < HINT_AFTER_S:
            return False
        selected.triggered_at = now
        self._doubt(selected, now)
        return True

    def missed(self, via: Via, count: int, now: float) -> bool:
        """The peer had no answer to so many probes, the last of which came; True when there is doubt now."""
        selected = self.selected
        if selected is None or selected.via != via or selected.doubted_at is not None:
            return False
        if count < DOUBT_AFTER_PROBES or now - selected.triggered_at < HINT_AFTER_S:
            return False
        selected.triggered_at = now
        self._doubt(selected, now)
        return True

    def probed(self, probe: Probe, transaction: bytes, now: float) -> None:
        """What `due` asked for was sent."""
        path = probe.path
        path.sent(transaction, Sent(now, probe.datagram, probe.counts))
        if probe.counts:
            path.checks_done += path.checks_from is not None
            self._plan(path, now, transaction[0] / 256)

    def replied(self, via: Via, transaction: bytes, now: float) -> bool:
        """A probe reply came; False when it answers nothing that was sent on this path."""
        path = self.by_via.get(via)
        if path is None or not path.answered(transaction, now):
            return False
        self._plan(path, now, transaction[0] / 256)
        if path is self.selected and path.relayed:
            self._release(path, now)
        return True

    # ---- choice

    def choose(self, now: float) -> bool:
        """Select the best valid path; True when the selection changed."""
        if self.selected is not None:
            reason = failure(self.selected, now)
            if reason:
                self._fail(self.selected, reason)
                self._rechecks = 0
                self.check_all(now)
        for path in self.by_via.values():
            in_reserve = path.valid_at is not None and path is not self.selected
            if in_reserve and path.unanswered and path.checks_from is None:
                reason = failure(path, now)
                if reason:
                    path.fails(reason)
            if self._is_usable(path, now) and (self.selected is None or better_path(path, self.selected)):
                self._select(path)
        self.beside = self._best_beside(now)
        if self.selected is self._was_selected:
            return False
        self._changed(now)
        return True

    def _select(self, path: Path) -> None:
        if self.selected is not None:
            moved = moved_to(path, self.selected)
            better = path.path_class < self.selected.path_class
            why = "it is of a better class" if better else "the peer went there" if moved else "it is faster"
            self._leave(self.selected, why)
        self.selected = path

    def _leave(self, path: Path, reason: str) -> None:
        if path is self.selected:
            self.selected = None
            self._reason = reason
            path.selected_since = None
            if path.checks_from is None:
                path.next_probe_at = NEVER

    def _fail(self, path: Path, reason: str) -> None:
        path.fails(reason)
        self._leave(path, reason)

    def _changed(self, now: float) -> None:
        before, selected = self._was_selected, self.selected
        names = [path.describe() if path is not None else "none" for path in (before, selected)]
        self.changes.append(Change(now, names[0], names[1], self._reason or "it answered first"))
        self._was_selected = selected
        self._reason = ""
        if selected is not None:
            selected.selected_since = now
            selected.unanswered = 0  # what it did not answer while nobody relied on it does not count
            if selected.checks_from is None:
                self._plan(selected, now, 0.0)
        self._plan_recheck(now)

    def _is_usable(self, path: Path, now: float) -> bool:
        if path.valid_at is None:
            return False
        kept_open = path.path_class is PathClass.RELAY  # by our probes of its supernode
        return kept_open or path is self.selected or now - path.valid_at < FRESH_S

    def _is_kept(self, path: Path) -> bool:
        """Whether it is probed: it is in use, or it is to take over at once when another relay dies."""
        return path is self.selected or (path.relayed and self.selected is not None and self.selected.relayed)

    def _is_sized(self, path: Path) -> bool:
        """Whether the size that a path carries is worth finding out: it is in use, or ready to be."""
        return path.valid_at is not None and (path is self.selected or path.relayed)

    def _best_beside(self, now: float) -> Path | None:
        """A relay that is kept open, if there is one: another direct path may have died with the selected one."""
        selected = self.selected
        if selected is None or selected.doubted_at is None:
            return None
        usable = [path for path in self.by_via.values() if path is not selected and self._is_usable(path, now)]
        kept_open = [path for path in usable if path.path_class is PathClass.RELAY]
        best: Path | None = None
        for path in kept_open or usable:
            if best is None or better_path(path, best):
                best = path
        return best

    # ---- timers

    def due(self, now: float, sent_bytes: int = 0) -> list[Probe]:
        """The probes to send now. `sent_bytes`: to the peer so far, in all.

        A probe of the selected path is as large as its datagrams where such were sent since the last one: so a
        size that is too large is noticed.
        """
        if now >= self.recheck_at:
            self._rechecks += 1
            self.check_all(now)
        self._look_at_silence(now)
        probes: list[Probe] = []
        for path in self.by_via.values():
            if path.next_probe_at <= now:
                self._ask(path, probes, sent_bytes, now)
            if self._is_sized(path):
                size = path.sizing.due(now)
                if size is not None:
                    probes.append(Probe(path, size - path.overhead, counts=False))
        return probes

    def _look_at_silence(self, now: float) -> None:
        selected = self.selected
        patience = selected.patience if selected is not None else 0.0
        if self._silence.is_suspicious(patience, now) and selected is not None and not selected.unanswered:
            selected.next_probe_at = min(selected.next_probe_at, now)

    def _ask(self, path: Path, probes: list[Probe], sent_bytes: int, now: float) -> None:
        """A probe of this path, and what the answers that are missing tell."""
        if path is not self.selected:
            probes.append(Probe(path, PROBE_SIZE_MIN, counts=True))
            return
        size = PROBE_SIZE_MIN
        if path.unanswered:
            self._miss(path, now)
        elif path.checks_from is None and not path.sizing.doubted:
            size = path.room if sent_bytes - self._sent_bytes >= path.size else size
        self._sent_bytes = sent_bytes
        probes.append(Probe(path, size, counts=True))
        large = path.sizing.round(now)
        if large is not None:
            probes.append(Probe(path, large - path.overhead, counts=False))

    def _miss(self, path: Path, now: float) -> None:
        """There is no answer yet."""
        if path.asked_with >= path.size:
            path.sizing.doubt()
        if is_doubtful(path, now):
            self._doubt(path, now)

    def next_at(self) -> float:
        """When `due`, or `choose` for a failing path, has something to do."""
        earliest = min(self.recheck_at, self._silence.next_at)
        for path in self.by_via.values():
            earliest = min(earliest, path.next_probe_at)
            if self._is_sized(path):
                earliest = min(earliest, path.sizing.next_at)
        return earliest

    def _plan(self, path: Path, now: float, chance: float) -> None:
        """When to probe this path next. `chance`: 0 to 1."""
        if path.checks_from is not None:
            if path.checks_done < len(CHECK_AT_S):
                path.next_probe_at = path.checks_from + CHECK_AT_S[path.checks_done]
                return
            path.checks_from = None
            path.unanswered = 0 if path is not self.selected else path.unanswered
        if path.valid_at is None or not self._is_kept(path):
            path.next_probe_at = NEVER
        elif path.unanswered:
            path.next_probe_at = now + ask_again_after(path)
        elif path.sizing.doubted:
            path.next_probe_at = now + path.patience
        elif path is self.selected and now - self._silence.sent_at < ACTIVE_FOR_S:
            path.next_probe_at = now + PROBE_ACTIVE_S
        else:
            path.next_probe_at = now + PROBE_IDLE_S + PROBE_IDLE_JITTER_S * chance

    def _plan_recheck(self, now: float) -> None:
        if self.selected is not None and not self.selected.relayed:
            self.recheck_at = NEVER
            self._rechecks = 0
        else:
            self.recheck_at = now + RECHECK_AFTER_S[min(self._rechecks, len(RECHECK_AFTER_S) - 1)]
