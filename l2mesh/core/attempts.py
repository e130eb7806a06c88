"""Attempts by class (attempt_plan.py): with one peer at a time, both ends at once, within bounds.

    IDLE      a plain round found no direct path in a second, and the classes of both ends say what else may
    QUEUED    one attempt at a time
    SAMPLING  our NAT takes ports in order: which one was the last?
    CALLING   a Call with an odd round says "now": it begins when both ends have said so
    RUNNING   sprays, as planned; a direct path ends it, or time does

    IDLE -> QUEUED -> (SAMPLING) -> CALLING -> RUNNING -> IDLE, or QUEUED again, where the next one profits by it
                                      '-> IDLE   the peer has nothing to say

The bounds: PACKETS_PER_SECOND in all and PACKETS_MAX for each attempt (attempt_plan.py); TRIES_MAX attempts until
something changes, and what the peer says of itself counts once in ten minutes only; two that have met before get
one more with each later round of checks, so one in ten minutes in the end. Sprays go to an IPv4 address
that a supernode itself saw for the peer, never to a private one, our own, or one on the overlay. Each datagram is
sealed for the peer, and what comes back is learned as a path like any other.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from l2mesh.core.attempt import Attempt, Result, Running, Step, peers_turn_s
from l2mesh.core.attempt_plan import (
    PACKETS_MAX,
    PACKETS_PER_SECOND,
    Aim,
    Kind,
    Plan,
    Spray,
    plan,
    ports_of,
    predicted_ports,
    scattered,
)
from l2mesh.core.candidates import Origin, address_of, is_private
from l2mesh.core.nat import allocation_of
from l2mesh.core.pace import Pace
from l2mesh.core.paths import RECHECK_AFTER_S
from l2mesh.core.side_numbers import SideNumbers
from l2mesh.wire.address import Address, SideAddress, ip_version, is_sendable, socket_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from l2mesh.core.peer import Peer, Via
    from l2mesh.core.reach import Reach
    from l2mesh.core.remote_edge import RemoteEdge
    from l2mesh.wire.control import NatReport

TRIES_MAX: Final = {Kind.PREDICTION: 6, Kind.BIRTHDAY: 1, Kind.BLOCKS: 4}
"""What 2048 datagrams of a birthday did not find, 2048 more will not. Two blocks of 2048 meet in two attempts 97
times in 100; where each mapping takes a port of its own, the second finds none left, and the others are needed. A
prediction is cheap."""
RENEW_PART: Final = 0.9
"""Of the time between two rounds: the peer's clock, or the way of its call, may make it a little shorter."""
SAMPLE_WITHIN_S: Final = 0.5
CALL_AGAIN_S: Final = 0.5
CALL_PATIENCE_S: Final = 2.5
"""And up to a second more by chance, so that edges that wait for one another in a circle do not for ever."""
HEARD_FOR_S: Final = 0.6
"""A peer that waits repeats its call within this time."""
ANSWER_AGAIN_S: Final = 0.3
USEFUL_FOR_S: Final = 10.0
"""What an attempt opened is worth keeping the sockets for: the next one is to begin in this time."""
SIDE_PATH_KEPT_S: Final = 30.0
"""A path by a side socket that is not the selected one, after anything was heard there: the peer may use it."""


class AttemptsNode(Protocol):
    """What attempts need of their edge."""

    local_hosts: list[str]

    def nat_report(self) -> NatReport: ...
    def sample_nat(self, now: float) -> bool: ...
    def observed_addresses(self) -> list[Address]: ...
    def goes_first(self, peer: Peer) -> bool: ...
    def send_probe(
        self, peer: Peer, via: Via, now: float, size: int = 0, missed: int = 0, *, spray: bool = False
    ) -> bytes: ...
    def send_opener(self, peer: Peer, address: Address, ttl: int, now: float, *, spray: bool = False) -> bool: ...
    def close_side_sockets(self, numbers: list[int]) -> None: ...
    def wake_peer(self, peer: Peer, at: float) -> None: ...
    def random_bytes(self, size: int) -> bytes: ...
    def chance(self) -> float: ...


class Attempts:
    """Doors: wanted, renew, begin, called, sampled, found, stop, forget; turn."""

    def __init__(
        self,
        node: AttemptsNode,
        reach: Reach,
        call: Callable[[RemoteEdge, float], None],
        opener_ttl: Callable[[], int],
        *,
        birthday: bool,
    ) -> None:
        """`call` tells a peer our round and our NAT. `birthday`: sprays and side sockets are allowed."""
        self._node = node
        self._reach = reach
        self._call = call
        self._opener_ttl = opener_ttl
        self._birthday = birthday
        self._numbers = SideNumbers()
        self._pace = Pace(PACKETS_PER_SECOND)
        self._queue: deque[RemoteEdge] = deque()
        self._busy: RemoteEdge | None = None

    # ---- what makes sense

    def plan_with(self, edge: RemoteEdge) -> Plan:
        """Our part of the next attempt, by both classes, allowed or not."""
        ours, theirs = self._node.nat_report(), edge.punch.nat
        return plan(ours, theirs, first=self._node.goes_first(edge), number=edge.punch.round // 2)

    def wanted(self, edge: RemoteEdge) -> bool:
        """Whether there is an attempt to be made with this peer, now or at its next turn."""
        if not (self._reach.direct and edge.up) or edge.direct_via is not None:
            return False
        ours = self.plan_with(edge)
        if not ours.kind.is_attempt or edge.punch.tries.get(ours.kind, 0) >= TRIES_MAX[ours.kind]:
            return False
        return self._is_allowed(ours) and self.target_of(edge) is not None

    def _is_allowed(self, ours: Plan) -> bool:
        return self._birthday or (ours.kind is Kind.PREDICTION and not ours.sockets)

    def target_of(self, edge: RemoteEdge) -> Address | None:
        """Where a supernode itself sees the peer, if that is an address that sprays may go to."""
        own = {*self._node.local_hosts, *(host for host, _ in self._node.observed_addresses())}
        for host, port in edge.punch.observed.values():
            usable = ip_version(host) == 4 and is_sendable((host, port)) and not is_private(host)
            if usable and host not in own and self._reach.may_try((host, port)):
                return host, self._told_port(edge, host) or port
        return None

    @staticmethod
    def _told_port(edge: RemoteEdge, host: str) -> int | None:
        """Its port there, as the peer itself heard it: newer than the directory."""
        for candidate in edge.candidates:
            address = address_of(candidate)
            if candidate.origin == Origin.SERVER_REFLEXIVE and address is not None and address[0] == host:
                return address[1]
        return None

    # ---- facts

    def renew(self, edge: RemoteEdge, now: float) -> None:
        """Another round: two that have met before get one more attempt, for what parted them may be over. By our
        own clock, whatever the peer says of rounds.
        """
        punch = edge.punch
        wait_s = RENEW_PART * RECHECK_AFTER_S[min(punch.renewals, len(RECHECK_AFTER_S) - 1)]
        if punch.has_met and now - punch.renewed_at >= wait_s:
            punch.renewals += 1
            punch.renewed_at = now
            punch.tries = {kind: min(tries, TRIES_MAX[kind] - 1) for kind, tries in punch.tries.items()}

    def begin(self, edge: RemoteEdge, now: float) -> None:
        """The plain checks found nothing, or the peer calls: as soon as it is this peer's turn."""
        punch = edge.punch
        if punch.step is Step.IDLE and self.wanted(edge):
            punch.step = Step.QUEUED
            self._queue.append(edge)
            self._next(now)

    def called(self, edge: RemoteEdge, round_: int, now: float) -> None:
        """The peer says "now"."""
        punch = edge.punch
        punch.heard_round, punch.heard_at = round_, now
        if punch.step is Step.CALLING:
            if round_ == punch.round:
                self._run(edge, now, answering=False)
            else:  # the higher round counts
                punch.round = max(punch.round, round_)
                self._tell(edge, now)
                if round_ == punch.round:
                    self._run(edge, now, answering=True)
        elif punch.step is Step.RUNNING and round_ == punch.round:
            if now - punch.called_at >= ANSWER_AGAIN_S:
                self._tell(edge, now)
        elif punch.running is not None and round_ > punch.round:
            self.stop(edge, Result.NO_ANSWER if punch.running.all_sent else Result.STOPPED, now, keep=True)
            self.begin(edge, now)
        else:
            self.begin(edge, now)

    def sampled(self, now: float) -> None:
        """Our NAT's last port is known afresh."""
        if self._busy is not None and self._busy.punch.step is Step.SAMPLING:
            self._start_calling(self._busy, now)

    def found(self, edge: RemoteEdge, now: float) -> None:
        """There is a direct path."""
        edge.punch.has_met = True
        edge.punch.renewals = 0
        self.stop(edge, Result.DIRECT, now)

    def stop(self, edge: RemoteEdge, result: Result, now: float, *, keep: bool = False) -> None:
        """Whatever is under way with this peer ends. `keep`: what it opened, for the next one."""
        punch = edge.punch
        running = punch.running
        keep = keep and running is not None and running.plan.kind is Kind.BLOCKS
        punch.before = running if keep else None
        punch.useful_until = now + USEFUL_FOR_S
        if punch.record is not None:
            punch.record.end(result, now)
        punch.record = punch.running = None
        if result is not Result.DIRECT:
            for via in [via for via, path in edge.paths.by_via.items() if path.valid_at is None]:
                if socket_number(via[0]):
                    edge.paths.remove(via)
        if punch.step is Step.QUEUED:
            self._queue.remove(edge)
        punch.step = Step.IDLE
        punch.until = punch.call_at = float("inf")
        self._close_unused(edge, now)
        if self._busy is edge:
            self._busy = None
        self._next(now)

    def forget(self, edge: RemoteEdge, now: float) -> None:
        """The peer is gone."""
        for via in [via for via in edge.paths.by_via if socket_number(via[0])]:
            edge.paths.remove(via)
        self.stop(edge, Result.STOPPED, now)

    # ---- timers

    def turn(self, edge: RemoteEdge, now: float) -> float:
        """Do what is due; the instant of the next."""
        punch = edge.punch
        if punch.step is Step.QUEUED and now >= punch.until:
            self._next(now)
        if punch.step is Step.SAMPLING and now >= punch.until:
            self._start_calling(edge, now)
        if punch.step is Step.CALLING:
            self._turn_calling(edge, now)
        if punch.running is not None:
            return self._turn_running(edge, punch.running, now)
        if punch.numbers and punch.step is Step.IDLE:
            return self._tidy(edge, now)
        return min(punch.until, punch.call_at)

    def _turn_calling(self, edge: RemoteEdge, now: float) -> None:
        punch = edge.punch
        if now >= punch.until:
            self.stop(edge, Result.NOT_TAKEN_UP, now)
        elif now >= punch.call_at:
            self._tell(edge, now)

    def _turn_running(self, edge: RemoteEdge, running: Running, now: float) -> float:
        self._check_new_paths(edge, running, now)
        ends_at = running.began_at + running.plan.lasts_s + running.probes_wait_s
        if now >= ends_at:
            overtaken = edge.punch.round % 2 == 0  # by a round of checks, which found nothing
            self.stop(edge, Result.NO_ANSWER, now, keep=True)
            if running.plan.continues or overtaken:
                self.begin(edge, now)
            return now
        while running.spray < len(running.plan.sprays):
            spray = running.plan.sprays[running.spray]
            wait_s = 0.0 if spray.opener else running.probes_wait_s
            begins_at = running.began_at + spray.after_s + wait_s
            if now < begins_at:
                return begins_at
            if not self._send_some(edge, running, spray, now):
                return self._pace.next_at(now)
            running.spray += 1
            running.sent = 0
        return ends_at

    # ---- steps

    def _next(self, now: float) -> None:
        """Begin with the next peer in the queue, if nobody is under way."""
        while self._busy is None and self._queue:
            edge = self._queue[0]
            ready_at = self._numbers.ready_at(self.plan_with(edge).sockets)
            wanted = self.wanted(edge)
            if wanted and now < ready_at:
                edge.punch.until = ready_at
                self._node.wake_peer(edge, ready_at)
                return
            self._queue.popleft()
            edge.punch.step, edge.punch.until = Step.IDLE, float("inf")
            if not wanted:
                continue
            self._busy = edge
            if self._node.sample_nat(now):
                edge.punch.step = Step.SAMPLING
                edge.punch.until = now + SAMPLE_WITHIN_S
            else:
                self._start_calling(edge, now)
            self._node.wake_peer(edge, now)

    def _start_calling(self, edge: RemoteEdge, now: float) -> None:
        punch = edge.punch
        punch.step = Step.CALLING
        punch.until = now + CALL_PATIENCE_S + self._node.chance()
        heard = now - punch.heard_at < HEARD_FOR_S and punch.heard_round >= punch.round
        punch.round = punch.heard_round if heard else punch.round + 1 + punch.round % 2
        punch.record = Attempt(self.plan_with(edge).kind, punch.round, now)
        punch.attempts.append(punch.record)
        self._tell(edge, now)
        if heard:
            self._run(edge, now, answering=True)

    def _tell(self, edge: RemoteEdge, now: float) -> None:
        self._call(edge, now)
        edge.punch.called_at = now
        edge.punch.call_at = now + CALL_AGAIN_S

    def _run(self, edge: RemoteEdge, now: float, *, answering: bool) -> None:
        """Both ends have said "now". `answering`: we have just done so, the peer has not heard it yet."""
        punch, ours, target = edge.punch, self.plan_with(edge), self.target_of(edge)
        allowed = ours.kind.is_attempt and self._is_allowed(ours) and ours.packets <= PACKETS_MAX
        if target is None or not allowed:
            self.stop(edge, Result.STOPPED, now)
            return
        before = self._continued(edge, ours, target, now)
        if before is None:
            punch.numbers += self._numbers.take(ours.sockets, now)
        numbers = list(punch.numbers) if before is None else before.numbers
        ports = self._ports(edge, ours) if before is None else before.ports
        if punch.record is not None:
            punch.record.kind, punch.record.round = ours.kind, punch.round
            punch.record.side_sockets = len(punch.numbers)
        punch.tries[ours.kind] = punch.tries.get(ours.kind, 0) + 1
        punch.step, punch.until, punch.call_at = Step.RUNNING, float("inf"), float("inf")
        wait_s = peers_turn_s(edge) if answering else 0.0
        punch.running = Running(ours, target, numbers, ports, now, wait_s)
        punch.running.scattered = 0 if before is None else before.scattered
        self._node.wake_peer(edge, now)

    def _continued(self, edge: RemoteEdge, ours: Plan, target: Address, now: float) -> Running | None:
        """The attempt before this one, if its sockets are to be used again, and its ports gone on with."""
        punch = edge.punch
        before, punch.before = punch.before, None
        if before is None:
            return None
        if now < punch.useful_until and before.target == target and before.plan.kind is ours.kind:
            return before
        self._close_unused(edge, now)
        return None

    def _ports(self, edge: RemoteEdge, ours: Plan) -> list[int]:
        """Of the peer's, in the order in which they are to be tried."""
        aims = {spray.aim: spray for spray in ours.sprays}
        if Aim.NEXT in aims:
            spray = aims[Aim.NEXT]
            return predicted_ports(allocation_of(edge.punch.nat), spray.packets, shifted=spray.shifted)
        if Aim.ANY in aims:
            low, high = ports_of(ours.kind, edge.punch.nat)
            count = min(aims[Aim.ANY].packets, high - low + 1)
            seed = int.from_bytes(self._node.random_bytes(8), "big")
            return list(islice(scattered(low, high, seed), count))
        return []

    # ---- datagrams

    def _send_some(self, edge: RemoteEdge, running: Running, spray: Spray, now: float) -> bool:
        """As much of a spray as the pace allows; True when it is done."""
        packets = spray.packets
        if spray.sockets:
            if not running.numbers:
                return True
            if spray.aim is Aim.REFLEXIVE:
                packets = min(packets, len(running.numbers))
        for _ in range(self._pace.take(packets - running.sent, now)):
            index = running.scattered if spray.aim is Aim.ANY else running.sent
            if not self._send_one(edge, running, spray, index, now):
                break  # that host gets enough from us in this second: later
            running.sent += 1
            running.scattered += spray.aim is Aim.ANY
        return running.sent >= packets

    def _send_one(self, edge: RemoteEdge, running: Running, spray: Spray, index: int, now: float) -> bool:
        host, port = running.target
        lap, place = 0, index
        if spray.aim is not Aim.REFLEXIVE:
            lap, place = divmod(index, len(running.ports))
            port = running.ports[place]
        address: Address = (host, port)
        if spray.sockets:  # a lap later another socket tries this port
            address = SideAddress(host, port, running.numbers[(place + lap) % len(running.numbers)])
        if spray.opener:
            sent = self._node.send_opener(edge, address, self._opener_ttl(), now, spray=True)
        else:
            sent = bool(self._node.send_probe(edge, (address, b""), now, spray=True))
        record = edge.punch.record
        if record is not None:
            record.openers += sent and spray.opener
            record.probes += sent and not spray.opener
        return sent

    def _check_new_paths(self, edge: RemoteEdge, running: Running, now: float) -> None:
        """What came back showed a new way: it gets all checks, not the one probe only that it triggered."""
        for via, path in edge.paths.by_via.items():
            if path.created_at >= running.began_at and path.valid_at is None and via not in running.checked:
                running.checked.add(via)
                edge.paths.check(path, now)

    # ---- side sockets

    def _tidy(self, edge: RemoteEdge, now: float) -> float:
        """Close side sockets that no path needs any more; when to look again."""
        look_at = float("inf")
        for via, path in list(edge.paths.by_via.items()):
            if not socket_number(via[0]) or path is edge.paths.selected:
                continue
            kept_until = max(path.created_at, path.heard_at) + SIDE_PATH_KEPT_S
            if now >= kept_until:
                edge.paths.remove(via)
            else:
                look_at = min(look_at, kept_until)
        if edge.punch.before is not None and now < edge.punch.useful_until:
            return min(look_at, edge.punch.useful_until)
        edge.punch.before = None
        self._close_unused(edge, now)
        return look_at

    def _close_unused(self, edge: RemoteEdge, now: float) -> None:
        numbers = edge.punch.numbers
        if not numbers or edge.punch.before is not None:
            return
        used = {socket_number(via[0]) for via in edge.paths.by_via}
        unused = [number for number in numbers if number not in used]
        edge.punch.numbers = [number for number in numbers if number in used]
        self._node.close_side_sockets(unused)
        self._numbers.give_back(unused, now)
