"""How a NAT treats a node's UDP, in RFC 4787's words; what others are told of it is wire.control.NatReport.

Found out by nat_discovery.py; what follows from which answers is said in nat_classes.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from l2mesh.wire.address import Address
from l2mesh.wire.control import NatReport

PORTS_LOW: Final = 1024
PORTS_HIGH: Final = 65535
"""What a NAT allocates from that has no block: the ports below are servers' (RFC 4787, section 4.2.1)."""


class Mapping(IntEnum):
    """On the wire. Which outside port a datagram leaves by: a new one for each ..."""

    UNKNOWN = 0
    NONE = 1
    """There is no NAT: the outside sees the host's own address."""
    ENDPOINT_INDEPENDENT = 2
    ADDRESS_DEPENDENT = 3
    ADDRESS_AND_PORT_DEPENDENT = 4
    DESTINATION_DEPENDENT = 5
    """One of the two before: no server showed two ports at one address."""

    @property
    def depends_on_destination(self) -> bool:
        return self >= Mapping.ADDRESS_DEPENDENT


class Filtering(IntEnum):
    """On the wire. Who may send to a mapped port (or, without a NAT, through a firewall)."""

    UNKNOWN = 0
    ENDPOINT_INDEPENDENT = 1
    ADDRESS_DEPENDENT = 2
    ADDRESS_AND_PORT_DEPENDENT = 3


class AllocationKind(Enum):
    """Which port a new mapping gets, where mappings depend on the destination."""

    UNKNOWN = "unknown"
    SEQUENTIAL = "sequential"
    """The last one and a step."""
    BLOCK = "block"
    """Any of a part of all ports, as carriers give one to each subscriber."""
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Allocation:
    """`low` to `high`: the ports it is from, estimated for a block. `step` and `last`: of a sequence."""

    kind: AllocationKind = AllocationKind.UNKNOWN
    low: int = 0
    high: int = 0
    step: int = 0
    last: int = 0


NO_ALLOCATION: Final = Allocation()


@dataclass(frozen=True, slots=True)
class ServerFinding:
    """What one address of a server showed. `reflexive` None: it has not answered, now or ever.

    `rtt` is in seconds, and None where a repeated request makes it ambiguous (RFC 6298, Karn).
    """

    name: str
    address: Address
    reflexive: Address | None = None
    rtt: float | None = None
    other: Address | None = None
    """Where else it says it is (RFC 5780's OTHER-ADDRESS)."""


@dataclass(frozen=True, slots=True)
class NatBehaviour:
    """What was found out for one IP version. All unknown, no servers: nothing was asked yet."""

    mapping: Mapping = Mapping.UNKNOWN
    filtering: Filtering = Filtering.UNKNOWN
    allocation: Allocation = NO_ALLOCATION
    servers: tuple[ServerFinding, ...] = ()
    samples: tuple[int, ...] = ()
    """Outside ports of side sockets, in the order in which they were taken."""
    hairpin: bool | None = None
    """Whether what we send to our own outside address comes back in. None: not tried, for there is no NAT, or one
    whose outside address is another one for each who sends to it."""
    found_at: float | None = None
    """When the survey that says so ended."""

    @property
    def answered(self) -> bool:
        """Whether any server was heard: if none was though asked, UDP does not get out, or not back."""
        return any(server.reflexive is not None for server in self.servers)

    def reflexive_addresses(self) -> list[Address]:
        """Where servers see our main socket, each once, in the servers' order."""
        return list(dict.fromkeys(one.reflexive for one in self.servers if one.reflexive is not None))

    def report(self) -> NatReport:
        allocation = self.allocation
        return NatReport(
            self.mapping, self.filtering, allocation.low, allocation.high, allocation.step, allocation.last
        )


UNKNOWN_BEHAVIOUR: Final = NatBehaviour()


# A peer's report. Code points of a later version are unknown to us.


def mapping_of(report: NatReport) -> Mapping:
    return Mapping(report.mapping) if report.mapping in set(Mapping) else Mapping.UNKNOWN


def filtering_of(report: NatReport) -> Filtering:
    return Filtering(report.filtering) if report.filtering in set(Filtering) else Filtering.UNKNOWN


def allocation_of(report: NatReport) -> Allocation:
    """What a peer says of its allocation; unknown where that makes no sense."""
    if not 0 < report.low <= report.high:
        return NO_ALLOCATION
    if report.step:
        kind = AllocationKind.SEQUENTIAL
    elif (report.low, report.high) == (PORTS_LOW, PORTS_HIGH):
        kind = AllocationKind.RANDOM
    else:
        kind = AllocationKind.BLOCK
    return Allocation(kind, report.low, report.high, report.step, report.last)
