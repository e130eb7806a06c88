"""Candidates: addresses a node may be reached at. Terms are RFC 8445's (ICE), section 5.1.1.

What others say about addresses is a hint, never more: an address is used for frames only after a round trip
that only the peer itself can answer, and what may not be sent to at all is left out here.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

from l2mesh.wire.address import Address, ip_version, is_sendable
from l2mesh.wire.control import CANDIDATES_MAX, Candidate

PER_FAMILY_AND_SCOPE: Final = 8
"""Candidates of one IP version and scope (private or global) that are tried for a peer."""

CACHE_SIZE: Final = 4096
"""Addresses that were looked at: parsing one costs as much as sealing a datagram."""


PRIVATE: Final = tuple(ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
"""RFC 1918 and RFC 4193. Not 100.64/10: those hosts have a carrier's NAT before them, not a LAN around them."""


class Origin(IntEnum):
    """How a candidate was found; on the wire."""

    HOST = 0
    SERVER_REFLEXIVE = 1
    PEER_REFLEXIVE = 2
    CONFIGURED = 3
    MAPPED = 4
    """The router was asked to map it, and a supernode reached it."""
    PREDICTED = 5
    """The outside address with the port bound here: right where a router forwards that port, or keeps it."""


def origin_of(candidate: Candidate) -> Origin:
    """How somebody says that it was found; of what a later version says we know nothing."""
    return Origin(candidate.origin) if candidate.origin in set(Origin) else Origin.CONFIGURED


@lru_cache(CACHE_SIZE)
def is_private(host: str) -> bool:
    """Whether a literal is an address of somebody's LAN."""
    ip = ip_address(host)
    return any(ip in network for network in PRIVATE if network.version == ip.version)


@lru_cache(CACHE_SIZE)
def make_candidate(address: Address, origin: Origin) -> Candidate:
    return Candidate(ip_address(address[0]).packed, address[1], origin)


@lru_cache(CACHE_SIZE)
def address_of(candidate: Candidate) -> Address | None:
    """The address of a candidate that somebody told us, None when it may not be sent to."""
    try:
        address = (str(ip_address(candidate.ip)), candidate.port)
    except ValueError:
        return None
    return address if is_sendable(address) else None


def gather(
    hosts: Iterable[str], ports: dict[int, int], observed: Iterable[Address], mapped: Iterable[Address] = ()
) -> tuple[Candidate, ...]:
    """Our own candidates, each address once: what supernodes saw, mapped ports, host addresses with the bound port
    of their family, and the outside IPv4 addresses with that port.
    """
    own = sorted((host, ports[ip_version(host)]) for host in hosts if ip_version(host) in ports)
    outside = [address for address in observed if address not in own]
    found: dict[Address, Origin] = {}
    for origin, addresses in (
        (Origin.SERVER_REFLEXIVE, outside),
        (Origin.MAPPED, list(mapped)),
        (Origin.HOST, own),
        (Origin.PREDICTED, [(host, ports[4]) for host, _ in outside if ip_version(host) == 4 and 4 in ports]),
    ):
        for address in addresses:
            found.setdefault(address, origin)
    return bounded(make_candidate(address, origin) for address, origin in found.items())


def bounded(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Those that may be sent to, in order, at most PER_FAMILY_AND_SCOPE of a kind and CANDIDATES_MAX in all."""
    kept: list[Candidate] = []
    counts: dict[tuple[int, bool], int] = {}
    for candidate in candidates:
        address = address_of(candidate)
        if address is None:
            continue
        kind = (ip_version(address[0]), is_private(address[0]))
        counts[kind] = counts.get(kind, 0) + 1
        if counts[kind] <= PER_FAMILY_AND_SCOPE and len(kept) < CANDIDATES_MAX:
            kept.append(candidate)
    return tuple(kept)
