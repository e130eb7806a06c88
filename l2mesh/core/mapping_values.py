"""What is said of a port mapping, and what is remembered of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from ipaddress import ip_address, ip_network
from typing import Final

from l2mesh.core.candidates import is_private
from l2mesh.core.mapping_protocols import MappingProtocol
from l2mesh.wire.address import Address, is_sendable

SHARED: Final = ip_network("100.64.0.0/10")
"""RFC 6598: what a carrier's NAT gives to its customers."""
RESERVED: Final = (ip_network("0.0.0.0/8"), ip_network("240.0.0.0/4"))
"""RFC 1122, section 3.2.1.3; RFC 1112, section 4."""


class MappingState(StrEnum):
    """As `l2mesh status` shows it; port_mapping.py says what each is."""

    OFF = "off"
    ASKING = "asking"
    CHECKING = "checking"
    OPEN = "open"
    NONE = "none"


class Verdict(Enum):
    """Of a check from outside."""

    REACHED = "reached"
    UNREACHED = "not reached"
    ELSEWHERE = "not our address"
    """The supernodes hear us from another one: there is one more NAT."""
    UNPROVEN = "unproven"
    """Nobody could try, or it proves nothing."""


@dataclass(slots=True)
class MappingMemory:
    """From one start to the next, so that a mapping that was left is taken over.

    `nonce` proves to a PCP router that a mapping is ours. `upnp_port`: where UPnP mapped us, 0 when that was
    deleted: some routers know only mappings without an end.
    """

    nonce: bytes = b""
    external_port: int = 0
    upnp_port: int = 0


@dataclass(frozen=True, slots=True)
class MappingStatus:
    """`reason` in words, empty when there is nothing to say. `double_nat`: a hint that there is one more NAT."""

    state: MappingState = MappingState.OFF
    protocol: MappingProtocol | None = None
    external: Address | None = None
    reason: str = ""
    double_nat: bool = False


def is_behind_nat(host: str) -> bool:
    """Whether a router with this IPv4 address outside has one more NAT before it."""
    return ":" not in host and (is_private(host) or ip_address(host) in SHARED)


def is_public(host: str) -> bool:
    """Whether hosts outside could send to this IPv4 address. Networks for documentation and benchmarks are as good
    as any, so that a lab can be made of them.
    """
    return (
        is_sendable((host, 1)) and not is_behind_nat(host) and not any(ip_address(host) in one for one in RESERVED)
    )
