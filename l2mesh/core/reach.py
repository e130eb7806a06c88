"""Where an edge may send to directly: relay policy, own addresses, those that lie on the overlay."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Protocol

from l2mesh.wire.address import ip_version

if TYPE_CHECKING:
    from l2mesh.wire.address import Address


class RelayPolicy(StrEnum):
    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"


class ReachNode(Protocol):
    local_hosts: list[str]
    local_ports: dict[int, int]


class Reach:
    """Doors: set_overlay; direct, relayed, is_overlay, may_try."""

    def __init__(self, node: ReachNode, policy: RelayPolicy) -> None:
        self.direct = policy is not RelayPolicy.ALWAYS
        """Whether direct paths are used at all."""
        self.relayed = policy is not RelayPolicy.NEVER
        """Whether relays are."""
        self._node = node
        self._overlay: tuple[IPv4Network | IPv6Network, ...] = ()

    def set_overlay(self, networks: Iterable[str]) -> None:
        """Networks (CIDR) that lie on the TAP: the mesh is not reached through itself."""
        self._overlay = tuple(ip_network(network, strict=False) for network in networks)

    def is_overlay(self, host: str) -> bool:
        ip = ip_address(host)
        return any(ip in network for network in self._overlay if network.version == ip.version)

    def may_try(self, address: Address) -> bool:
        """Whether a socket of this IP version is bound, and the address neither our own nor on the overlay."""
        host, port = address
        if not self.direct or self.is_overlay(host):
            return False
        bound = self._node.local_ports.get(ip_version(host))
        return bound is not None and not (host in self._node.local_hosts and port == bound)
