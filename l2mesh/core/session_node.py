"""Handshakes and sessions with many peers, and their timers: the lower half of every node (node.py).

All timers of a peer come from facts written down as they happen (`last_received_at`, `handshake_at` ...) and
are worked out in `_turn`, when the earliest of them may be due:

    an initiation without an answer     again after 0.5, 1, 2, 4, 5, 5 ... s (+ jitter), from 90 s on each 30 s
    a session                           new keys after 120 s or 2^32 datagrams, erased after 180 s
    a peer that is wanted               a handshake, whenever there is no session
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from l2mesh.core import handshake
from l2mesh.core.admission import Admission
from l2mesh.core.arena import Arena
from l2mesh.core.deadlines import Deadlines
from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.peer import COOKIE_LIFETIME_S, Identity, Initiation, Peer, Via
from l2mesh.core.session import REJECT_AFTER_S, Keypair, in_trains
from l2mesh.crypto import mac
from l2mesh.crypto.keys import RandomBytes
from l2mesh.crypto.tai64n import ReplayGuard, TimestampSource
from l2mesh.wire.address import Address
from l2mesh.wire.control import CONTROL_SIZE_MAX, Control, emit_control
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.handshake_payload import HandshakePayload
from l2mesh.wire.outer import (
    INITIATION_MIN_SIZE,
    MACS_SIZE,
    RESPONSE_MIN_SIZE,
    Buffer,
    parse_cookie_reply,
    parse_handshake,
)
from l2mesh.wire.plaintext import Kind

Train = tuple[Address, Buffer, int]
"""Out: destination, contiguous datagrams, size of each (the last may be shorter)."""

SIMULTANEOUS_S: Final = 1.5
"""Two initiations that cross within this time are one handshake: longer than any way one takes."""

CONFIRMED_WITHIN_S: Final = 1.0
"""Who has just answered an initiation begins no handshake of its own: twice the initiator's first retry."""

REKEY_SPREAD_S: Final = 10.0
"""New keys are made up to so much earlier than they must be: sessions that began together do not stay in step."""

P = TypeVar("P", bound=Peer)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an engine takes from outside: chance, and what is remembered from one start to the next."""

    random_bytes: RandomBytes
    timestamps: TimestampSource
    guard: ReplayGuard


class SessionNode(ABC, Generic[P]):
    """Makes and keeps sessions. Who may be a peer, and how it is reached, is the subclass's to say."""

    def __init__(
        self, identity: Identity, surroundings: Surroundings, now: float, *, initiations_per_second: float
    ) -> None:
        """`initiations_per_second`: answered without feeling loaded (admission.py)."""
        self.identity = identity
        self.timestamps = surroundings.timestamps
        self.guard = surroundings.guard
        self.drops = Drops()
        self.peers: dict[bytes, P] = {}
        self._random_bytes = surroundings.random_bytes
        self._admission = Admission(
            identity.static.public,
            handshake.psk_with(identity, identity.role),
            self._random_bytes,
            rate=initiations_per_second,
            limit=initiations_per_second,
            now=now,
        )
        self._keypairs: dict[int, Keypair] = {}
        self._initiations: dict[int, P] = {}
        self._deadlines: Deadlines[P] = Deadlines()
        self._arena = Arena()
        self._trains: list[Train] = []
        self._wall_offset = 0.0

    # ---- what a subclass decides

    @abstractmethod
    def _admit(self, public_key: bytes, payload: HandshakePayload, now: float) -> P | DropReason:
        """The peer that sent a genuine initiation, or why it gets no answer."""

    @abstractmethod
    def _admit_responder(self, peer: P, payload: HandshakePayload, now: float) -> bool:
        """Whether a genuine response comes from who may be a peer of ours."""

    @abstractmethod
    def _established(self, peer: P, via: Via, now: float, *, restarted: bool) -> None:
        """Both ends have shown that they have new keys. `restarted`: the peer's program is another run."""

    @abstractmethod
    def _vias_to(self, peer: P, now: float) -> list[Via]:
        """The ways to try an initiation on, best first."""

    def _vias_to_answer(self, peer: P, via: Via) -> list[Via]:
        """The ways for the response to an initiation that came by `via`, the surest first."""
        return [via]

    @abstractmethod
    def _turn_of(self, peer: P, now: float) -> float | None:
        """Do what the subclass has due for a peer; the instant of its next."""

    # ---- handshakes

    def _receive_initiation(self, datagram: bytes, via: Via, now: float) -> None:
        if len(datagram) < INITIATION_MIN_SIZE:
            raise BadPacket("initiation cut short")
        index = parse_handshake(datagram)[0]
        verdict = self._admission.check(datagram, index, repr(via).encode(), now)
        if isinstance(verdict, DropReason):
            self.drops.count(verdict)
            return
        if verdict is not None:
            self._send_raw(verdict, via)
            return
        try:
            received = handshake.Received(self.identity, datagram)
        except BadPacket:
            self.drops.count(DropReason.NOT_AUTHENTIC)
            return
        peer = self._peer_to_answer(received, now)
        if isinstance(peer, DropReason):
            self.drops.count(peer)
            return
        keypair, response = handshake.answer(
            self.identity, received, peer, self._fresh_index(), self._random_bytes, now
        )
        self._abandon_initiation(peer)
        peer.next_instance = received.payload.instance
        self._install(peer, keypair, as_initiator=False)
        vias = self._vias_to_answer(peer, via)
        peer.next_via = vias[0]
        for each in vias:
            self._send_raw(response, each)
        self.wake(peer, now + REJECT_AFTER_S)

    def _peer_to_answer(self, received: handshake.Received, now: float) -> P | DropReason:
        public_key, payload = received.public_key, received.payload
        if public_key == self.identity.static.public:
            return DropReason.OWN_KEY
        if not self.guard.accepts(public_key, payload.timestamp):
            return DropReason.REPLAYED_HANDSHAKE
        peer = self._admit(public_key, payload, now)
        if isinstance(peer, DropReason):
            return peer
        self.guard.accept(public_key, payload.timestamp)
        ours = peer.initiation
        crossed = ours is not None and now - ours.sent_at < SIMULTANEOUS_S
        if crossed and self.identity.static.public < public_key:
            return DropReason.SIMULTANEOUS  # the smaller key stays the initiator: it will answer ours
        return peer

    def _receive_response(self, datagram: bytes, via: Via, now: float) -> None:
        if len(datagram) < RESPONSE_MIN_SIZE:
            raise BadPacket("response cut short")
        peer = self._initiations.get(parse_handshake(datagram)[0])
        if peer is None or peer.initiation is None:
            self.drops.count(DropReason.UNKNOWN_INDEX)
            return
        own_mac1_key = mac.mac1_key(self.identity.static.public, peer.psk)
        if not mac.verify(own_mac1_key, datagram[:-MACS_SIZE], datagram[-MACS_SIZE : -MACS_SIZE // 2]):
            self.drops.count(DropReason.WRONG_MAC1)
            return
        try:
            keypair, payload = handshake.finish(self.identity, peer, peer.initiation, datagram, now)
        except BadPacket:
            self.drops.count(DropReason.NOT_AUTHENTIC)
            return
        peer.handshake_rtt = now - peer.initiation.sent_at
        self._abandon_initiation(peer)
        if not self._admit_responder(peer, payload, now):
            self.drops.count(DropReason.NOT_A_MEMBER)
            return
        self._install(peer, keypair, as_initiator=True)
        peer.last_received_at = now
        self.send(peer, (b"",), via, now)  # the key confirmation
        self._new_session(peer, payload.instance, via, now)

    def _receive_cookie_reply(self, datagram: bytes, now: float) -> None:
        index, salt, sealed = parse_cookie_reply(datagram)
        peer = self._initiations.get(index)
        if peer is None or peer.initiation is None:
            self.drops.count(DropReason.UNKNOWN_INDEX)
            return
        peer.cookie = mac.open_cookie(peer.cookie_key, salt, sealed, peer.initiation.mac1)
        peer.cookie_at = now

    def _confirm(self, peer: P, keypair: Keypair, via: Via, now: float) -> None:
        before = peer.session.keypairs()
        peer.handshake_rtt = now - keypair.created_at
        peer.session.confirm(keypair)
        self._forget_indices(before, peer.session.keypairs())
        # What came directly may have overtaken the rest, on a way that leads here only. That the response got
        # there is sure, and a relay carries both ways.
        round_trip = via if via[1] or peer.next_via is None else peer.next_via
        self._new_session(peer, peer.next_instance, round_trip, now)

    def _new_session(self, peer: P, instance: bytes, via: Via, now: float) -> None:
        restarted = instance != peer.instance
        peer.instance = instance
        peer.attempts = 0
        peer.renew_at = float("inf")
        peer.handshake_at = now
        peer.rekey_early = REKEY_SPREAD_S * self._chance()
        self._established(peer, via, now, restarted=restarted)
        self.wake(peer, now)

    def _install(self, peer: P, keypair: Keypair, *, as_initiator: bool) -> None:
        before = peer.session.keypairs()
        if as_initiator:
            peer.session.install_as_initiator(keypair)
        else:
            peer.session.install_as_responder(keypair)
        self._keypairs[keypair.local_index] = keypair
        self._forget_indices(before, peer.session.keypairs())

    def _forget_indices(self, before: list[Keypair], after: list[Keypair]) -> None:
        for keypair in before:
            if keypair not in after:
                self._keypairs.pop(keypair.local_index, None)

    def _fresh_index(self) -> int:
        while True:
            index = int.from_bytes(self._random_bytes(4), "big")
            if index not in self._keypairs and index not in self._initiations:
                return index

    def _initiate(self, peer: P, now: float) -> None:
        """Send an initiation on the ways there are, and plan the next one."""
        if peer.attempts == 0:
            peer.first_attempt_at = now
        peer.attempts += 1
        peer.next_attempt_at = now + peer.retry_after(now, self._chance())
        vias = self._vias_to(peer, now)
        if not vias:
            return
        timestamp = self.timestamps.next(now + self._wall_offset)
        index = self._fresh_index()
        try:
            initiation = handshake.begin(self.identity, peer, index, timestamp, self._random_bytes, now)
        except BadPacket:  # a key of low order, which only a lying directory can name
            peer.wanted_at = None
            return
        self._abandon_initiation(peer)
        peer.initiation = initiation
        self._initiations[index] = peer
        self._send_initiation(peer, initiation, vias, now)

    def _send_initiation(self, peer: P, initiation: Initiation, vias: Iterable[Via], now: float) -> None:
        cookie = peer.cookie if now - peer.cookie_at < COOKIE_LIFETIME_S else b""
        datagram = handshake.add_macs(initiation.datagram, initiation.mac1, cookie)
        for via in vias:
            self._send_raw(datagram, via)

    def try_initiation_on(self, peer: P, via: Via, now: float) -> None:
        """Another way to a peer is known: the initiation under way goes there too; without one, a new one does."""
        if peer.initiation is not None:
            peer.initiation.sent_at = now  # it may cross the other end's now
            self._send_initiation(peer, peer.initiation, (via,), now)
        else:
            peer.next_attempt_at = now
            self.wake(peer, now)

    def _abandon_initiation(self, peer: P) -> None:
        initiation: Initiation | None = peer.initiation
        if initiation is not None:
            del self._initiations[initiation.index]
            peer.initiation = None

    # ---- timers

    def wake(self, peer: P, at: float | None) -> None:
        """Look at this peer's timers at `at`, or earlier."""
        self._deadlines.wake(peer, at)

    def _turn(self, peer: P, now: float) -> None:
        if self.peers.get(peer.public_key) is not peer:
            return  # forgotten since
        before = peer.session.keypairs()
        peer.session.expire(now)
        self._forget_indices(before, peer.session.keypairs())
        handshake_at = self._handshake_due_at(peer, now)
        if handshake_at is not None and handshake_at <= now:
            self._initiate(peer, now)
            handshake_at = peer.next_attempt_at
        self.wake(peer, handshake_at)
        self.wake(peer, self._turn_of(peer, now))

    def _handshake_due_at(self, peer: P, now: float) -> float | None:
        if peer.wanted_at is None:
            return None
        due_at = peer.wanted_at
        if peer.session.sealing_keypair(now) is not None:
            rekey_at = (peer.session.rekey_at(now) or due_at) - peer.rekey_early
            due_at = max(due_at, min(rekey_at, peer.renew_at))
        if peer.session.next is not None:
            due_at = max(due_at, peer.session.next.created_at + CONFIRMED_WITHIN_S)
        return max(due_at, peer.next_attempt_at) if peer.attempts else due_at

    # ---- sending

    def send(self, peer: P, plaintexts: Iterable[Buffer], via: Via, now: float) -> bool:
        """Seal and send on one way; False without a session. Hot."""
        keypair = peer.session.sealing_keypair(now)
        if keypair is None:
            return False
        address, prefix = via
        sent = 0
        trains = self._trains
        for data, size in keypair.seal(plaintexts, prefix, self._arena):
            trains.append((address, data, size))
            sent += len(data)
        peer.tx_bytes += sent
        return True

    def send_both(self, peer: P, plaintexts: Iterable[Buffer], vias: tuple[Via, Via], now: float) -> bool:
        """Seal once and send the same datagrams on two ways, so that the peer takes each once; False without a
        session.
        """
        keypair = peer.session.sealing_keypair(now)
        if keypair is None:
            return False
        for data, size in keypair.seal(plaintexts, b"", self._arena):
            for address, prefix in vias:
                for train, train_size in wrapped(data, size, prefix):
                    self._trains.append((address, train, train_size))
                    peer.tx_bytes += len(train)
        return True

    def send_control(self, peer: P, message: Control, now: float, via: Via | None = None) -> bool:
        """False when there is no session, or no way, to send it."""
        via = via or peer.via
        encoded = emit_control(message)
        assert len(encoded) <= CONTROL_SIZE_MAX, f"{type(message).__name__} of {len(encoded)} bytes"
        return via is not None and self.send(peer, (bytes((Kind.CONTROL,)) + encoded,), via, now)

    def _send_raw(self, datagram: bytes, via: Via) -> None:
        address, prefix = via
        self._trains.append((address, prefix + datagram, len(prefix) + len(datagram)))

    # ---- bookkeeping

    def _forget(self, peer: P) -> None:
        """Erase a peer and all its keys."""
        self._abandon_initiation(peer)
        self._forget_indices(peer.session.keypairs(), [])
        peer.session.erase()
        self._deadlines.discard(peer)
        self.peers.pop(peer.public_key, None)

    def _chance(self) -> float:
        """0 to 1, evenly."""
        return int.from_bytes(self._random_bytes(2), "big") / 65536


def wrapped(train: Buffer, size: int, prefix: bytes) -> list[tuple[Buffer, int]]:
    """A train with `prefix` in front of each datagram, as trains that a socket takes."""
    if not prefix:
        return [(train, size)]
    datagrams = b"".join([prefix + train[start : start + size] for start in range(0, len(train), size)])
    size += len(prefix)
    return [(part, size) for part in in_trains(datagrams, size)]
