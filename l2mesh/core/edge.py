"""The engine of an edge: joins switch, peers, paths and supernodes, and delegates.

Doors, beside those of every node (node.py):

    in    receive_frames(frames, now)          out   take_frames() -> deliveries
          set_supernode_addresses(...)
          set_stun_addresses(...)
          network_changed(now), probe_peer(...)
          claim_mapped(...), doubt_mapped(now), set_two_nats(...)

A frame's way out: `switch.sort` names a peer, its packer cuts and bundles, the session seals, the selected path
has the address. A frame's way in: receiver index, `Keypair.open`, the peer's unpacker joins what came in one
batch, `switch.admit` learns and checks the source. Frames wait in the peer's queue while there is no session.

A peer's way: listed by a directory, or it began a handshake itself (rendezvous.py) -> handshake (node.py) -> up:
frames flow on the way the handshake took -> paths are found (punching.py), checked and chosen (path_care.py) ->
down: nothing was heard for 15 s though we asked, or it said goodbye, and its stations are forgotten -> let go,
when nobody lists it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from l2mesh.core import handshake, membership
from l2mesh.core.drops import DropReason
from l2mesh.core.events import Event, PeerDown, PeerRefused, PeerUp, ProbeAnswered, StationMoved
from l2mesh.core.fdb import ForwardingDatabase
from l2mesh.core.mapped_check import MappedCheck
from l2mesh.core.member_channels import MemberChannels
from l2mesh.core.member_relay import MemberRelay
from l2mesh.core.nat_discovery import NatDiscovery
from l2mesh.core.node import Node
from l2mesh.core.path_care import PathCare
from l2mesh.core.path_trust import FAIL_AFTER_S
from l2mesh.core.peer import Identity, Peer, Role, Via
from l2mesh.core.plain_run import PlainArea
from l2mesh.core.punching import BINDING_INDICATION, Punching
from l2mesh.core.reach import Reach, RelayPolicy
from l2mesh.core.remote_edge import RemoteEdge
from l2mesh.core.rendezvous import Rendezvous
from l2mesh.core.send_errors import SendErrors
from l2mesh.core.session import REJECT_AFTER_S, Plain
from l2mesh.core.session_node import Surroundings
from l2mesh.core.strangers import INITIATION_COST, Strangers
from l2mesh.core.supernode_link import SupernodeLink
from l2mesh.core.switch import Port, Switch
from l2mesh.core.token_bucket import TokenBucket
from l2mesh.crypto.certificate import Capability, Member
from l2mesh.wire import stun
from l2mesh.wire.address import Address
from l2mesh.wire.control import (
    Call,
    Channel,
    ChannelRequest,
    Control,
    Goodbye,
    NatReport,
    NoChannel,
    ReachProbe,
    ReachReply,
    Register,
)
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.handshake_payload import HandshakePayload
from l2mesh.wire.outer import Buffer, Outer
from l2mesh.wire.plaintext import Kind
from l2mesh.wire.probe import (
    TRANSACTION_SIZE,
    emit_probe,
    emit_probe_reply,
    parse_missed,
    parse_probe,
    parse_probe_reply,
)

Delivery = list[Buffer]
"""To the TAP: the pieces of one frame or superframe with its virtio header, for one writev."""

DEAD_AFTER_S: Final = 15.0
SWEEP_EVERY_S: Final = 5.0
"""Half of ASLEEP_S: an edge with nothing else to do is not taken to have slept."""
DIRECT_TRIES_MAX: Final = 8
"""Candidates that an initiation is sent to directly, beside the relays."""
DIRECT_TRIES_PER_SECOND: Final = 100.0
DIRECT_TRIES_BURST: Final = 1000.0
"""Initiations to addresses that only a supernode vouches for: enough to join 200 peers at once, little to aim at
somebody."""
INITIATIONS_PER_SECOND: Final = 200.0
"""Answered without feeling loaded: about a tenth of a core."""
PINGS_MAX: Final = 64
EARLY_S: Final = 3.0
EARLY_FRAMES_MAX: Final = 16
"""What is flooded in the first seconds, when nobody is known yet, is kept for those who come then: an ARP request
that got lost would be repeated after a second only."""


@dataclass(frozen=True, slots=True)
class SupernodeName:
    """A supernode of the file: its name, and its key when it is pinned or remembered."""

    name: str
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    authority: bytes
    mac: bytes
    supernodes: tuple[SupernodeName, ...] = ()
    relay: RelayPolicy = RelayPolicy.AUTO
    relay_for_others: bool = False
    birthday: bool = True
    """Whether sprays of probes may be sent where nothing else finds a way (core/attempts.py)."""
    ageing_time: float = 300.0
    peers_max: int = 1024
    macs_max: int = 16384
    macs_per_peer_max: int = 1024
    uso: bool = True


class EdgeEngine(Node[Peer]):
    def __init__(
        self,
        identity: Identity,
        settings: EdgeSettings,
        surroundings: Surroundings,
        now: float,
    ) -> None:
        super().__init__(identity, surroundings, now, initiations_per_second=INITIATIONS_PER_SECOND)
        self.settings = settings
        self.edges: dict[bytes, RemoteEdge] = {}
        fdb: ForwardingDatabase[bytes | Port] = ForwardingDatabase(
            ageing_time=settings.ageing_time,
            limit=settings.macs_max,
            limit_per_port=settings.macs_per_peer_max,
        )
        fdb.add_static(settings.mac, Port.LOCAL)
        self.switch = Switch(fdb, self.drops, self._station_moved)
        self.reach = Reach(self, settings.relay)
        self.nat = NatDiscovery(self, self.reach, now)
        self.punching = Punching(self, self.reach, now, birthday=settings.birthday)
        self.care = PathCare(self, self.reach, self.punching)
        self.rendezvous = Rendezvous(
            self,
            self.punching,
            [(spec.name, spec.key) for spec in settings.supernodes],
            relays=settings.relay is not RelayPolicy.NEVER,
        )
        self.mapped_check = MappedCheck(self, self.rendezvous.links)
        self.member_relay = MemberRelay(self, settings.authority, self._random_bytes)
        self.member_channels = MemberChannels(self, self.care, relays=settings.relay is not RelayPolicy.NEVER)
        self._send_errors = SendErrors(self, self.care, now)
        self.strangers = Strangers()
        self._direct_tries = TokenBucket(DIRECT_TRIES_PER_SECOND, DIRECT_TRIES_BURST, now)
        self._sweep_at = now + SWEEP_EVERY_S
        self._early: list[bytes] = []
        self._early_until = now + EARLY_S
        self._inbox: dict[RemoteEdge, list[Plain]] = {}
        self._plain_area = PlainArea()
        self._deliveries: list[Delivery] = []
        self._pings: dict[bytes, tuple[RemoteEdge, float]] = {}

    # ---- doors

    def start(self, now: float) -> None:
        """Everything begins with the supernodes' addresses."""

    def close(self, now: float) -> None:
        """Say goodbye to everybody: peers forget us at once."""
        for edge in self.edges.values():
            self.send_control(edge, Goodbye(), now)
        self.rendezvous.close(now)

    def receive_frames(self, frames: list[memoryview], now: float) -> None:
        """A batch of what the TAP gave, each with its virtio header, each mutable. Hot."""
        self._begin(now)
        unicast, flood = self.switch.sort(frames, now)
        for key, batch in unicast.items():
            edge = self.edges.get(key)
            if edge is None:  # its stations went with it, so nobody knows how this could be
                self.drops.count(DropReason.NO_PATH, len(batch))
            else:
                self._send_frames(edge, batch, now)
        if flood:
            self._flood(flood, now)

    def take_frames(self) -> list[Delivery]:
        """Frames to write to the TAP, in order. Valid until the next call of a door that takes something in."""
        deliveries, self._deliveries = self._deliveries, []
        return deliveries

    def handle_timer(self, now: float) -> None:
        super().handle_timer(now)
        self.rendezvous.handle_timer(now)
        self.mapped_check.handle_timer(now)
        self.nat.handle_timer(now)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_EVERY_S
            self.switch.fdb.sweep(now)
            self.member_relay.sweep(now)

    def next_deadline(self) -> float:
        """Hot: asked after every call."""
        return min(
            self._sweep_at,
            self._deadlines.first_at,
            self.rendezvous.next_at(),
            self.nat.next_at(),
            self.mapped_check.next_at,
        )

    def set_supernode_addresses(self, name: str, addresses: list[Address], now: float) -> None:
        """What DNS says of a supernode's name."""
        self._begin(now)
        self.rendezvous.set_addresses(name, addresses, now)
        self.nat.set_servers(name, addresses, now)

    def set_stun_addresses(self, name: str, addresses: list[Address], now: float) -> None:
        """What DNS says of a STUN server that the file names."""
        self._begin(now)
        self.nat.set_servers(name, addresses, now)

    def set_local_addresses(self, hosts: list[str], ports: dict[int, int], now: float) -> None:
        self._begin(now)
        changed = (hosts, ports) != (self.local_hosts, self.local_ports)
        super().set_local_addresses(hosts, ports, now)
        if changed:
            self._moved(now)

    def set_overlay(self, networks: list[str]) -> None:
        """Networks (CIDR) on the TAP and its bridge: no path may lead through them."""
        self.reach.set_overlay(networks)

    def network_changed(self, now: float) -> None:
        """A route or a link changed: what worked may not work any more, what did not may."""
        self._begin(now)
        self._moved(now)

    def claim_mapped(self, address: Address | None, now: float) -> None:
        """A router says that it maps this IPv4 address to us (None: nothing any more): have it checked from
        outside. MappingChecked tells the outcome; one that we are reached at becomes a candidate.
        """
        self._begin(now)
        self.mapped_check.claim(address, now)

    def set_two_nats(self, *, hint: bool) -> None:
        """Whether our router seems to be behind a carrier's NAT: what is to open that one has to get further."""
        self.punching.two_nats = hint

    def doubt_mapped(self, now: float) -> None:
        """A peer was lost that may have come in by the mapped address: check it again, soon."""
        self._begin(now)
        self.mapped_check.doubt(now)

    def receive_send_error(self, address: Address, errno: int, local: bool, now: float) -> None:
        super().receive_send_error(address, errno, local, now)
        self._send_errors.receive(address, errno, local, now)

    def probe_peer(self, key: bytes, now: float) -> bytes | None:
        """Probe the selected path of an edge; ProbeAnswered has the returned id. None: there is no path."""
        self._begin(now)
        edge = self.edges.get(key)
        if edge is None or edge.via is None or edge.session.sealing_keypair(now) is None:
            return None
        transaction = self.send_probe(edge, edge.via, now)
        self._pings[transaction] = (edge, now)
        while len(self._pings) > PINGS_MAX:
            del self._pings[next(iter(self._pings))]
        return transaction

    # ---- frames out

    def _send_frames(
        self, edge: RemoteEdge, frames: list[memoryview] | list[bytearray], now: float, *, answer: bool = True
    ) -> None:
        """`answer`: one may be expected, or else something is wrong. Hot."""
        via = edge.via
        if via is not None and edge.up:
            if edge.beside is None:
                sent = self.send(edge, edge.pack(frames), via, now)
            else:
                sent = self.send_both(edge, edge.pack(frames), (via, edge.beside), now)
            if sent:
                if edge.paths.active(now, answer=answer):
                    self.wake(edge, edge.paths.next_at())
                return
        edge.enqueue(frames)
        if edge.wanted_at is None or edge.wanted_at > now:
            edge.wanted_at = now
            self.wake(edge, now)

    def _flood(self, frames: list[memoryview], now: float) -> None:
        """A sealed copy to every peer. Packing uses frames up, so each peer but the last gets its own."""
        edges = [edge for edge in self.edges.values() if edge.up or edge.wanted_at is not None]
        for edge in edges[:-1]:
            self._send_frames(edge, [bytearray(frame) for frame in frames], now, answer=False)
        if now < self._early_until:
            self._early += [bytes(frame) for frame in frames[: EARLY_FRAMES_MAX - len(self._early)]]
        if edges:
            self._send_frames(edges[-1], frames, now, answer=False)

    # ---- plaintexts in

    def _receive_plaintexts(self, peer: Peer, plaintexts: list[Plain], via: Via, now: float) -> None:
        if isinstance(peer, RemoteEdge):
            if not peer.paths.heard(via, now) and not self.care.heard_elsewhere(peer, via, now):
                self.drops.count(DropReason.NOT_RELAYED, len(plaintexts))
                return
            if not peer.up:
                self._come_up(peer, now)
            frames = [plain for plain in plaintexts if plain[0] < Kind.CONTROL]
            if frames:
                if peer in self._inbox:
                    self._inbox[peer] += frames
                else:
                    self._inbox[peer] = frames
            if len(frames) == len(plaintexts):
                return
        for plain in plaintexts:
            if isinstance(plain, bytes) and plain[0] >= Kind.CONTROL:
                self._receive_message(peer, plain, via, now)

    def _end_of_batch(self, now: float) -> None:
        """Join and deliver the frames of a batch. Hot."""
        if not self._inbox:
            return
        inbox, self._inbox = self._inbox, {}
        admit = self.switch.admit
        deliver = self._deliveries.append
        for edge, plaintexts in inbox.items():
            key, allowed = edge.public_key, edge.allowed_macs
            for delivery in edge.unpacker.unpack(plaintexts, now):
                first = delivery[0]
                if first[10] & 1 and not edge.flood.take(1, now):
                    self.drops.count(DropReason.FLOOD_LIMIT)
                elif admit(first, key, allowed, now):
                    edge.rx_frames += 1
                    deliver(delivery)

    def _receive_message(self, peer: Peer, plain: bytes, via: Via, now: float) -> None:
        try:
            if plain[0] == Kind.PROBE:
                reply = emit_probe_reply(parse_probe(plain), via[0])
                self.send(peer, (reply,), via, now)
                if parse_missed(plain) and isinstance(peer, RemoteEdge):
                    self.care.missed(peer, via, parse_missed(plain), now)
            elif plain[0] == Kind.PROBE_REPLY:
                self._receive_probe_reply(peer, *parse_probe_reply(plain), via, now)
            elif plain[0] == Kind.CONTROL:
                self._dispatch_control(peer, plain, via, now)
            else:
                self.drops.count(DropReason.UNKNOWN_KIND)
        except BadPacket:
            self.drops.count(DropReason.MALFORMED)

    # ---- probes

    def send_probe(
        self, peer: Peer, via: Via, now: float, size: int = 0, missed: int = 0, *, spray: bool = False
    ) -> bytes:
        """Send a probe padded to `size` bytes of plaintext; its transaction id. `missed`: those without an answer
        before it. `spray`: it is of an attempt by class, and the id is empty when it may not be sent now.
        """
        transaction = self._random_bytes(TRANSACTION_SIZE)
        if via[1] or not isinstance(peer, RemoteEdge) or self._may_send(via[0], now, spray=spray):
            self.send(peer, (emit_probe(transaction, size, missed),), via, now)
        elif spray:
            return b""
        return transaction

    def _may_send(self, address: Address, now: float, *, cost: float = 1.0, spray: bool = False) -> bool:
        """Whether a datagram that somebody else's word makes us send is not one too many for that host."""
        if self.strangers.may_send(address[0], now, cost=cost, spray=spray):
            return True
        self.drops.count(DropReason.RATE_LIMITED)
        return False

    def _receive_probe_reply(
        self, peer: Peer, transaction: bytes, observed: Address, via: Via, now: float
    ) -> None:
        ping = self._pings.pop(transaction, None)
        if ping is not None and ping[0] is peer:
            self.tell(ProbeAnswered(transaction, now - ping[1]))
        elif isinstance(peer, RemoteEdge):
            self.care.replied(peer, via, transaction, now)
        else:
            self.rendezvous.by_peer[peer].probe_replied(transaction, observed, now)

    def _moved(self, now: float) -> None:
        """Our addresses or routes changed, or we slept: all paths are in doubt, here and at the peers."""
        self.rendezvous.moved(now)
        self.nat.moved(now)
        for edge in self.edges.values():
            self.care.suspect(edge, now)

    def _resumed(self, gap: float, now: float) -> None:
        self._moved(now)

    # ---- sessions

    def _receive_initiation(self, datagram: bytes, via: Via, now: float) -> None:
        if via[1] or self.reach.direct:
            super()._receive_initiation(datagram, via, now)
        else:
            self.drops.count(DropReason.NOT_RELAYED)

    def _admit(self, public_key: bytes, payload: HandshakePayload, now: float) -> Peer | DropReason:
        member = membership.admit(
            payload.certificate, self.settings.authority, public_key, now + self._wall_offset
        )
        if isinstance(member, DropReason):
            return member
        edge = self.edge_for(public_key, now)
        if edge is None:
            return DropReason.TOO_MANY_PEERS
        self._set_member(edge, member)
        return edge

    def _admit_responder(self, peer: Peer, payload: HandshakePayload, now: float) -> bool:
        if not isinstance(peer, RemoteEdge):
            return True
        member = membership.admit(
            payload.certificate, self.settings.authority, peer.public_key, now + self._wall_offset
        )
        if isinstance(member, DropReason):
            self.drops.count(member)
            if peer.refused != member:
                peer.refused = member
                self.tell(PeerRefused(peer.label, member))
            return False
        self._set_member(peer, member)
        return True

    def _set_member(self, edge: RemoteEdge, member: Member) -> None:
        edge.member = member
        edge.name = member.name
        edge.refused = ""
        edge.allowed_macs = frozenset(member.macs)

    def _established(self, peer: Peer, via: Via, now: float, *, restarted: bool) -> None:
        if not isinstance(peer, RemoteEdge):
            link = self.rendezvous.by_peer[peer]
            moved = peer.via is not None and peer.via[0] != via[0]
            link.established(via, now)
            if moved:
                self.rendezvous.renew_channels(link, now)
            return
        if restarted and peer.up:
            peer.paths.suspect(now)
            peer.via = None
        if peer.wanted_at is None:
            peer.wanted_at = now
        fresh = restarted or not peer.up
        self.care.established(peer, via, now)
        if not peer.up:
            self._come_up(peer, now)
        if fresh:
            self.punching.established(peer, now)
        self.hinted(peer, now)

    def _come_up(self, edge: RemoteEdge, now: float) -> None:
        """The session works: let the frames flow that waited for it."""
        self.care.choose(edge, now)
        selected = edge.paths.selected
        if selected is None or edge.session.sealing_keypair(now) is None:
            return
        edge.up = True
        edge.up_since = now
        self.path_chosen(edge, now)
        self.tell(PeerUp(edge.label, selected.describe()))
        queue = edge.take_queue()
        if queue:
            self._send_frames(edge, queue, now)

    def _go_down(self, edge: RemoteEdge, reason: str, now: float) -> None:
        if edge.up:
            self.tell(PeerDown(edge.label, reason))
        edge.up = False
        edge.up_since = None
        edge.via = edge.beside = None
        edge.drop_queue()
        self.switch.fdb.remove_port(edge.public_key)
        self.path_chosen(edge, now)
        self.punching.forget(edge, now)

    def _turn_of(self, peer: Peer, now: float) -> float | None:
        if not isinstance(peer, RemoteEdge):
            return None
        probe_at = self.care.turn(peer, now)
        if peer.up and self._is_dead(peer, now):
            self._go_down(peer, "it does not answer", now)
            peer.attempts = 0
            peer.renew_at = now
            self.wake(peer, now)
        self.wake(peer, self.member_channels.turn(peer, now))
        if peer.up and peer.paths.selected is None:  # no path is probed that could show it to be dead
            self.wake(peer, max(now + 1.0, peer.last_received_at + DEAD_AFTER_S))
        if peer.up or peer.listed_by:
            return probe_at
        begun_at = [keypair.created_at for keypair in peer.session.keypairs()]
        expires_at = max([peer.created_at, *begun_at]) + REJECT_AFTER_S
        if now < expires_at:
            return expires_at if probe_at is None else min(probe_at, expires_at)
        self.let_go(peer, now)
        return None

    def _is_dead(self, edge: RemoteEdge, now: float) -> bool:
        if edge.session.sealing_keypair(now) is None:
            return True
        selected = edge.paths.selected
        asked = selected is None or (selected.unanswered > 0 and now - selected.asked_at >= FAIL_AFTER_S)
        return asked and now - edge.last_received_at >= DEAD_AFTER_S

    def let_go(self, edge: RemoteEdge, now: float) -> None:
        """Nobody lists it and there is no session, nor has there just begun one: forget it."""
        self._go_down(edge, "nobody lists it any more", now)
        self.punching.forget(edge, now)
        self.member_channels.forget(edge)
        del self.edges[edge.public_key]
        self._forget(edge)

    def _vias_to(self, peer: Peer, now: float) -> list[Via]:
        if not isinstance(peer, RemoteEdge):
            return [(address, b"") for address in self.rendezvous.by_peer[peer].addresses]
        vias = [peer.via] if peer.via is not None else []
        vias += list(peer.channels.values())
        asked = bool(peer.channels)
        if not peer.channels or peer.attempts > 1:
            asked = self.rendezvous.request_channels(peer, now) or asked
        if peer.attempts > 1:
            vias += self.member_channels.vias_to(peer)
        if peer.attempts > 2:
            self.member_channels.ask(peer, now)
        if not vias or peer.attempts > 1:
            direct = self.punching.direct_vias(peer, now, relays_asked=asked)[:DIRECT_TRIES_MAX]
            if self._direct_tries.take(len(direct), now):
                vias += [via for via in direct if self._may_send(via[0], now, cost=INITIATION_COST)]
        return list(dict.fromkeys(vias))

    def _vias_to_answer(self, peer: Peer, via: Via) -> list[Via]:
        """A NAT may let an initiation in and our response not: then the copy that comes by relay is a replay, and
        the next initiation ends so too.
        """
        relays = list(peer.channels.values()) if isinstance(peer, RemoteEdge) and not via[1] else []
        return [*relays, via]

    def edge_for(self, public_key: bytes, now: float) -> RemoteEdge | None:
        """The edge with this key, made if need be; None when it is no other edge, or there are too many."""
        edge = self.edges.get(public_key)
        if edge is None and public_key != self.identity.static.public and public_key not in self.peers:
            if len(self.edges) >= self.settings.peers_max:
                self.drops.count(DropReason.TOO_MANY_PEERS)
                return None
            edge = RemoteEdge(
                public_key,
                handshake.psk_with(self.identity, Role.EDGE),
                self.drops,
                uso=self.settings.uso,
                first_id=int.from_bytes(self._random_bytes(4), "big"),
                now=now,
            )
            self.edges[public_key] = self.peers[public_key] = edge
            if now < self._early_until:
                edge.enqueue([bytearray(frame) for frame in self._early])
            self.wake(edge, now + REJECT_AFTER_S)
        return edge

    # ---- messages

    def _receive_control(self, peer: Peer, message: Control, via: Via, now: float) -> None:
        if not isinstance(peer, RemoteEdge):
            link = self.rendezvous.by_peer[peer]
            if isinstance(message, ReachReply | ReachProbe):
                self.mapped_check.receive(link, message, via, now)
            else:
                self.rendezvous.receive(link, message, now)
        elif isinstance(message, Call):
            self.care.called(peer, message, via, now)
        elif isinstance(message, Goodbye):
            self._go_down(peer, "it left", now)
            peer.wanted_at = None
            before = peer.session.keypairs()
            peer.session.erase()
            self._forget_indices(before, [])
            if not peer.listed_by:
                self.let_go(peer, now)
        elif isinstance(message, ChannelRequest):
            self.member_relay.asked(peer, message.public_key, now)
        elif isinstance(message, Channel):
            self.member_channels.received(peer, message, now)
        elif isinstance(message, NoChannel):
            self.member_relay.declined(peer, message.public_key, now)
            self.member_channels.refused(peer, message, now)
        else:
            self.drops.count(DropReason.UNKNOWN_KIND)

    def _unwrap(self, source: Address, header: bytes) -> Via | None:
        if self.rendezvous.is_relay(source):
            return source, header
        return self.member_channels.way_of(source, header)

    def _receive_relayed(self, source: Address, data: memoryview, size: int, now: float) -> int:
        return self.member_relay.relay.forward(source, data, size, now, self._trains.append)

    def _receive_other(self, source: Address, datagram: bytes, now: float) -> None:
        if datagram[0] <= stun.FIRST_BYTE_MAX:
            self.nat.receive(source, datagram, now)
        elif datagram[0] == Outer.KEY_REPLY:
            self.rendezvous.receive_key_reply(source, datagram, now)
        else:
            self.drops.count(DropReason.UNKNOWN_TYPE)

    # ---- what the parts need of us (LinkNode, RendezvousNode, PathNode, PunchingNode)

    def make_supernode_peer(self, link: SupernodeLink, public_key: bytes) -> Peer | None:
        """None when the key is somebody's already: two names for one supernode, or a lie."""
        if public_key in self.peers or public_key == self.identity.static.public:
            return None
        peer = Peer(public_key, Role.SUPERNODE, handshake.psk_with(self.identity, Role.SUPERNODE))
        peer.name = link.name
        self.peers[public_key] = peer
        self.rendezvous.by_peer[peer] = link
        return peer

    def make_registration(self, sequence: int) -> Register:
        identity = self.identity
        return Register(
            sequence,
            self.settings.authority,
            identity.certificate,
            identity.instance,
            self.punching.candidates(),
            self.nat.lasting_report(),
            relays=self.relays_for_others(),
        )

    def relays_for_others(self) -> bool:
        """Whether our file and our certificate say so."""
        if not self.settings.relay_for_others:
            return False
        own = membership.admit(
            self.identity.certificate,
            self.settings.authority,
            self.identity.static.public,
            self._turned_at + self._wall_offset,
        )
        return isinstance(own, Member) and Capability.RELAY in own.capabilities

    def path_chosen(self, edge: RemoteEdge, now: float) -> None:
        """Another path to it may be selected now, or none; it may have come up or gone down."""
        leg = edge.direct_via
        if leg != edge.leg:
            if leg is not None:
                self.strangers.found(leg[0][0])
            if edge.leg is not None:
                self.strangers.lost(edge.leg[0][0])
            edge.leg = leg
            self.member_relay.leg_changed(edge, now)
            self.member_channels.leg_changed(edge, now)
        self.punching.path_chosen(edge, now)

    def hinted(self, edge: RemoteEdge, now: float) -> None:
        """A directory, or its certificate, says anew whether it relays for others."""
        self.member_channels.hinted(edge, now)

    def relay_name(self, via: Via) -> str | None:
        """Who relays on this way: a supernode or a member; None when nobody does, or nobody that is known."""
        if not via[1]:
            return None
        member = self.member_channels.relay_of(via)
        names = [link.name for link in self.rendezvous.links if via[0] in link.addresses]
        return member.label if member is not None else next(iter(names), None)

    def observed_changed(self, now: float) -> None:
        """A supernode sees us at another address: tell the directory, and the peers."""
        self.mapped_check.doubt(now)
        self._candidates_changed(now)

    def _candidates_changed(self, now: float) -> None:
        for link in self.rendezvous.links:
            link.renew_soon(now)
        for edge in self.edges.values():
            if edge.up:
                self.punching.changed(edge, now)

    def set_mapped(self, addresses: list[Address], now: float) -> None:
        """Outside addresses at which we are reached, by a port mapping: candidates from now on."""
        if self.punching.set_mapped(addresses):
            self._candidates_changed(now)

    def nat_report(self) -> NatReport:
        """What we know of the NAT before us, for a Call or a registration."""
        return self.nat.report()

    def nat_changed(self, now: float) -> None:
        """The report is another one in more than its last port, or STUN servers see us elsewhere."""
        for link in self.rendezvous.links:
            link.renew_soon(now)
        self.punching.nat_changed(self.edges.values(), now)

    def nat_sampled(self, now: float) -> None:
        """The last port of the report is fresh (`nat.sample`)."""
        self.punching.nat_sampled(now)

    def sample_nat(self, now: float) -> bool:
        """Ask which port a sequential NAT took last; False when there is nothing to wait for."""
        return self.nat.sample(now)

    def goes_first(self, peer: Peer) -> bool:
        """Of two that do something by turns; the other end comes to the opposite."""
        return self.identity.static.public < peer.public_key

    def send_opener(self, peer: Peer, address: Address, ttl: int, now: float, *, spray: bool = False) -> bool:
        """A datagram with this TTL that says nothing, should it arrive; False when it may not be sent now."""
        if not self._may_send(address, now, spray=spray):
            return False
        keypair = peer.session.sealing_keypair(now)
        if keypair is None:
            self._openers.append((address, BINDING_INDICATION, ttl))
            return True
        for data, _ in keypair.seal((b"",), b"", self._arena):
            self._openers.append((address, bytes(data), ttl))
        return True

    def close_side_sockets(self, numbers: list[int]) -> None:
        self._closing += numbers

    def address_changed(self, now: float) -> None:
        """The NAT before us has another address, or gave us another port: no hole that we punched is left."""
        self.mapped_check.doubt(now)
        self._moved(now)

    def link_lost(self, link: SupernodeLink, now: float) -> None:
        """Its relay carries nothing any more."""
        for edge in self.edges.values():
            via = edge.channels.get(link)
            if via is not None:
                edge.paths.fail(via, "its supernode is lost", now)
                self.care.choose(edge, now)
                self.wake(edge, now)

    def relay_asked(self, via: Via, now: float) -> None:
        """A path by this relay is probed: does the relay itself live, and hear us?"""
        for link in self.links_at(via[0]):
            link.check(now)

    def links_at(self, address: Address) -> list[SupernodeLink]:
        return [link for link in self.rendezvous.links if link.peer is not None and link.peer.is_at(address)]

    def observed_addresses(self) -> list[Address]:
        """Where our main sockets are seen: by supernodes, and by STUN servers."""
        known = list(dict.fromkeys(self.rendezvous.observed_addresses()))
        return known + self.nat.more_addresses(known)

    def send_plain(self, datagram: bytes, address: Address) -> None:
        self._send_raw(datagram, (address, b""))

    def wake_peer(self, peer: Peer, at: float) -> None:
        self.wake(peer, at)

    def wake_link(self, link: SupernodeLink, at: float) -> None:
        self.rendezvous.wake(link, at)

    def tell(self, event: Event) -> None:
        self._events.append(event)

    def random_bytes(self, size: int) -> bytes:
        return self._random_bytes(size)

    def chance(self) -> float:
        return self._chance()

    # ---- events

    def _station_moved(self, station: bytes, old: bytes | Port, new: bytes | Port) -> None:
        self.tell(StationMoved(station.hex(":"), self._port_name(old), self._port_name(new)))

    def _port_name(self, port: bytes | Port) -> str:
        if isinstance(port, Port):
            return "this side"
        edge = self.edges.get(port)
        return edge.label if edge else "a peer that left"
