"""Has a router map a port to us, keeps the mapping, and gives it back: PCP, then NAT-PMP, then UPnP.

    OFF        not wanted, or there is no router to ask
    ASKING     a protocol is tried; the next when it is refused, or four tries have no answer. UPnP only when the
               others did not understand us: a router that said no to them means no
    CHECKING   the router promised an address. Routers lie: whether it keeps its promise, a supernode finds out
    OPEN       a supernode reached us there: a candidate
    NONE       no protocol serves; all again after 1, 5, 30, 30 ... minutes, or when the network changed

    OFF --> ASKING --> CHECKING --> OPEN
             ^  |         |          |
             |  v         v          |
             | NONE     ASKING       |    not reached: deleted, and the next protocol
             '-----------------------'    not reached any more: deleted, and made anew at another port

A mapping is renewed when half of its lifetime is over, and checked again then; without an answer it is asked for
again and again until it has run out. It is made anew when the router announces that it lost it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from l2mesh.core.mapping_exchange import Exchange
from l2mesh.core.mapping_protocols import (
    Deleted,
    Denied,
    EpochWatch,
    Gateway,
    Granted,
    MappingProtocol,
    Outcome,
    Silent,
    UpnpJob,
    parse_announcement,
)
from l2mesh.core.mapping_values import (
    MappingMemory,
    MappingState,
    MappingStatus,
    Verdict,
    is_behind_nat,
    is_public,
)
from l2mesh.wire.address import Address, format_address, ip_version
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.pcp import NONCE_SIZE

LIFETIME_S: Final = 3600
"""Asked for. What a killed edge leaves at its router ends within the hour; a renewal each half hour is nothing,
and a mapping that a router lost in silence is back after as long."""
RENEW_LEAST_S: Final = 30.0
"""Between renewals, however short the lifetime a router gives and often the network changes."""
RENEW_SPREAD: Final = 1 / 8
"""Of the lifetime: RFC 6887, section 11.2.1, renews between 1/2 and 5/8 of it."""
AGAIN_S: Final = (60.0, 300.0, 1800.0)
ANNOUNCED_EVERY_S: Final = 10.0
"""Announcements can be forged by anybody on the LAN, and a router repeats its own: one counts in this time."""
FIRST_PORT: Final = 49152
PORTS: Final = 16384
"""IANA's dynamic ports. Not our own port: the router's ordinary NAT may use that outside, and a probe to a port
that nothing else uses shows that the mapping is real."""
UPNP_PORTS: Final = 3
"""Tried one after the other where they are taken."""


class Aim(Enum):
    """What the exchange under way is for."""

    MAP = auto()
    RENEW = auto()
    DELETE_AND_MAP = auto()
    """By the same protocol, at another port."""
    DELETE_AND_GO_ON = auto()
    """To the next protocol."""
    DELETE_AND_REST = auto()
    CLOSE = auto()

    @property
    def deletes(self) -> bool:
        return self not in (Aim.MAP, Aim.RENEW)


class PortMapper:
    """One mapping, at one router. `claimed` is what the router promised, and is to be checked.

    Doors: begin, end, receive, receive_announcement, refused, job_done, checked, close, handle_timer;
    take_datagrams, take_job, next_deadline, status, closed.
    """

    def __init__(self, memory: MappingMemory, random_bytes: Callable[[int], bytes], version: int = 4) -> None:
        """`version`: 6 opens a firewall for our own IPv6 address, by PCP only, and nothing is to be checked."""
        memory.nonce = memory.nonce or random_bytes(NONCE_SIZE)
        self.memory = memory
        self.claimed: Address | None = None
        self.grants = 0
        """How often the router promised: each time it is to be checked."""
        self._random_bytes = random_bytes
        self._version = version
        self._order = tuple(MappingProtocol) if version == 4 else (MappingProtocol.PCP,)
        self._gateway: Gateway | None = None
        self._state = MappingState.OFF
        self._reason = ""
        self._double_nat = False
        self._exchange = Exchange(memory.nonce)
        self._aim = Aim.MAP
        self._protocol = 0
        self._refusals: list[str] = []
        self._final = False
        self._wait = 0.0
        self._remade = False
        self._gave_back = False
        self._rests = 0
        self._epoch = EpochWatch()
        self._due_at = float("inf")
        self._asked_at = float("-inf")
        self._expires_at = float("inf")
        self._announced_at = float("-inf")

    # ---- doors out

    @property
    def status(self) -> MappingStatus:
        asked = self._state not in (MappingState.OFF, MappingState.NONE)
        protocol = self._order[self._protocol] if asked else None
        return MappingStatus(self._state, protocol, self.claimed, self._reason, self._double_nat)

    @property
    def closed(self) -> bool:
        """There is nothing to give back (any more)."""
        return self._gateway is None

    def next_deadline(self) -> float:
        return min(self._due_at, self._exchange.next_at)

    def take_datagrams(self) -> list[bytes]:
        """For the router's UDP port 5351."""
        return self._exchange.take_datagrams()

    def take_job(self) -> UpnpJob | None:
        """Each is to be followed by job_done; meanwhile no other is to be taken."""
        return self._exchange.take_job()

    # ---- doors in

    def begin(self, gateway: Gateway, now: float) -> None:
        """Ask this router. Told again when the network changed: then a mapping is renewed, or all tried anew."""
        same, self._gateway = gateway == self._gateway, gateway
        if same and self._exchange.under_way:
            return
        if same and now - self._asked_at < RENEW_LEAST_S:
            return
        if same and self.claimed is not None:
            self._ask(Aim.RENEW, now)
            return
        if not same:
            self._epoch = EpochWatch()
        self._rests = 0
        self._start(now)

    def end(self, reason: str) -> None:
        """There is no router to ask."""
        self._gateway = self.claimed = None
        self._exchange.stop()
        self._due_at = float("inf")
        self._double_nat = False
        self._move_to(MappingState.OFF, reason)

    def close(self, now: float) -> None:
        """Give back what there is; `closed` tells when that is done."""
        if self._state in (MappingState.OFF, MappingState.NONE):
            self.end("")
        else:
            self._delete(Aim.CLOSE, "", now)

    def receive(self, datagram: bytes, now: float) -> None:
        """From the router's UDP port 5351."""
        self._answered(self._exchange.receive(datagram), now)

    def refused(self, now: float) -> None:
        """An ICMP error says that nothing listens at the router's port 5351."""
        self._answered(self._exchange.refused(), now)

    def job_done(self, job: UpnpJob, outcome: Outcome, now: float) -> None:
        if isinstance(outcome, Granted):
            self.memory.upnp_port = outcome.external[1]
        elif isinstance(outcome, Deleted):
            self.memory.upnp_port = 0
        self._answered(self._exchange.job_done(job, outcome), now)

    def receive_announcement(self, datagram: bytes, now: float) -> None:
        """From the router, to everybody on the LAN."""
        try:
            epoch, host = parse_announcement(datagram)
        except BadPacket:
            return
        if self._gateway is None or now - self._announced_at < ANNOUNCED_EVERY_S:
            return
        self._announced_at = now
        news = self._epoch.restarted(epoch, now) or (
            self.claimed is not None and host not in (None, self.claimed[0])
        )
        if self._exchange.under_way:
            return
        if self.claimed is None:
            self._start(now)
        elif news or self._order[self._protocol] is MappingProtocol.UPNP:
            self._ask(Aim.RENEW, now)

    def checked(self, address: Address, verdict: Verdict, reason: str, now: float) -> None:
        """What came of the check of `address`."""
        if address != self.claimed:
            return
        if verdict is Verdict.REACHED:
            self._remade = False
            self._rests = 0
            self._move_to(MappingState.OPEN, "")
        elif verdict is Verdict.UNPROVEN:
            self._reason = reason
        elif self._state is MappingState.OPEN and not self._remade:
            self._remade = True
            self._delete(Aim.DELETE_AND_MAP, reason, now)
        else:
            self._double_nat = verdict is Verdict.ELSEWHERE
            self._delete(Aim.DELETE_AND_GO_ON, reason, now)

    def handle_timer(self, now: float) -> None:
        self._answered(self._exchange.handle_timer(now), now)
        if now < self._due_at or self._exchange.under_way:
            return
        self._due_at = float("inf")
        if self.claimed is not None:
            self._ask(Aim.RENEW, now)
        else:
            self._start(now)

    # ---- asking

    def _start(self, now: float) -> None:
        self._protocol = 0
        self._refusals.clear()
        self._final = self._remade = self._double_nat = False
        self._wait = 0.0
        self.claimed = None
        self._ask(Aim.MAP, now)

    def _delete(self, aim: Aim, reason: str, now: float) -> None:
        self.claimed = None
        self._reason = reason
        self._ask(aim, now)

    def _ask(self, aim: Aim, now: float) -> None:
        assert self._gateway is not None
        self._aim, self._asked_at = aim, now
        self._due_at = float("inf")
        if aim is not Aim.RENEW:
            self._move_to(MappingState.ASKING, self._reason if aim.deletes else "")
        protocol, memory = self._order[self._protocol], self.memory
        if aim is Aim.MAP:
            memory.external_port = self._usable(memory.external_port)
        ports: tuple[int, ...] = (memory.external_port,)
        if protocol is MappingProtocol.UPNP and aim.deletes:
            ports = (memory.upnp_port or memory.external_port,)
        elif protocol is MappingProtocol.UPNP:
            ports += tuple(self._usable(0) for _ in range(UPNP_PORTS - 1))
        self._exchange.ask(protocol, self._gateway, ports, 0 if aim.deletes else LIFETIME_S, now)

    # ---- answers

    def _answered(self, outcome: Outcome | None, now: float) -> None:
        if outcome is None:
            return
        if self._aim.deletes:
            self._deleted(now)
        elif isinstance(outcome, Granted):
            self._granted(outcome, now)
        elif isinstance(outcome, Denied):
            self.claimed = None
            self._double_nat |= outcome.nat_between
            self._final |= outcome.final
            self._wait = max(self._wait, outcome.wait)
            self._go_on(outcome.reason, now)
        elif isinstance(outcome, Silent):
            self._unanswered(outcome.reason, now)

    def _granted(self, granted: Granted, now: float) -> None:
        if granted.epoch is not None:
            self._epoch.restarted(granted.epoch, now)
        self._double_nat = is_behind_nat(granted.external[0])
        if self._double_nat:
            reason = f"the router itself has no public address but {granted.external[0]}: there is one more NAT"
            self._delete(Aim.DELETE_AND_REST, reason, now)
            return
        if not self._is_usable(granted.external):
            reason = f"the router gives no usable address: {format_address(granted.external)}"
            self._delete(Aim.DELETE_AND_GO_ON, reason, now)
            return
        before, self.claimed = self.claimed, granted.external
        self.grants += 1
        self.memory.external_port = granted.external[1]
        spread = RENEW_SPREAD * int.from_bytes(self._random_bytes(1), "big") / 256
        self._expires_at = now + granted.lifetime
        self._due_at = now + max(RENEW_LEAST_S, granted.lifetime * (1 / 2 + spread))
        if self._version == 6:
            self._move_to(MappingState.OPEN, "")
        elif before != self.claimed:
            self._move_to(MappingState.CHECKING, "no supernode reached us there yet")
        self._give_back_upnp()

    def _is_usable(self, external: Address) -> bool:
        """Whether it may be true. A firewall without translation can only give our own."""
        assert self._gateway is not None
        if self._version == 6:
            return external == (self._gateway.own_host, self._gateway.own_port)
        return ip_version(external[0]) == 4 and is_public(external[0]) and external[1] != 0

    def _give_back_upnp(self) -> None:
        """What UPnP mapped in an earlier run may have no end, and now another protocol serves."""
        gateway, port = self._gateway, self.memory.upnp_port
        by_upnp = self._order[self._protocol] is MappingProtocol.UPNP
        if gateway is not None and port and not by_upnp and not self._gave_back:
            self._gave_back = True
            self._exchange.add_job(UpnpJob("delete", gateway.own_host, gateway.own_port, (port,), 0))

    def _unanswered(self, reason: str, now: float) -> None:
        if self._aim is Aim.RENEW and now < self._expires_at:
            self._reason = "the router does not answer"
            self._due_at = now + max(RENEW_LEAST_S, (self._expires_at - now) / 2)
        elif self._aim is Aim.RENEW:
            self._start(now)
        else:
            self._go_on(reason, now)

    def _deleted(self, now: float) -> None:
        """As far as we can bring it about."""
        if self._aim is Aim.CLOSE:
            self.end("")
            return
        self.memory.external_port = 0
        if self._aim is Aim.DELETE_AND_MAP:
            self._ask(Aim.MAP, now)
        elif self._aim is Aim.DELETE_AND_GO_ON:
            self._go_on(self._reason, now)
        else:
            self._rest(self._reason, now)

    # ---- moving on

    def _go_on(self, reason: str, now: float) -> None:
        """To the next protocol, if it may know better."""
        self._refusals.append(f"{self._order[self._protocol]}: {reason}")
        following = self._order[self._protocol + 1 :]
        if not following or (self._final and following[0] is MappingProtocol.UPNP):
            self._rest("; ".join(self._refusals), now)
            return
        self._protocol += 1
        self._ask(Aim.MAP, now)

    def _rest(self, reason: str, now: float) -> None:
        self._move_to(MappingState.NONE, reason)
        self._due_at = now + max(self._wait, AGAIN_S[min(self._rests, len(AGAIN_S) - 1)])
        self._rests += 1

    def _move_to(self, state: MappingState, reason: str) -> None:
        self._state, self._reason = state, reason

    def _usable(self, port: int) -> int:
        """This port outside, or a random one when it is 0 or our own."""
        own = self._gateway.own_port if self._gateway else 0
        while port in (0, own):
            port = FIRST_PORT + int.from_bytes(self._random_bytes(2), "big") % PORTS
        return port
