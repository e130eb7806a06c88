"""Opening ways through NATs: whom we tell our candidates, what we do with the peer's, and who goes first.

A Call over the relayed session says "I check now, these are my candidates". Rounds of checks are even; the
attempts by class that follow a round which found nothing are odd (attempts.py).

    a new session, or something changed    round 0
    relayed still                          the next even round after 30 s, 1, 2, 4, 8, then every 10 minutes
    a second without a direct path         the odd round that follows, if both classes promise anything; while
                                           there are attempts left (attempts.py)

Before probes go to an outside IPv4 address an opener does: a datagram that dies on the way (low TTL), so that our
NAT has a mapping before the peer's probe comes. A Linux router that accepts what comes unasked would else note a
flow, and give our own datagrams to that peer another port. So whoever calls sends openers at once, its probes when
the peer's openers must have left, by time, or by the answer to a probe that followed the call by the same relay
(paths.py); whoever is called sends both at once. Where two calls meet both have called. A LAN's addresses and IPv6
need neither.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from struct import Struct
from typing import TYPE_CHECKING, Final, Protocol

from l2mesh.core.attempt import Attempt, Result, peers_turn_s
from l2mesh.core.attempt_plan import Kind
from l2mesh.core.attempts import Attempts, AttemptsNode
from l2mesh.core.candidates import address_of, bounded, gather, origin_of
from l2mesh.core.nat import allocation_of
from l2mesh.core.path import Path, PathClass
from l2mesh.core.token_bucket import TokenBucket
from l2mesh.wire.address import ip_version, is_sendable, socket_number
from l2mesh.wire.control import UNKNOWN_NAT, Call, NatReport
from l2mesh.wire.stun import MAGIC_COOKIE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from l2mesh.core.peer import Peer, Via
    from l2mesh.core.reach import Reach
    from l2mesh.core.remote_edge import RemoteEdge
    from l2mesh.core.supernode_link import SupernodeLink
    from l2mesh.wire.address import Address
    from l2mesh.wire.control import Candidate, Control, Entry

PLAIN_FIRST_S: Final = 1.0
"""Checks that find anything do within a second, mostly; then the attempt by class begins beside them."""
PLAIN_LASTS_S: Final = 8.0
"""The last check of a round is sent after 6.55 s (paths.py)."""
OPENER_TTL: Final = 2
"""Past our own router, not to the peer's."""
OPENER_TTL_TWO_NATS: Final = 3
OPENERS_MAX: Final = 16
"""In one round, to one peer: as many as there are candidates."""
OPENED_FOR_S: Final = 1.0
"""An opener is not repeated in this time: two calls may cross."""
FORGIVE_AFTER_S: Final = 600.0
"""What a peer says of itself gives it new attempts by class, not more often than this."""
AGAIN_AFTER_S: Final = 1.0
BLIND_PER_SECOND: Final = 100.0
BLIND_BURST: Final = 1000.0
"""Openers to addresses that only a supernode vouches for: as many as direct initiations (edge.py)."""
MAPPED_MAX: Final = 4
RELAY_FIRST_S: Final = 0.4
"""A handshake goes by relay alone for so long: at the peer's router a direct initiation comes unasked."""

CARRIER: Final = IPv4Network("100.64.0.0/10")
"""RFC 6598: between a home router and a carrier's NAT."""

BINDING_INDICATION: Final = Struct(">HHI12s").pack(0x0011, 0, MAGIC_COOKIE, bytes(12))
"""RFC 8489: wants no answer and says nothing. The opener to a peer that we have no session with."""


class PunchingNode(AttemptsNode, Protocol):
    """What punching needs of its edge, beside what its attempts do."""

    local_ports: dict[int, int]

    def send_control(self, peer: Peer, message: Control, now: float, via: Via | None = None) -> bool: ...


class Punching:
    """Doors: candidates, set_mapped, two_nats; listed, unlisted, established, add_candidates, called, moved,
    changed, nat_changed, nat_sampled, path_chosen, forget; call, retry, direct_vias; turn.
    """

    def __init__(self, node: PunchingNode, reach: Reach, now: float, *, birthday: bool) -> None:
        self.two_nats = False
        """A hint that there is a carrier's NAT behind our router's."""
        self.attempts = Attempts(node, reach, self._call_to_attempt, self._opener_ttl, birthday=birthday)
        self._node = node
        self._reach = reach
        self._mapped: tuple[Address, ...] = ()
        self._class = _class_of(UNKNOWN_NAT)
        self._blind = TokenBucket(BLIND_PER_SECOND, BLIND_BURST, now)

    # ---- our own side

    def candidates(self) -> tuple[Candidate, ...]:
        """Our own, for calls and registrations."""
        if not self._reach.direct:
            return ()
        node = self._node
        return gather(node.local_hosts, node.local_ports, node.observed_addresses(), self._mapped)

    def set_mapped(self, addresses: list[Address]) -> bool:
        """Outside addresses that are mapped to us, as was tried from outside; True when they are new ones."""
        mapped = tuple(sorted({address for address in addresses if is_sendable(address)})[:MAPPED_MAX])
        changed = mapped != self._mapped
        self._mapped = mapped
        return changed

    def _opener_ttl(self) -> int:
        hosts = [IPv4Address(host) for host in self._node.local_hosts if ip_version(host) == 4]
        two = self.two_nats or any(host in CARRIER for host in hosts)
        return OPENER_TTL_TWO_NATS if two else OPENER_TTL

    def _behind_nat(self) -> bool:
        """False only where every supernode sees the address that we have."""
        seen = [host for host, _ in self._node.observed_addresses() if ip_version(host) == 4]
        return not seen or any(host not in self._node.local_hosts for host in seen)

    # ---- facts about a peer

    def listed(self, edge: RemoteEdge, link: SupernodeLink, entry: Entry, now: float) -> None:
        """A directory has news of it."""
        punch = edge.punch
        address = None if entry.observed is None else address_of(entry.observed)
        if address is None:
            punch.observed.pop(link, None)
        else:
            punch.observed[link] = address
        self.add_candidates(edge, entry.candidates, now)
        if not edge.up:  # what it says itself, in the session, is better
            punch.nat = entry.nat
            if not self._reach.relayed:  # a call cannot say when, so this is the time
                self._open(edge, now)

    def unlisted(self, edge: RemoteEdge, link: SupernodeLink) -> None:
        edge.punch.observed.pop(link, None)

    def add_candidates(self, edge: RemoteEdge, candidates: tuple[Candidate, ...], now: float) -> None:
        """The peer, or a supernode, told us where it may be."""
        if not self._reach.direct:
            return
        edge.candidates = bounded(candidates)
        for candidate in edge.candidates:
            address = address_of(candidate)
            if address is None or not self._reach.may_try(address):
                continue
            if (address, b"") in edge.paths.by_via:
                continue
            path = edge.paths.add_direct(address, origin_of(candidate), now)
            if path is not None and edge.up:
                self._open_one(edge, path, now)
                edge.paths.hold(path, now + peers_turn_s(edge) if self._may_race(path) else now, now)

    def established(self, edge: RemoteEdge, now: float) -> None:
        """There is a new session."""
        self._forgive(edge, now)
        self._begin(edge, 0, now, called=False)
        self.call(edge, now)

    def called(self, edge: RemoteEdge, call: Call, now: float) -> None:
        """The peer checks now. That it moved, if so, and its candidates, the paths know already."""
        punch = edge.punch
        self._learn(edge, call, now)
        if call.round % 2:
            self.attempts.called(edge, call.round, now)
        elif punch.rounds.take(1, now):
            self._called_to_check(edge, call, now)
        if call.answer:
            self.call(edge, now)
        self._node.wake_peer(edge, now)

    def _called_to_check(self, edge: RemoteEdge, call: Call, now: float) -> None:
        punch = edge.punch
        if call.moved or call.round != _even(punch.round):
            self._begin(edge, call.round, now, called=True)
        else:  # our own call, and the answer to it or the peer's, met: it may not know our addresses yet
            self._open(edge, now)
            edge.paths.check_all(now, keep_held=True)
            punch.attempt_at = max(now, punch.begun_at + PLAIN_FIRST_S)

    def _learn(self, edge: RemoteEdge, call: Call, now: float) -> None:
        """What the peer says of its NAT. Another class, or a new start, deserves new attempts."""
        punch = edge.punch
        before, punch.nat = punch.nat, call.nat
        news = call.moved or _class_of(before) != _class_of(call.nat) or (call.round == 0 and punch.round > 0)
        if news:
            self._forgive(edge, now)
        if call.moved:
            self.attempts.stop(edge, Result.STOPPED, now)

    @staticmethod
    def _forgive(edge: RemoteEdge, now: float) -> None:
        """The peer is not as it was, says the peer."""
        punch = edge.punch
        if punch.tries and now - punch.forgiven_at >= FORGIVE_AFTER_S:
            punch.forgiven_at = now
            punch.tries.clear()

    def moved(self, edge: RemoteEdge, vias: tuple[Via | None, ...], now: float) -> None:
        """Our addresses or routes changed, or we slept: tell the peer on each of these ways, and check."""
        edge.punch.tries.clear()
        self.attempts.stop(edge, Result.STOPPED, now)
        self._begin(edge, 0, now, called=False)
        for via in dict.fromkeys(vias):
            self.call(edge, now, answer=True, moved=True, via=via)

    def changed(self, edge: RemoteEdge, now: float) -> None:
        """Our candidates changed, or a path was lost: check anew."""
        edge.punch.tries.clear()
        edge.punch.begin_at = now
        self._node.wake_peer(edge, now)

    def nat_changed(self, edges: Iterable[RemoteEdge], now: float) -> None:
        """We know more of our NAT than before: tell all peers that are relayed."""
        changed, self._class = self._class, _class_of(self._node.nat_report())
        for edge in edges:
            if not edge.up or edge.direct_via is not None:
                continue
            if changed != self._class:
                edge.punch.tries.clear()
            edge.punch.attempt_at = max(now, edge.punch.begun_at + PLAIN_FIRST_S)
            self.call(edge, now)
            self._node.wake_peer(edge, now)

    def nat_sampled(self, now: float) -> None:
        """The report's last port is a fresh one."""
        self.attempts.sampled(now)

    def path_chosen(self, edge: RemoteEdge, now: float) -> None:
        """Another path may be selected, or none."""
        punch = edge.punch
        direct = edge.direct_via is not None
        if direct == punch.was_direct:
            return
        punch.was_direct = direct
        if direct:
            punch.attempt_at = float("inf")
            self._end_plain(edge, Result.DIRECT, now)
            self.attempts.found(edge, now)
        elif edge.up:
            self.changed(edge, now)

    def forget(self, edge: RemoteEdge, now: float) -> None:
        """The peer is gone."""
        self._end_plain(edge, Result.STOPPED, now)
        edge.punch.begin_at = None
        edge.punch.attempt_at = float("inf")
        self.attempts.forget(edge, now)

    # ---- rounds

    def call(
        self,
        edge: RemoteEdge,
        now: float,
        *,
        answer: bool = False,
        moved: bool = False,
        via: Via | None = None,
    ) -> None:
        """Tell a peer our candidates, our class and our round of checks."""
        self._call(edge, _even(edge.punch.round), now, answer=answer, moved=moved, via=via)

    def _call_to_attempt(self, edge: RemoteEdge, now: float) -> None:
        self._end_plain(edge, Result.NO_ANSWER, now)
        self._call(edge, edge.punch.round, now)

    def _call(
        self,
        edge: RemoteEdge,
        round_: int,
        now: float,
        *,
        answer: bool = False,
        moved: bool = False,
        via: Via | None = None,
    ) -> None:
        if self._reach.direct:
            report = self._node.nat_report()
            call = Call(self.candidates(), answer=answer, moved=moved, nat=report, round=round_)
            self._node.send_control(edge, call, now, via)

    def retry(self, edge: RemoteEdge, now: float) -> None:
        """Relayed still: the next round."""
        self._begin(edge, _next_even(edge.punch.round), now, called=False)
        self.call(edge, now, answer=True)

    def _begin(self, edge: RemoteEdge, round_: int, now: float, *, called: bool) -> None:
        """Openers and checks to all candidates. `called`: the peer's openers are on their way."""
        punch = edge.punch
        punch.round, punch.begun_at, punch.begin_at = round_, now, None
        edge.paths.check_all(now, round_ // 2)
        if round_:
            self.attempts.renew(edge, now)
        if not self._reach.direct or edge.session.sealing_keypair(now) is None:
            return
        self._end_plain(edge, Result.NO_ANSWER, now)
        if edge.direct_via is None:
            punch.plain = Attempt(Kind.PLAIN, round_, now)
            punch.probes_before = _probes(edge)
            punch.attempts.append(punch.plain)
            punch.attempt_at = now + PLAIN_FIRST_S
        self._open(edge, now)
        if not called:
            hold_until = now + peers_turn_s(edge)
            for path in edge.paths.by_via.values():
                if path.valid_at is None and path.checks_from is not None and self._may_race(path):
                    edge.paths.hold(path, hold_until, now)
        self._node.wake_peer(edge, now)

    def _end_plain(self, edge: RemoteEdge, result: Result, now: float) -> None:
        punch = edge.punch
        if punch.plain is not None:
            punch.plain.probes = _probes(edge) - punch.probes_before
            punch.plain.end(result, now)
            punch.plain = None

    @staticmethod
    def _may_race(path: Path) -> bool:
        """Whether a NAT may be on the way that a probe could come to too early."""
        return path.path_class is PathClass.IPV4 and not socket_number(path.via[0])

    # ---- openers

    def _open(self, edge: RemoteEdge, now: float) -> None:
        for path in list(edge.paths.by_via.values()):
            if path.valid_at is None:
                self._open_one(edge, path, now)

    def _open_one(self, edge: RemoteEdge, path: Path, now: float) -> None:
        """One datagram that makes our NAT's mapping and does not get to the peer's."""
        if not self._may_race(path) or not self._behind_nat():
            return
        address, opened = path.via[0], edge.punch.opened
        for old in [old for old, at in opened.items() if now - at >= OPENED_FOR_S]:
            del opened[old]
        outside = [host for host, _ in self._node.observed_addresses()]
        if address in opened or len(opened) >= OPENERS_MAX or address[0] in outside:
            return
        if not edge.up and not self._blind.take(1, now):
            return
        opened[address] = now
        self._node.send_opener(edge, address, self._opener_ttl(), now)
        if edge.punch.plain is not None:
            edge.punch.plain.openers += 1

    # ---- without a session

    def direct_vias(self, edge: RemoteEdge, now: float, *, relays_asked: bool) -> list[Via]:
        """The addresses that an initiation may go to directly. Not before a relay had its chance, and not to one
        that needs an opener before the peer, who learns of us meanwhile, had time to send one.
        """
        waited = now - edge.first_attempt_at >= RELAY_FIRST_S
        if relays_asked and not waited:
            return []
        direct = [path for path in edge.paths.by_via.values() if not path.relayed]
        if not waited:
            for path in direct:
                self._open_one(edge, path, now)
        return [path.via for path in direct if waited or not self._may_race(path)]

    # ---- timers

    def turn(self, edge: RemoteEdge, now: float) -> float:
        """Do what is due for a peer that we have a session with; the instant of the next."""
        punch = edge.punch
        if punch.begin_at is not None and now >= punch.begin_at:
            self._begin_anew(edge, now)
        if punch.plain is not None and now >= punch.plain.begun_at + PLAIN_LASTS_S:
            self._end_plain(edge, Result.NO_ANSWER, now)
        if now >= punch.attempt_at:
            punch.attempt_at = float("inf")
            self.attempts.begin(edge, now)
        next_at = min(self.attempts.turn(edge, now), punch.attempt_at)
        if punch.plain is not None:
            next_at = min(next_at, punch.plain.begun_at + PLAIN_LASTS_S)
        return next_at if punch.begin_at is None else min(next_at, punch.begin_at)

    def _begin_anew(self, edge: RemoteEdge, now: float) -> None:
        if not edge.punch.rounds.take(1, now):
            edge.punch.begin_at = now + AGAIN_AFTER_S
            return
        self._begin(edge, 0, now, called=False)
        self.call(edge, now)


def _even(round_: int) -> int:
    return round_ - round_ % 2


def _next_even(round_: int) -> int:
    """Never 0 again: that says that something changed."""
    return (_even(round_) + 2) % 65536 or 2


def _class_of(report: NatReport) -> tuple[object, ...]:
    """What of a report decides on attempts: a block may be estimated a little differently each time."""
    return report.mapping, report.filtering, allocation_of(report).kind


def _probes(edge: RemoteEdge) -> int:
    return sum(path.probes_sent for path in edge.paths.by_via.values() if not path.relayed)
