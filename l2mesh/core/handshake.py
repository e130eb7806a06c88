"""Handshake messages: from identity and peer to datagrams and keypairs. No state of its own.

The initiator is always an edge; edges answer edges, supernodes answer edges. So the responder knows from its own
role which network and which PSK an initiation must be for: a supernode is no member, knows no PSK, and its
handshakes belong to no network.
"""

from __future__ import annotations

from typing import Final

from l2mesh.core.peer import Identity, Initiation, Peer, Role
from l2mesh.core.session import Keypair
from l2mesh.crypto import mac
from l2mesh.crypto.aead import Suite, choose
from l2mesh.crypto.keys import KEY_SIZE, NO_PSK, RandomBytes, StaticKey
from l2mesh.crypto.noise import NoiseInitiator, NoiseResponder
from l2mesh.crypto.tai64n import TIMESTAMP_SIZE
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.handshake_payload import HandshakePayload, emit_payload, parse_payload
from l2mesh.wire.outer import MAC_SIZE, Outer, emit_handshake, parse_handshake

PROTOCOL: Final = b"l2mesh 1"
"""In the prologue of every handshake: changes with every change of the protocol."""

NO_NETWORK: Final = bytes(KEY_SIZE)
NO_TIMESTAMP: Final = bytes(TIMESTAMP_SIZE)


def prologue(network_id: bytes, responder: Role) -> bytes:
    if responder is Role.SUPERNODE:
        network_id = NO_NETWORK
    return PROTOCOL + network_id + bytes((Role.EDGE, responder))


def psk_with(identity: Identity, role: Role) -> bytes:
    """The PSK between this node and a node of `role`."""
    return NO_PSK if Role.SUPERNODE in (identity.role, role) else identity.psk


def begin(
    identity: Identity, peer: Peer, index: int, timestamp: bytes, random_bytes: RandomBytes, now: float
) -> Initiation:
    """An initiation to `peer`; data to us shall carry `index`."""
    noise = NoiseInitiator(
        prologue(identity.network_id, peer.role),
        identity.static,
        peer.public_key,
        StaticKey.generate(random_bytes),
    )
    certificate = b"" if peer.role is Role.SUPERNODE else identity.certificate
    payload = HandshakePayload(timestamp, index, tuple(identity.suites), identity.instance, certificate)
    datagram = emit_handshake(Outer.INITIATION, index, noise.write_initiation(emit_payload(payload)))
    return Initiation(index, noise, datagram, mac.mac1(peer.mac1_key, datagram), now)


def add_macs(datagram: bytes, mac1: bytes, cookie: bytes) -> bytes:
    """The datagram with mac1 and, given a cookie, mac2."""
    with_mac1 = datagram + mac1
    return with_mac1 + (mac.mac2(cookie, with_mac1) if cookie else bytes(MAC_SIZE))


class Received:
    """An initiation that opened: who sent it, what it says, and the state to answer it."""

    __slots__ = ("noise", "payload", "public_key")

    def __init__(self, identity: Identity, datagram: bytes) -> None:
        """Raises BadPacket."""
        index, message = parse_handshake(datagram)
        self.noise = NoiseResponder(prologue(identity.network_id, identity.role), identity.static)
        self.public_key, payload = self.noise.read_initiation(message)
        self.payload = parse_payload(payload)
        if self.payload.index != index:
            raise BadPacket("initiation: its header has another index than its payload")


def answer(
    identity: Identity, received: Received, peer: Peer, index: int, random_bytes: RandomBytes, now: float
) -> tuple[Keypair, bytes]:
    """(keypair to wait for its confirmation, response datagram). Raises BadPacket without a common suite."""
    suite = choose(received.payload.suites, identity.suites)
    if suite is None:
        raise BadPacket("initiation: no cipher suite in common")
    payload = HandshakePayload(NO_TIMESTAMP, index, (suite,), identity.instance, identity.certificate)
    ephemeral = StaticKey.generate(random_bytes)
    message = received.noise.write_response(emit_payload(payload), peer.psk, ephemeral)
    datagram = emit_handshake(Outer.RESPONSE, received.payload.index, message)
    send_key, receive_key = received.noise.transport_keys()
    keypair = Keypair(
        peer,
        suite=suite,
        send_key=send_key,
        receive_key=receive_key,
        local_index=index,
        remote_index=received.payload.index,
        initiator=False,
        now=now,
    )
    return keypair, add_macs(datagram, mac.mac1(peer.mac1_key, datagram), b"")


def finish(
    identity: Identity, peer: Peer, initiation: Initiation, datagram: bytes, now: float
) -> tuple[Keypair, HandshakePayload]:
    """(keypair, payload of the response). Raises BadPacket; a genuine response may still come then."""
    message = parse_handshake(datagram)[1]
    payload = parse_payload(initiation.noise.read_response(message, peer.psk))
    if payload.suites[0] not in identity.suites:
        raise BadPacket("response: a cipher suite that was not offered")
    send_key, receive_key = initiation.noise.transport_keys()
    keypair = Keypair(
        peer,
        suite=Suite(payload.suites[0]),
        send_key=send_key,
        receive_key=receive_key,
        local_index=initiation.index,
        remote_index=payload.index,
        initiator=True,
        now=now,
    )
    return keypair, payload
