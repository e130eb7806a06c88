"""Handshake messages between identities: what binds them, and what does not open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from l2mesh.core.arena import Arena
from l2mesh.core.drops import Drops
from l2mesh.core.handshake import Received, add_macs, answer, begin, finish, prologue, psk_with
from l2mesh.core.peer import Identity, Initiation, Peer, Role
from l2mesh.core.session import Keypair
from l2mesh.crypto.aead import Suite
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.outer import INITIATION_MIN_SIZE

RandomBytes = Callable[[int], bytes]
MakeIdentity = Callable[..., Identity]
NOW = 100.0
AES, CHACHA = Suite.AES_256_GCM, Suite.CHACHA20_POLY1305


class Two:
    """An initiator and a responder who know each other."""

    def __init__(self, one: Identity, other: Identity, random_bytes: RandomBytes) -> None:
        self.one, self.other, self.random_bytes = one, other, random_bytes
        self.responder = Peer(other.static.public, other.role, psk_with(one, other.role))
        self.initiator = Peer(one.static.public, one.role, psk_with(other, one.role))

    def initiation(self) -> tuple[Initiation, bytes]:
        begun = begin(self.one, self.responder, 7, b"timestamp-12", self.random_bytes, NOW)
        return begun, add_macs(begun.datagram, begun.mac1, b"")

    def answer(self, datagram: bytes) -> tuple[Keypair, bytes]:
        received = Received(self.other, datagram)
        assert received.public_key == self.one.static.public
        return answer(self.other, received, self.initiator, 9, self.random_bytes, NOW)


@pytest.fixture
def two(make_identity: MakeIdentity, random_bytes: RandomBytes) -> Two:
    return Two(make_identity("a"), make_identity("b"), random_bytes)


def carries(sender: Keypair, receiver: Keypair) -> bool:
    [(data, size)] = sender.seal([b"plaintext"], b"", Arena())
    return receiver.open(data, 0, size, 0, Drops())[0] == [b"plaintext"]


def test_three_messages_make_a_session(two: Two) -> None:
    begun, initiation = two.initiation()
    theirs, response = two.answer(initiation)
    ours, payload = finish(two.one, two.responder, begun, response, NOW)
    assert carries(ours, theirs)
    assert carries(theirs, ours)
    assert (ours.local_index, ours.remote_index) == (theirs.remote_index, theirs.local_index) == (7, 9)
    assert (ours.initiator, theirs.initiator) == (True, False)
    assert payload.certificate == two.other.certificate
    assert payload.instance == two.other.instance


def test_the_datagrams_are_type_index_noise_and_macs(two: Two) -> None:
    _, initiation = two.initiation()
    _, response = two.answer(initiation)
    assert initiation[:8] == bytes.fromhex("c0000000 00000007")
    assert response[:8] == bytes.fromhex("c1000000 00000007")
    assert initiation[-16:] == response[-16:] == bytes(16)
    assert len(initiation) > INITIATION_MIN_SIZE


def test_the_payload_of_an_initiation_says_who_begins(two: Two) -> None:
    _, initiation = two.initiation()
    payload = Received(two.other, initiation).payload
    assert payload.timestamp == b"timestamp-12"
    assert payload.index == 7
    assert payload.certificate == two.one.certificate
    assert payload.instance == two.one.instance
    assert payload.suites == (AES, CHACHA)


def test_a_supernode_is_shown_no_certificate_and_needs_no_secret(
    make_identity: MakeIdentity, random_bytes: RandomBytes
) -> None:
    two = Two(make_identity("a"), make_identity("hub", Role.SUPERNODE), random_bytes)
    begun, initiation = two.initiation()
    assert Received(two.other, initiation).payload.certificate == b""
    theirs, response = two.answer(initiation)
    assert carries(finish(two.one, two.responder, begun, response, NOW)[0], theirs)


SUITES = [
    ((AES, CHACHA), (AES, CHACHA), AES),
    ((CHACHA, AES), (AES, CHACHA), CHACHA),
    ((AES, CHACHA), (CHACHA, AES), CHACHA),
    ((AES,), (CHACHA, AES), AES),
    ((CHACHA,), (AES, CHACHA), CHACHA),
]


@pytest.mark.parametrize(("ours", "theirs", "chosen"), SUITES)
def test_the_suite_is_what_both_do_fast(
    make_identity: MakeIdentity,
    random_bytes: RandomBytes,
    ours: tuple[Suite, ...],
    theirs: tuple[Suite, ...],
    chosen: Suite,
) -> None:
    two = Two(make_identity("a", suites=ours), make_identity("b", suites=theirs), random_bytes)
    begun, initiation = two.initiation()
    keypair, response = two.answer(initiation)
    other, _ = finish(two.one, two.responder, begun, response, NOW)
    assert keypair.suite is other.suite is chosen
    assert carries(other, keypair)


def test_without_a_suite_in_common_there_is_no_answer(
    make_identity: MakeIdentity, random_bytes: RandomBytes
) -> None:
    two = Two(make_identity("a", suites=(AES,)), make_identity("b", suites=(CHACHA,)), random_bytes)
    with pytest.raises(BadPacket):
        two.answer(two.initiation()[1])


def test_a_suite_that_was_not_offered_is_refused(make_identity: MakeIdentity, random_bytes: RandomBytes) -> None:
    two = Two(make_identity("a"), make_identity("b"), random_bytes)
    begun, initiation = two.initiation()
    _, response = two.answer(initiation)
    with pytest.raises(BadPacket):
        finish(replace(two.one, suites=(CHACHA,)), two.responder, begun, response, NOW)


def test_an_initiation_for_another_network_or_role_does_not_open(two: Two) -> None:
    _, initiation = two.initiation()
    for other in (replace(two.other, network_id=b"m" * 32), replace(two.other, role=Role.SUPERNODE)):
        with pytest.raises(BadPacket):
            Received(other, initiation)


def test_a_response_under_another_secret_does_not_open(two: Two) -> None:
    begun, initiation = two.initiation()
    two.initiator.psk = b"another" + bytes(25)
    _, response = two.answer(initiation)
    with pytest.raises(BadPacket):
        finish(two.one, two.responder, begun, response, NOW)


def test_a_forged_response_leaves_room_for_the_genuine_one(two: Two) -> None:
    begun, initiation = two.initiation()
    theirs, response = two.answer(initiation)
    for position in range(8, len(response) - 32):
        bent = bytearray(response)
        bent[position] ^= 1
        with pytest.raises(BadPacket):
            finish(two.one, two.responder, begun, bytes(bent), NOW)
    assert carries(finish(two.one, two.responder, begun, response, NOW)[0], theirs)


def test_an_initiation_bent_anywhere_does_not_open(two: Two) -> None:
    _, initiation = two.initiation()
    for position in range(4, len(initiation) - 32):
        bent = bytearray(initiation)
        bent[position] ^= 1
        with pytest.raises(BadPacket):
            Received(two.other, bytes(bent))


def test_an_index_in_the_header_that_the_payload_does_not_confirm_is_refused(two: Two) -> None:
    _, initiation = two.initiation()
    with pytest.raises(BadPacket):
        Received(two.other, initiation[:4] + b"\0\0\0\x08" + initiation[8:])


def test_two_initiations_have_nothing_in_common(two: Two) -> None:
    first, second = two.initiation()[1], two.initiation()[1]
    assert not {first[at : at + 16] for at in range(8, 300)} & {second[at : at + 16] for at in range(8, 300)}


def test_the_prologue_names_protocol_network_and_roles() -> None:
    assert prologue(b"n" * 32, Role.EDGE) == b"l2mesh 1" + b"n" * 32 + b"\x01\x01"
    assert prologue(b"n" * 32, Role.SUPERNODE) == b"l2mesh 1" + bytes(32) + b"\x01\x02"
