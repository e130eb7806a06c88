"""NATs and firewalls, each described by a value in RFC 4787's words, and the table that behaves so.

Three questions place a NAT. *Mapping* (section 4.1): which outside port does a packet leave by, a new one for
each inside endpoint (EI), or also for each remote address (AD), or for each remote address and port (APD)?
*Filtering* (section 5): who may send to that port, anyone (EI), addresses it has sent to (AD), or addresses
and ports it has sent to (APD)? *Allocation* (4.2): which port is taken for a new mapping?

Three more are Linux': is an outside port used again towards another remote (`Nat.overloads`), does the router
accept what comes to itself unasked (`accepts_input`), and does a flow that became two-way live longer
(`stream_timeout`)?

Not modelled: several outside addresses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from l2mesh.simulator.engine import Address


class Dependence(Enum):
    """What a mapping or a filter looks at on the far side."""

    EI = "nothing"
    AD = "address"
    APD = "address and port"

    def part_of(self, remote: Address) -> object:
        """The part of a remote endpoint that is looked at."""
        if self is Dependence.EI:
            return None
        return remote if self is Dependence.APD else remote[0]


EI, AD, APD = Dependence

STREAM_AFTER = 2.0
"""Seconds after its first packet from which a two-way flow gets the longer timeout (nf_conntrack_proto_udp.c)."""


class Allocation(Enum):
    """Which outside port a new mapping gets, out of `Nat.block`."""

    PRESERVING = "the inside port; a random one if that is taken or not in the block"
    RANDOM = "any"
    SEQUENTIAL = "the next one"


@dataclass(frozen=True, slots=True)
class Nat:
    """How a NAT behaves. The default is the ordinary home router and plain Linux masquerade: EIM/APDF."""

    mapping: Dependence = EI
    filtering: Dependence = APD
    allocation: Allocation = Allocation.PRESERVING
    block: tuple[int, int] = (1024, 65535)
    """First and last port this NAT hands out: a carrier's NAT often has 2048 for each customer."""
    timeout: float = 30.0
    """Seconds a mapping, and a permission to send to it, live after the last packet that refreshed them."""
    refreshed_by_inbound: bool = False
    """Whether packets from outside refresh too (RFC 4787 REQ-6: those from inside must, these may)."""
    hairpin: bool = False
    """Whether inside hosts reach one another by their outside endpoints (REQ-9)."""
    overloads: bool = False
    """Whether a port serves several flows whose remotes differ: Linux' conntrack knows flows only. So a
    mapping is one
    flow's (mapping and filtering are APD). Plain masquerade preserves its port, and behaves like EI as long as no
    other host inside has the same port, nor the router.
    """
    stream_timeout: float | None = None
    """Seconds a flow lives after its last packet, either way, once it was two-way for STREAM_AFTER; None: it is
    treated like any other."""
    accepts_input: bool = False
    """A packet from outside that is nobody's inside goes to the router itself, which takes it and notes a flow. A
    packet of ours to that remote, should it come later, finds the port in use and leaves by another one."""

    def __post_init__(self) -> None:
        if not 1 <= self.block[0] <= self.block[1] <= 65535:
            raise ValueError(f"{self.block} is not a block of ports")
        if self.overloads and not self.mapping is self.filtering is APD:
            raise ValueError("a port that is overloaded leads inside by its remote only")


HOME = Nat()
LINUX = Nat(mapping=APD, overloads=True, stream_timeout=120.0)
"""Masquerade with the kernel's default timeouts. EIM/APDF for most purposes."""
FULL_CONE = Nat(filtering=EI, hairpin=True)
SYMMETRIC = Nat(mapping=APD, allocation=Allocation.RANDOM)
CARRIER = Nat(mapping=APD, allocation=Allocation.RANDOM, block=(20000, 22047), hairpin=True)


@dataclass(frozen=True, slots=True)
class Firewall:
    """A filter without translation, before public addresses: what RFC 6092 asks of an IPv6 home router."""

    filtering: Dependence = APD
    timeout: float = 30.0


@dataclass(slots=True)
class Permit:
    """One permission to send in; where filtering is APD, one flow."""

    expires_at: float
    stream_from: float
    answered: bool = False


class FirewallTable:
    """Who may send to which inside endpoint, until when."""

    def __init__(self, firewall: Firewall, stream_timeout: float | None = None) -> None:
        self.firewall = firewall
        self._stream_timeout = stream_timeout
        self._permits: dict[tuple[Address, object], Permit] = {}

    def outbound(self, inside: Address, remote: Address, now: float) -> float:
        """Note the permission; until when it holds."""
        key = (inside, self.firewall.filtering.part_of(remote))
        permit = self._permits.get(key)
        if permit is None or permit.expires_at <= now:
            permit = self._permits[key] = Permit(now, now + STREAM_AFTER)
        return self._refresh(permit, now)

    def admits(self, remote: Address, inside: Address, now: float) -> bool:
        permit = self._permits.get((inside, self.firewall.filtering.part_of(remote)))
        if permit is None or permit.expires_at <= now:
            return False
        permit.answered = True
        if self._stream_timeout is not None:
            self._refresh(permit, now)
        return True

    def flush(self) -> None:
        self._permits.clear()

    def _refresh(self, permit: Permit, now: float) -> float:
        lives = self.firewall.timeout
        if self._stream_timeout is not None and permit.answered and now > permit.stream_from:
            lives = self._stream_timeout
        permit.expires_at = now + lives
        return permit.expires_at


@dataclass(slots=True)
class Mapping:
    """One inside endpoint's outside port."""

    key: tuple[Address, object]
    inside: Address
    outside: Address
    expires_at: float
    permit_holder: Address
    """For which endpoint permissions to send are noted.

    The inside one, by RFC 4787 section 5. But one that filters by port finds a packet's mapping by both ends,
    as Linux' conntrack does: there it is the outside one.
    """


class NatTable:
    """The mappings of one NAT with one outside address."""

    def __init__(self, nat: Nat, address: str, random: Random) -> None:
        self.nat = nat
        self.address = address
        self._random = random
        self._mappings: dict[tuple[Address, object], Mapping] = {}
        self._by_port: dict[tuple[int, Address | None], Mapping] = {}
        """By outside port, and by remote where ports are overloaded."""
        self._filter = FirewallTable(Firewall(nat.filtering, nat.timeout), nat.stream_timeout)
        self._next_port = nat.block[0]
        self._own_flows: dict[tuple[int, Address], float] = {}
        """(our port, remote) of what came to the router itself, and until when."""
        self.forwards: dict[int, Address] = {}
        """Outside ports that are mapped for anybody to send to, as PCP, NAT-PMP and UPnP do it."""
        self._forwarded: dict[tuple[Address, Address], int] = {}

    def outbound(self, inside: Address, remote: Address, now: float) -> Address | None:
        """The endpoint that a packet from `inside` to `remote` leaves from; None if every port is taken."""
        answering = self._forwarded.get((inside, remote))
        if answering in self.forwards:
            return self.address, answering
        mapping = self._mapping_for(inside, remote, now)
        if mapping is None:
            return None
        self._keep(mapping, self._filter.outbound(mapping.permit_holder, remote, now))
        return mapping.outside

    def inbound(self, remote: Address, port: int, now: float) -> Address | None:
        """The endpoint inside that a packet from `remote` to our `port` goes to; None if it does not pass."""
        if port in self.forwards:
            inside = self.forwards[port]
            flow = self._live((inside, self.nat.mapping.part_of(remote)), now)
            if flow is None or not self._filter.admits(remote, flow.permit_holder, now):
                self._forwarded[inside, remote] = port
            return inside
        mapping = self._by_port.get(self._slot(port, remote))
        if mapping is None or mapping.expires_at <= now:
            self._take_in(port, remote, now)
            return None
        if not self._filter.admits(remote, mapping.permit_holder, now):
            if self.nat.filtering is APD:  # the others know it as a mapping's, and drop it
                self._take_in(port, remote, now)
            return None
        if self.nat.refreshed_by_inbound or self.nat.stream_timeout is not None:
            self._keep(mapping, self._filter.outbound(mapping.permit_holder, remote, now))
        return mapping.inside

    def flush(self) -> None:
        """Forget everything, as a router does that was switched off and on."""
        self._mappings.clear()
        self._by_port.clear()
        self._filter.flush()
        self._own_flows.clear()
        self.forwards.clear()
        self._forwarded.clear()

    def live_mappings(self, now: float) -> list[Mapping]:
        """For tests and drawings."""
        return [mapping for mapping in self._mappings.values() if mapping.expires_at > now]

    def _mapping_for(self, inside: Address, remote: Address, now: float) -> Mapping | None:
        flow = (inside, remote)
        mapping = self._live(flow, now)  # for this remote alone: so all are, or it was a detour
        if mapping is not None or self.nat.mapping is APD:
            return mapping or self._new_mapping(flow, remote, now)
        key = (inside, self.nat.mapping.part_of(remote))
        mapping = self._live(key, now) or self._new_mapping(key, None, now)
        if mapping is None or not self._is_own_flow(mapping.outside[1], remote, now):
            return mapping
        return self._new_mapping(flow, remote, now)

    def _live(self, key: tuple[Address, object], now: float) -> Mapping | None:
        mapping = self._mappings.get(key)
        return mapping if mapping is not None and mapping.expires_at > now else None

    def _take_in(self, port: int, remote: Address, now: float) -> None:
        if self.nat.accepts_input:
            self._own_flows[port, remote] = now + self.nat.timeout

    def _is_own_flow(self, port: int, remote: Address, now: float) -> bool:
        return self._own_flows.get((port, remote), 0.0) > now

    def _keep(self, mapping: Mapping, until: float) -> None:
        """A mapping lives as long as one of its flows."""
        mapping.expires_at = max(mapping.expires_at, until)

    def _new_mapping(self, key: tuple[Address, object], remote: Address | None, now: float) -> Mapping | None:
        """`remote`: whom alone it is for."""
        inside = key[0]
        for port in self._ports_to_try(inside[1]):
            if self._is_free(port, remote, now):
                outside = (self.address, port)
                holder = outside if self.nat.filtering is APD else inside
                mapping = Mapping(key, inside, outside, now + self.nat.timeout, holder)
                self._mappings[key] = self._by_port[self._slot(port, remote)] = mapping
                self._next_port = port + 1
                return mapping
        return None

    def _slot(self, port: int, remote: Address | None) -> tuple[int, Address | None]:
        return port, remote if self.nat.overloads else None

    def _is_free(self, port: int, remote: Address | None, now: float) -> bool:
        if remote is not None and self._is_own_flow(port, remote, now):
            return False
        holder = self._by_port.get(self._slot(port, remote))
        if holder is None:
            return True
        if holder.expires_at > now:
            return False
        if self._mappings.get(holder.key) is holder:
            del self._mappings[holder.key]
        return True

    def _ports_to_try(self, inside_port: int) -> Iterator[int]:
        first, last = self.nat.block
        if self.nat.allocation is Allocation.PRESERVING and first <= inside_port <= last:
            yield inside_port
        start = self._next_port
        if self.nat.allocation is not Allocation.SEQUENTIAL:
            for _ in range(16):  # then the block is nearly full, and any free port will do
                start = self._random.randint(first, last)
                yield start
        for step in range(last - first + 1):
            yield first + (start - first + step) % (last - first + 1)
