"""A light edge: its dealings with one supernode, and nothing else.

Handshake, sessions, retries, registration, leases, probes and directory are the real ones (Node, SupernodeLink,
Directory). It keeps no entries of the directory and has no peers, so ten thousand fit into one process.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from l2mesh.core import handshake
from l2mesh.core.arena import Arena
from l2mesh.core.candidates import Origin
from l2mesh.core.directory import Changes, Directory
from l2mesh.core.drops import DropReason
from l2mesh.core.events import Event
from l2mesh.core.node import Node
from l2mesh.core.peer import Identity, Initiation, Peer, Role, Via
from l2mesh.core.plain_run import expanded
from l2mesh.core.session import Plain
from l2mesh.core.session_node import Surroundings
from l2mesh.core.supernode_link import SupernodeLink
from l2mesh.crypto.tai64n import ReplayGuard
from l2mesh.shell.clock import wall_offset
from l2mesh.wire.address import Address
from l2mesh.wire.control import Candidate, Control, DirectoryPage, Entry, Goodbye, Register, Registered, Unregister
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.handshake_payload import HandshakePayload
from l2mesh.wire.plaintext import Kind
from l2mesh.wire.probe import TRANSACTION_SIZE, emit_probe, parse_probe_reply
from scaling.identities import timestamps

ARENA = Arena()
"""Of all of them: what one has sealed is sent before the next is called."""

ELSEWHERE = (
    Candidate(bytes((192, 168, 1, 10)), 40_000, Origin.HOST),
    Candidate(bytes.fromhex("20010db8000000000000000000000010"), 40_000, Origin.HOST),
)
"""Candidates that a host at home has beside the address the supernode sees: they make up an entry's usual size."""


@dataclass(slots=True)
class Tally:
    """What all registrants of a process count together. Latencies in seconds, by what was waited for."""

    initiations: Counter[int] = field(default_factory=Counter)  # by second
    cookies: int = 0
    pages: int = 0
    joined: list[float] = field(default_factory=list)
    renewed: list[float] = field(default_factory=list)
    returned_at: list[float] = field(default_factory=list)

    def clear(self) -> None:
        self.cookies = self.pages = 0
        for counts in (self.initiations, self.joined, self.renewed, self.returned_at):
            counts.clear()


class Versions(Directory):
    """Reads all pages and keeps the version only."""

    def _take_in(self, entry: Entry, changes: Changes) -> None:
        pass


class Registrant(Node[Peer]):
    """Implements LinkNode for its one link."""

    def __init__(
        self, identity: Identity, authority: bytes, supernode: Address, key: bytes, tally: Tally, now: float
    ) -> None:
        super().__init__(
            identity,
            Surroundings(os.urandom, timestamps(), ReplayGuard()),
            now,
            initiations_per_second=1.0,
        )
        self.set_wall_clock(wall_offset())
        self._arena = ARENA
        self._authority = authority
        self._supernode = supernode
        self._tally = tally
        self._begun_at: float | None = None
        self._asked_at: float | None = None
        self._link_at: float | None = None
        self._epoch = b""
        self.link = SupernodeLink(self, "supernode", key)
        self.link.directory = Versions()

    @property
    def registered(self) -> bool:
        return self.link.registered_at is not None

    def start(self, now: float) -> None:
        self._begun_at = now
        self.link.set_addresses([self._supernode], now)

    def close(self, now: float) -> None:
        if self.link.peer is not None:
            self.send_control(self.link.peer, Unregister(), now)
            self.send_control(self.link.peer, Goodbye(), now)

    def handle_timer(self, now: float) -> None:
        super().handle_timer(now)
        if self._link_at is not None and now >= self._link_at:
            self._link_at = None
            self.wake_link(self.link, self.link.turn(now))

    def next_deadline(self) -> float:
        return min(super().next_deadline(), float("inf") if self._link_at is None else self._link_at)

    # ---- what a subclass decides

    def _admit(self, public_key: bytes, payload: HandshakePayload, now: float) -> Peer | DropReason:
        return DropReason.NOT_A_MEMBER

    def _admit_responder(self, peer: Peer, payload: HandshakePayload, now: float) -> bool:
        return True

    def _established(self, peer: Peer, via: Via, now: float, *, restarted: bool) -> None:
        self.link.established(via, now)

    def _vias_to(self, peer: Peer, now: float) -> list[Via]:
        return [(address, b"") for address in self.link.addresses]

    def _turn_of(self, peer: Peer, now: float) -> float | None:
        return None

    def _receive_plaintexts(self, peer: Peer, plaintexts: list[Plain], via: Via, now: float) -> None:
        for plain in expanded(plaintexts):
            try:
                if plain[0] == Kind.PROBE_REPLY:
                    self.link.probe_replied(*parse_probe_reply(plain), now)
                elif plain[0] == Kind.CONTROL:
                    self._dispatch_control(peer, plain, via, now)
            except BadPacket:
                self.drops.count(DropReason.MALFORMED)

    def _receive_control(self, peer: Peer, message: Control, via: Via, now: float) -> None:
        if isinstance(message, Registered):
            self._count_registered(message, now)
        if isinstance(message, DirectoryPage):
            self._tally.pages += 1
            if self.link.directory.receive(message) is not None:
                self.link.page_received(now)
        elif isinstance(message, Goodbye):
            self.link.left(now)
        else:
            self.link.receive(message, now)
        self.wake_link(self.link, now)

    # ---- counting

    def _count_registered(self, message: Registered, now: float) -> None:
        if self._begun_at is not None:
            self._tally.joined.append(now - self._begun_at)
        elif message.epoch != self._epoch:
            self._tally.returned_at.append(now)
        elif self._asked_at is not None:
            self._tally.renewed.append(now - self._asked_at)
        self._epoch = message.epoch
        self._begun_at = self._asked_at = None

    def _send_initiation(self, peer: Peer, initiation: Initiation, vias: Iterable[Via], now: float) -> None:
        self._tally.initiations[int(now)] += 1
        super()._send_initiation(peer, initiation, vias, now)

    def _receive_cookie_reply(self, datagram: bytes, now: float) -> None:
        self._tally.cookies += 1
        super()._receive_cookie_reply(datagram, now)

    # ---- what the link needs of us

    def make_supernode_peer(self, link: SupernodeLink, public_key: bytes) -> Peer:
        peer = Peer(public_key, Role.SUPERNODE, handshake.psk_with(self.identity, Role.SUPERNODE))
        self.peers[public_key] = peer
        return peer

    def make_registration(self, sequence: int) -> Register:
        if self._asked_at is None:
            self._asked_at = self._turned_at
        identity = self.identity
        return Register(sequence, self._authority, identity.certificate, identity.instance, self._candidates)

    @property
    def _candidates(self) -> tuple[Candidate, ...]:
        host = bytes(int(part) for part in self.local_hosts[0].split("."))
        return (Candidate(host, self.local_ports[4], Origin.SERVER_REFLEXIVE), *ELSEWHERE)

    def send_probe(self, peer: Peer, via: Via, now: float) -> bytes:
        transaction = os.urandom(TRANSACTION_SIZE)
        self.send(peer, (emit_probe(transaction, 0),), via, now)
        return transaction

    def send_plain(self, datagram: bytes, address: Address) -> None:
        self._send_raw(datagram, (address, b""))

    def wake_peer(self, peer: Peer, at: float) -> None:
        self.wake(peer, at)

    def wake_link(self, link: SupernodeLink, at: float) -> None:
        self._link_at = at if self._link_at is None else min(at, self._link_at)

    def tell(self, event: Event) -> None:
        pass

    def chance(self) -> float:
        return self._chance()

    def random_bytes(self, size: int) -> bytes:
        return os.urandom(size)

    def observed_changed(self, now: float) -> None:
        pass

    def address_changed(self, now: float) -> None:
        pass

    def link_lost(self, link: SupernodeLink, now: float) -> None:
        pass
