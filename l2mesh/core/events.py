"""What an engine tells humans: rare changes, for the log and the management socket. Never on the hot path.

Nothing a stranger sends makes an event: strangers are counted (drops.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from l2mesh.core.mapping_values import Verdict
from l2mesh.core.nat import NatBehaviour
from l2mesh.wire.address import Address


@dataclass(frozen=True, slots=True)
class SupernodeReached:
    """Registered; `observed` is where our datagrams come from, as this supernode sees it."""

    supernode: str
    observed: str


@dataclass(frozen=True, slots=True)
class SupernodeLost:
    supernode: str
    reason: str


@dataclass(frozen=True, slots=True)
class SupernodeTrusted:
    """Trust on first use: the file can pin this key by `supernodes = ["…#KEY"]`."""

    supernode: str
    pinned: str


@dataclass(frozen=True, slots=True)
class SupernodeRefused:
    supernode: str
    reason: str


@dataclass(frozen=True, slots=True)
class PeerUp:
    peer: str
    path: str


@dataclass(frozen=True, slots=True)
class PeerDown:
    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class PathChanged:
    peer: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class StationMoved:
    """A MAC address was heard behind another edge than before: a moved machine, or a thief."""

    station: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class PeerRefused:
    """A directory lists a node that proved to be no member (its certificate, say)."""

    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class ProbeAnswered:
    """A probe that the API asked for came back; `rtt` in seconds."""

    transaction: bytes
    rtt: float


@dataclass(frozen=True, slots=True)
class MappingChecked:
    """Whether supernodes reach us at an address that a router mapped to us; `detail` in words."""

    address: Address
    verdict: Verdict
    detail: str


@dataclass(frozen=True, slots=True)
class NatFound:
    """The NAT before us, for one IP version, is of a class that was not known before."""

    version: int
    nat: NatBehaviour


@dataclass(frozen=True, slots=True)
class EdgeRegistered:
    """At a supernode: a member of a network came."""

    network: str
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class EdgeLeft:
    network: str
    name: str
    reason: str


Event = (
    SupernodeReached
    | SupernodeLost
    | SupernodeTrusted
    | SupernodeRefused
    | PeerUp
    | PeerDown
    | PathChanged
    | StationMoved
    | PeerRefused
    | ProbeAnswered
    | MappingChecked
    | NatFound
    | EdgeRegistered
    | EdgeLeft
)
