"""Care for the paths to all peers of an edge: calls, checks, choice. What a path is, says path.py.

up       both ends send a Call with their candidates and check; the best path that answers is selected
moved    addresses or routes changed at one end, or it slept: a Call says so by what way is left, mostly the
         relay, and both ends go back to the relay and check again
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Protocol

from l2mesh.core.candidates import Origin, address_of, bounded, gather
from l2mesh.core.events import Event, PathChanged
from l2mesh.wire.address import Address, ip_version
from l2mesh.wire.control import Call, Candidate, Control
from l2mesh.wire.outer import DATA_OVERHEAD

if TYPE_CHECKING:
    from l2mesh.core.path import Path
    from l2mesh.core.peer import Peer, Via
    from l2mesh.core.remote_edge import RemoteEdge


class RelayPolicy(StrEnum):
    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"


class PathNode(Protocol):
    """What the care needs of its edge."""

    local_hosts: list[str]
    local_ports: dict[int, int]

    def observed_addresses(self) -> list[Address]: ...
    def send_probe(self, peer: Peer, via: Via, now: float, size: int = 0) -> bytes: ...
    def send_control(self, peer: Peer, message: Control, now: float, via: Via | None = None) -> bool: ...
    def wake_peer(self, peer: Peer, at: float) -> None: ...
    def tell(self, event: Event) -> None: ...


class PathCare:
    """Doors: established, heard_elsewhere, replied, called, add_candidates, suspect; turn."""

    def __init__(self, node: PathNode, policy: RelayPolicy) -> None:
        self._node = node
        self._policy = policy
        self._overlay: tuple[IPv4Network | IPv6Network, ...] = ()

    def set_overlay(self, networks: Iterable[str]) -> None:
        """Networks (CIDR) that lie on the TAP: the mesh is not reached through itself."""
        self._overlay = tuple(ip_network(network, strict=False) for network in networks)

    def _is_overlay(self, host: str) -> bool:
        ip = ip_address(host)
        return any(ip in network for network in self._overlay if network.version == ip.version)

    def candidates(self) -> tuple[Candidate, ...]:
        """Our own, for calls and registrations."""
        if self._policy is RelayPolicy.ALWAYS:
            return ()
        return gather(self._node.local_hosts, self._node.local_ports, self._node.observed_addresses())

    # ---- facts

    def established(self, edge: RemoteEdge, via: Via, now: float) -> None:
        """A handshake was completed on this way: a round trip."""
        path = self._add(edge, via, now)
        if path is not None:
            path.valid_at = path.heard_at = now
        self.choose(edge, now)

    def heard_elsewhere(self, edge: RemoteEdge, via: Via, now: float) -> None:
        """A genuine datagram from where we did not know the peer to be: check that way at once."""
        path = self._add(edge, via, now)
        if path is not None:
            path.heard_at = now
            edge.paths.check(path, now)
            self._node.wake_peer(edge, now)

    def replied(self, edge: RemoteEdge, via: Via, transaction: bytes, now: float) -> None:
        if edge.paths.replied(via, transaction, now):
            self.choose(edge, now)
            self._node.wake_peer(edge, edge.paths.next_at())

    def called(self, edge: RemoteEdge, call: Call, via: Via, now: float) -> None:
        self.add_candidates(edge, call.candidates, now)
        if call.moved:
            edge.paths.suspect(now)
            edge.via = via
            self.choose(edge, now)
        else:
            edge.paths.check_all(now)
        if call.answer:
            self.call(edge, now)
        self._node.wake_peer(edge, now)

    def add_candidates(self, edge: RemoteEdge, candidates: tuple[Candidate, ...], now: float) -> None:
        """The peer, or a supernode, told us where it may be."""
        if self._policy is RelayPolicy.ALWAYS:
            return
        edge.candidates = bounded(candidates)
        for candidate in edge.candidates:
            address = address_of(candidate)
            if address is None or not self._can_send(address):
                continue
            path = edge.paths.add_direct(address, Origin(min(candidate.origin, Origin.CONFIGURED)), now)
            if path is not None and edge.up and path.valid_at is None:
                edge.paths.check(path, now)

    def suspect(self, edge: RemoteEdge, now: float) -> None:
        """Our own addresses or routes changed, or we slept."""
        before = edge.via
        edge.paths.suspect(now)
        self.choose(edge, now)
        call = Call(self.candidates(), answer=True, moved=True)
        # By the relay, and where it was last: the one may be gone, the other closed to us.
        for via in dict.fromkeys((edge.via, before)):
            self._node.send_control(edge, call, now, via)
        self._node.wake_peer(edge, now)

    def call(self, edge: RemoteEdge, now: float) -> None:
        """Tell a peer our candidates."""
        if self._policy is not RelayPolicy.ALWAYS:
            self._node.send_control(edge, Call(self.candidates(), answer=False, moved=False), now)

    # ---- choice and timers

    def choose(self, edge: RemoteEdge, now: float) -> None:
        """Select the best path, and say so."""
        before = edge.paths.selected
        changed = edge.paths.choose(now)
        selected = edge.paths.selected
        if selected is not None:
            edge.via, edge.room = selected.via, selected.room
        if changed and selected is not None and edge.up:
            old = before.describe() if before else "none"
            self._node.tell(PathChanged(edge.label, old, selected.describe()))

    def turn(self, edge: RemoteEdge, now: float) -> float | None:
        """Send the probes that are due; the instant of the next. Without a session there is nothing to probe."""
        if edge.session.sealing_keypair(now) is None:
            return None
        for path, size in edge.paths.due(now):
            transaction = self._node.send_probe(edge, path.via, now, size)
            edge.paths.probed(path, transaction, size + DATA_OVERHEAD + len(path.via[1]), now)
        self.choose(edge, now)
        return edge.paths.next_at()

    # ---- details

    def _add(self, edge: RemoteEdge, via: Via, now: float) -> Path | None:
        if via[1]:
            return edge.paths.add_relay(via, now)
        if self._policy is RelayPolicy.ALWAYS or self._is_overlay(via[0][0]):
            return None
        return edge.paths.add_direct(via[0], Origin.PEER_REFLEXIVE, now)

    def _can_send(self, address: Address) -> bool:
        """Whether a socket of this IP version is bound, and the address neither our own nor on the overlay."""
        host, port = address
        if self._is_overlay(host):
            return False
        bound = self._node.local_ports.get(ip_version(host))
        return bound is not None and not (host in self._node.local_hosts and port == bound)
