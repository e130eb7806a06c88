"""NATs and firewalls, each described by a value in RFC 4787's words, and the table that behaves so.

Three questions place a NAT. *Mapping* (section 4.1): which outside port does a packet leave by, a new one for
each inside endpoint (EI), or also for each remote address (AD), or for each remote address and port (APD)?
*Filtering* (section 5): who may send to that port, anyone (EI), addresses it has sent to (AD), or addresses
and ports it has sent to (APD)? *Allocation* (4.2): which port is taken for a new mapping?

Not modelled: several outside addresses, and Linux' port overloading (one outside port for two inside hosts if
their remotes differ), which lies between EI and APD.
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

    def __post_init__(self) -> None:
        if not 1 <= self.block[0] <= self.block[1] <= 65535:
            raise ValueError(f"{self.block} is not a block of ports")


HOME = Nat()
FULL_CONE = Nat(filtering=EI, hairpin=True)
SYMMETRIC = Nat(mapping=APD, allocation=Allocation.RANDOM)
CARRIER = Nat(mapping=APD, allocation=Allocation.RANDOM, block=(20000, 22047), hairpin=True)


@dataclass(frozen=True, slots=True)
class Firewall:
    """A filter without translation, before public addresses: what RFC 6092 asks of an IPv6 home router."""

    filtering: Dependence = APD
    timeout: float = 30.0


class FirewallTable:
    """Who may send to which inside endpoint, until when."""

    def __init__(self, firewall: Firewall) -> None:
        self.firewall = firewall
        self._permits: dict[tuple[Address, object], float] = {}

    def outbound(self, inside: Address, remote: Address, now: float) -> None:
        self._permits[inside, self.firewall.filtering.part_of(remote)] = now + self.firewall.timeout

    def admits(self, remote: Address, inside: Address, now: float) -> bool:
        return self._permits.get((inside, self.firewall.filtering.part_of(remote)), 0.0) > now

    def flush(self) -> None:
        self._permits.clear()


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
        self._by_port: dict[int, Mapping] = {}
        self._filter = FirewallTable(Firewall(nat.filtering, nat.timeout))
        self._next_port = nat.block[0]

    def outbound(self, inside: Address, remote: Address, now: float) -> Address | None:
        """The endpoint that a packet from `inside` to `remote` leaves from; None if every port is taken."""
        nat = self.nat
        key = (inside, nat.mapping.part_of(remote))
        mapping = self._mappings.get(key)
        if mapping is None or mapping.expires_at <= now:
            mapping = self._new_mapping(key, inside, now)
            if mapping is None:
                return None
        mapping.expires_at = now + nat.timeout
        self._filter.outbound(mapping.permit_holder, remote, now)
        return mapping.outside

    def inbound(self, remote: Address, port: int, now: float) -> Address | None:
        """The endpoint inside that a packet from `remote` to our `port` goes to; None if it does not pass."""
        mapping = self._by_port.get(port)
        if mapping is None or mapping.expires_at <= now:
            return None
        if not self._filter.admits(remote, mapping.permit_holder, now):
            return None
        if self.nat.refreshed_by_inbound:
            mapping.expires_at = now + self.nat.timeout
            self._filter.outbound(mapping.permit_holder, remote, now)
        return mapping.inside

    def flush(self) -> None:
        """Forget everything, as a router does that was switched off and on."""
        self._mappings.clear()
        self._by_port.clear()
        self._filter.flush()

    def live_mappings(self, now: float) -> list[Mapping]:
        """For tests and drawings."""
        return [mapping for mapping in self._mappings.values() if mapping.expires_at > now]

    def _new_mapping(self, key: tuple[Address, object], inside: Address, now: float) -> Mapping | None:
        for port in self._ports_to_try(inside[1]):
            if self._is_free(port, now):
                outside = (self.address, port)
                holder = outside if self.nat.filtering is APD else inside
                mapping = Mapping(key, inside, outside, now, holder)
                self._mappings[key] = self._by_port[port] = mapping
                self._next_port = port + 1
                return mapping
        return None

    def _is_free(self, port: int, now: float) -> bool:
        holder = self._by_port.get(port)
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
