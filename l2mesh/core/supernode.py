"""The engine of a supernode: who is in which network, and a relay between those who cannot meet.

It is a peer with another role: the same handshake, the same sessions. It is a member of nothing: an edge shows it
the certificate of its network's authority, and is listed in that network and no other, so nobody can squat on one.
It sees addresses and sizes, never a frame.

Doors: those of node.py.

    key request     answered with the public key, by no more bytes than the request had
    STUN            answered (stun_server.py)
    Register        checked, answered with the observed address and a lease; others get a hint
    Directory...    answered with pages of changes
    ChannelRequest  both ends get their channel
    ReachRequest    answered with one probe to an address of the edge's own (mapped_probe.py)
    relayed         forwarded (relay.py)

An edge's address is where its last genuine datagram came from: so it moves with the edge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final

from l2mesh.core import handshake, mapped_probe, membership
from l2mesh.core.candidates import Origin, bounded, make_candidate
from l2mesh.core.drops import DropReason
from l2mesh.core.events import EdgeLeft, EdgeRegistered
from l2mesh.core.node import Node
from l2mesh.core.peer import Identity, Peer, Role, Via
from l2mesh.core.plain_run import expanded
from l2mesh.core.registry import MEMBERS_MAX, NETWORKS_MAX, NetworkRegistry, Registration
from l2mesh.core.relay import DEFAULT_NETWORK_RATE, DEFAULT_PAIR_RATE, Relay
from l2mesh.core.session import Plain
from l2mesh.core.session_node import Surroundings
from l2mesh.core.stun_server import StunServer
from l2mesh.core.token_bucket import TokenBucket
from l2mesh.crypto.keys import encode_key
from l2mesh.wire import stun
from l2mesh.wire.address import Address, format_address, parse_ip
from l2mesh.wire.control import (
    Channel,
    ChannelRequest,
    Control,
    DirectoryHint,
    DirectoryRequest,
    Goodbye,
    ReachProbe,
    ReachReply,
    ReachRequest,
    Refused,
    Register,
    Registered,
    Unregister,
)
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.handshake_payload import HandshakePayload
from l2mesh.wire.outer import DATA_OVERHEAD, Outer, emit_key_reply, parse_key_request
from l2mesh.wire.plaintext import Kind
from l2mesh.wire.probe import emit_probe_reply, parse_probe

LEASE_S: Final = 120
"""An edge that is silent this long is not listed any more. A suspend of a minute does not unlist it."""
SILENT_AFTER_S: Final = 30.0
"""A session without registration is kept this long."""
HINT_EVERY_S: Final = 0.1
"""Changes of a network within this time make one hint: a start of 200 edges at once is not 40 000 hints."""
PEERS_MAX: Final = 50_000
INITIATIONS_PER_SECOND: Final = 300.0
"""And as many again from those who show a cookie: less than half a core, which leaves the rest for what follows a
handshake. Ten thousand edges are back within half a minute."""
HINTS_PER_SECOND: Final = 2000.0
"""In all: each is followed by a request and a page. When many come, each hint tells of more changes."""


@dataclass(frozen=True, slots=True)
class SupernodeSettings:
    networks: frozenset[bytes] = frozenset()
    """Authorities served; empty: any."""
    pair_rate: float = DEFAULT_PAIR_RATE
    network_rate: float = DEFAULT_NETWORK_RATE
    peers_max: int = PEERS_MAX
    members_max: int = MEMBERS_MAX
    networks_max: int = NETWORKS_MAX


class RegisteredPeer(Peer):
    """An edge as its supernode sees it."""

    def __init__(self, public_key: bytes, psk: bytes) -> None:
        super().__init__(public_key, Role.EDGE, psk)
        self.network: Network | None = None
        self.reach_requests: TokenBucket | None = None


class Network:
    """One network at this supernode."""

    def __init__(self, authority: bytes, epoch: bytes) -> None:
        self.authority = authority
        self.registry = NetworkRegistry[RegisteredPeer](epoch)
        self.hint_at = float("inf")
        self.label = encode_key(authority)[:12]


class SupernodeEngine(Node[RegisteredPeer]):
    def __init__(
        self,
        identity: Identity,
        settings: SupernodeSettings,
        surroundings: Surroundings,
        now: float,
    ) -> None:
        super().__init__(identity, surroundings, now, initiations_per_second=INITIATIONS_PER_SECOND)
        self.settings = settings
        self.networks: dict[bytes, Network] = {}
        self.listening: list[Address] = []
        """What we listen on. Plain: a main socket (at most one of each IP version); SideAddress: another one."""
        self.relay = Relay(
            self.drops, self._random_bytes, pair_rate=settings.pair_rate, network_rate=settings.network_rate
        )
        self.stun = StunServer(self.drops, now)
        self._hints: dict[Network, None] = {}  # a set in order of time, so that a run can be repeated
        self._hints_from = now

    # ---- doors

    def start(self, now: float) -> None:
        pass

    def close(self, now: float) -> None:
        """Tell the edges, so that they look for us at once when we are back."""
        for peer in self.peers.values():
            self.send_control(peer, Goodbye(), now)

    def handle_timer(self, now: float) -> None:
        super().handle_timer(now)
        for network in [network for network in self._hints if network.hint_at <= now]:
            if now < self._hints_from:
                break
            self._send_hints(network, now)

    def next_deadline(self) -> float:
        peers_at = super().next_deadline()
        if not self._hints:
            return peers_at
        return min(peers_at, max(self._hints_from, min(network.hint_at for network in self._hints)))

    def set_listening(self, listening: list[Address]) -> None:
        """The bound (host, port) of every socket; a host may be unspecified (0.0.0.0 or ::)."""
        self.listening = listening
        self.stun.set_addresses(listening, self.local_hosts)

    def set_local_addresses(self, hosts: list[str], ports: dict[int, int], now: float) -> None:
        super().set_local_addresses(hosts, ports, now)
        self.stun.set_addresses(self.listening, hosts)

    def set_networks(self, networks: frozenset[bytes]) -> None:
        """Serve only these authorities from now on (empty: any); who is of another is told at its next renewal."""
        self.settings = replace(self.settings, networks=networks)

    # ---- datagrams

    def _receive_relayed(self, source: Address, data: memoryview, size: int, now: float) -> int:
        return self.relay.forward(source, data, size, now, self._trains.append)

    def _receive_other(self, source: Address, datagram: bytes, now: float) -> None:
        if datagram[0] <= stun.FIRST_BYTE_MAX:
            answer = self.stun.answer(source, datagram, now)
            if answer is not None:
                self._send_raw(answer[0], (answer[1], b""))
            return
        if datagram[0] != Outer.KEY_REQUEST:
            self.drops.count(DropReason.UNKNOWN_TYPE)
            return
        reply = emit_key_reply(parse_key_request(datagram), self.identity.static.public)
        self._send_raw(reply, (source, b""))

    def _receive_plaintexts(self, peer: RegisteredPeer, plaintexts: list[Plain], via: Via, now: float) -> None:
        self._follow(peer, via)
        for plain in expanded(plaintexts):
            try:
                if plain[0] == Kind.PROBE:
                    self.send(peer, (emit_probe_reply(parse_probe(plain), via[0]),), via, now)
                elif plain[0] == Kind.CONTROL:
                    self._dispatch_control(peer, plain, via, now)
                else:
                    self.drops.count(DropReason.UNKNOWN_KIND)
            except BadPacket:
                self.drops.count(DropReason.MALFORMED)

    def _follow(self, peer: RegisteredPeer, via: Via) -> None:
        """An edge is where its genuine datagrams come from."""
        if peer.via != via:
            peer.via = via
            peer.room = 1232 - DATA_OVERHEAD

    # ---- sessions

    def _admit(self, public_key: bytes, payload: HandshakePayload, now: float) -> RegisteredPeer | DropReason:
        peer = self.peers.get(public_key)
        if peer is None:
            if len(self.peers) >= self.settings.peers_max:
                return DropReason.TOO_MANY_PEERS
            peer = RegisteredPeer(public_key, handshake.psk_with(self.identity, Role.EDGE))
            self.peers[public_key] = peer
            peer.last_received_at = now
            self.wake(peer, now + SILENT_AFTER_S)
        return peer

    def _admit_responder(self, peer: RegisteredPeer, payload: HandshakePayload, now: float) -> bool:
        return False  # a supernode begins no handshake, so it awaits no response

    def _established(self, peer: RegisteredPeer, via: Via, now: float, *, restarted: bool) -> None:
        self._follow(peer, via)

    def _vias_to(self, peer: RegisteredPeer, now: float) -> list[Via]:
        return []

    def _turn_of(self, peer: RegisteredPeer, now: float) -> float | None:
        registration = self._registration_of(peer)
        expires_at = registration.expires_at if registration else peer.last_received_at + SILENT_AFTER_S
        if now < expires_at:
            return expires_at
        self._drop(peer, "its lease ran out", now)
        return None

    def _drop(self, peer: RegisteredPeer, reason: str, now: float) -> None:
        self._unregister(peer, reason, now)
        self._forget(peer)

    # ---- messages

    def _receive_control(self, peer: RegisteredPeer, message: Control, via: Via, now: float) -> None:
        if isinstance(message, Register):
            self._register(peer, message, via, now)
        elif isinstance(message, DirectoryRequest):
            self._answer_directory(peer, message, now)
        elif isinstance(message, ChannelRequest):
            self._open_channel(peer, message.public_key, now)
        elif isinstance(message, ReachRequest):
            self._probe_reach(peer, message, via, now)
        elif isinstance(message, Unregister | Goodbye):
            self._drop(peer, "it left", now)
        else:
            self.drops.count(DropReason.UNKNOWN_KIND)

    def _register(self, peer: RegisteredPeer, message: Register, via: Via, now: float) -> None:
        refusal = self._refusal(peer, message, now)
        if refusal is not None:
            self.drops.count(refusal)
            self.send_control(peer, Refused(message.sequence, refusal), now)
            return
        network = self._network_of(message.authority)
        if peer.network is not network:
            self._unregister(peer, "it changed to another network", now)
        new = peer.public_key not in network.registry.members
        peer.network = network
        registration = Registration(
            peer,
            peer.public_key,
            peer.name,
            message.instance,
            bounded(message.candidates),
            now + LEASE_S,
            message.nat,
            make_candidate(via[0], Origin.SERVER_REFLEXIVE),
            message.relays,
        )
        if network.registry.put(registration):
            self._plan_hint(network, now)
        packed = ip_address(via[0][0]).packed
        epoch, version = network.registry.epoch, network.registry.version
        self.send_control(peer, Registered(message.sequence, packed, via[0][1], LEASE_S, epoch, version), now)
        self.wake(peer, registration.expires_at)
        if new:
            self._events.append(EdgeRegistered(network.label, peer.name, format_address(via[0])))

    def _refusal(self, peer: RegisteredPeer, message: Register, now: float) -> DropReason | None:
        """Why a registration is refused; None: it is not."""
        allowed = self.settings.networks
        if allowed and message.authority not in allowed:
            return DropReason.NETWORK_NOT_SERVED
        member = membership.admit(message.certificate, message.authority, peer.public_key, now + self._wall_offset)
        if isinstance(member, DropReason):
            return member
        network = self.networks.get(message.authority)
        if network is None and len(self.networks) >= self.settings.networks_max:
            return DropReason.TOO_MANY_REGISTRATIONS
        members = network.registry.members if network else {}
        if peer.public_key not in members and len(members) >= self.settings.members_max:
            return DropReason.TOO_MANY_REGISTRATIONS
        peer.name = member.name
        return None

    def _network_of(self, authority: bytes) -> Network:
        network = self.networks.get(authority)
        if network is None:
            # Its versions begin anew, should there have been such a network before: so the epoch is new too.
            network = self.networks[authority] = Network(authority, self._random_bytes(8))
        return network

    def _registration_of(self, peer: RegisteredPeer) -> Registration[RegisteredPeer] | None:
        return peer.network.registry.members.get(peer.public_key) if peer.network else None

    def _unregister(self, peer: RegisteredPeer, reason: str, now: float) -> None:
        network, peer.network = peer.network, None
        if network is None:
            return
        self.relay.close_all_of(peer)
        if network.registry.remove(peer.public_key):
            self._events.append(EdgeLeft(network.label, peer.name, reason))
            self._plan_hint(network, now)
        if not network.registry.members:
            del self.networks[network.authority]
            self._hints.pop(network, None)
            self.relay.forget_network(network.authority)

    def _answer_directory(self, peer: RegisteredPeer, request: DirectoryRequest, now: float) -> None:
        if peer.network is None:
            return
        registry = peer.network.registry
        known = request.epoch == registry.epoch
        page = registry.page(request.since if known else 0, request.base if known else 0)
        if page.version > page.since:
            self.send_control(peer, page, now)

    def _open_channel(self, peer: RegisteredPeer, public_key: bytes, now: float) -> None:
        """Give both ends of a pair their channels; a member of another network is as unknown as a stranger."""
        if peer.network is None or public_key == peer.public_key:
            return
        other = peer.network.registry.members.get(public_key)
        if other is None:
            return
        channels = self.relay.open_pair(peer.network.authority, peer, other.peer, now)
        if channels is not None:
            self.send_control(peer, Channel(public_key, channels[0]), now)
            self.send_control(other.peer, Channel(peer.public_key, channels[1]), now)

    def _probe_reach(self, peer: RegisteredPeer, request: ReachRequest, via: Via, now: float) -> None:
        """One probe, sealed for the edge itself, to where a router says that it maps."""
        if peer.network is None:
            return
        if peer.reach_requests is None:
            rate, burst = mapped_probe.REQUESTS_PER_SECOND, mapped_probe.REQUESTS_BURST
            peer.reach_requests = TokenBucket(rate, burst, now)
        if not peer.reach_requests.take(1, now):
            self.drops.count(DropReason.RATE_LIMITED)
            return
        target = (parse_ip(request.ip), request.port)
        refusal = mapped_probe.refusal(target, via[0])
        self.send_control(peer, ReachReply(request.transaction, refusal), now)
        if not refusal:
            way = mapped_probe.seen_from(target, via[0], self.listening)
            self.send_control(peer, ReachProbe(request.transaction), now, (way, b""))

    # ---- hints

    def _plan_hint(self, network: Network, now: float) -> None:
        self._hints[network] = None
        network.hint_at = min(network.hint_at, now + HINT_EVERY_S)

    def _send_hints(self, network: Network, now: float) -> None:
        network.hint_at = float("inf")
        del self._hints[network]
        self._hints_from = max(self._hints_from, now) + len(network.registry.members) / HINTS_PER_SECOND
        hint = DirectoryHint(network.registry.epoch, network.registry.version)
        for registration in network.registry.members.values():
            self.send_control(registration.peer, hint, now)
