"""What becomes of datagrams that did not get there: what our own host says, and what ICMP errors say.

local   no route, link down         the path has failed: nothing leaves this host that way
        forbidden by a firewall     doubt: a full connection table says so too, for a moment
        longer than the link's MTU  its size goes down
ICMP    unreachable, refused ...    doubt. Anybody can forge these, so the peer itself is asked at once, and only
                                    its silence fails the path
        too big                     its size is asked for at once
"""

from __future__ import annotations

from enum import Enum
from errno import (
    EACCES,
    EADDRNOTAVAIL,
    ECONNREFUSED,
    EHOSTUNREACH,
    EMSGSIZE,
    ENETDOWN,
    ENETUNREACH,
    ENOPROTOOPT,
    EPERM,
    EPROTO,
)
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from l2mesh.core.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l2mesh.core.path_care import PathCare
    from l2mesh.core.peer import Via
    from l2mesh.core.remote_edge import RemoteEdge
    from l2mesh.core.supernode_link import SupernodeLink
    from l2mesh.wire.address import Address

ERRORS_PER_SECOND: Final = 50.0
ERRORS_BURST: Final = 200.0
"""Each costs a look at every peer, 0.1 ms with a thousand of them. Others are found out by probes."""

REASONS: Final = {
    EACCES: "forbidden by a firewall",
    EADDRNOTAVAIL: "our address is gone",
    ECONNREFUSED: "nobody listens there",
    EHOSTUNREACH: "host unreachable",
    EMSGSIZE: "too large",
    ENETDOWN: "network down",
    ENETUNREACH: "network unreachable",
    EPERM: "forbidden by a firewall",
}
GONE: Final = frozenset({EADDRNOTAVAIL, EHOSTUNREACH, ENETDOWN, ENETUNREACH})
"""Of those that our own host says: nothing is sent there until an address, a route or a link changes."""
UNREACHABLE: Final = frozenset({*GONE, EACCES, ECONNREFUSED, ENOPROTOOPT, EPERM, EPROTO})
"""What the kernel makes of ICMP errors (icmp_err_convert), and of a firewall's word."""


class Effect(Enum):
    GONE = "gone"
    DOUBT = "in doubt"
    TOO_LARGE = "too large"


class SendError(NamedTuple):
    effect: Effect
    reason: str
    local: bool


class SendErrorsNode(Protocol):
    """What this needs of its edge."""

    edges: dict[bytes, RemoteEdge]

    def links_at(self, address: Address) -> list[SupernodeLink]: ...


class SendErrors:
    """Door: receive."""

    def __init__(self, node: SendErrorsNode, care: PathCare, now: float) -> None:
        self._node = node
        self._care = care
        self._limits = {local: TokenBucket(ERRORS_PER_SECOND, ERRORS_BURST, now) for local in (True, False)}

    def receive(self, address: Address, errno: int, local: bool, now: float) -> None:
        error = classify(errno, local)
        if error is None or not self._limits[local].take(1, now):
            return
        edges = list(self._node.edges.values())
        direct = (address, b"")
        there = [edge for edge in edges if direct in edge.paths.by_via]
        for edge in there:
            self._care.send_failed(edge, direct, error, now)
        links = self._node.links_at(address)
        for link in links:
            link.check(now)
        relays = [edge for edge in there if edge.relays]
        if links or relays:
            for edge in edges:
                for via in _relayed(edge, links, relays, address):
                    self._care.send_failed(edge, via, error, now)


def classify(errno: int, local: bool) -> SendError | None:
    """None: it says nothing of the path (a full queue, say)."""
    if errno == EMSGSIZE:
        effect = Effect.TOO_LARGE
    elif local and errno in GONE:
        effect = Effect.GONE
    elif errno in UNREACHABLE:
        effect = Effect.DOUBT
    else:
        return None
    return SendError(effect, REASONS.get(errno, f"ICMP error (errno {errno})"), local)


def _relayed(
    edge: RemoteEdge, links: list[SupernodeLink], relays: list[RemoteEdge], address: Address
) -> Iterator[Via]:
    """The ways to a peer by supernodes, and by members, that are there."""
    by_supernode = [edge.channels[link] for link in links if link in edge.channels]
    by_member = [edge.member_channels[relay].via for relay in relays if relay in edge.member_channels]
    yield from (via for via in by_supernode + by_member if via[0] == address)
