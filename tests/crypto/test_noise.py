"""The handshake, against itself, against fixed bytes and against an independent Noise (noiseprotocol)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from l2mesh.crypto import noise
from l2mesh.crypto.keys import StaticKey
from l2mesh.crypto.noise import NoiseError, NoiseInitiator, NoiseResponder
from l2mesh.wire.errors import BadPacket

ALICE, BOB = StaticKey.from_private_bytes(b"a" * 32), StaticKey.from_private_bytes(b"b" * 32)
ALICE_EPHEMERAL, BOB_EPHEMERAL = (
    StaticKey.from_private_bytes(b"A" * 32),
    StaticKey.from_private_bytes(b"B" * 32),
)
PROLOGUE = b"l2mesh test"
PSK = bytes(range(32))
LOW_ORDER_POINT = bytes(32)


def initiator(remote: StaticKey = BOB, ephemeral: StaticKey = ALICE_EPHEMERAL) -> NoiseInitiator:
    return NoiseInitiator(PROLOGUE, ALICE, remote.public, ephemeral)


def responder(prologue: bytes = PROLOGUE) -> NoiseResponder:
    return NoiseResponder(prologue, BOB)


def other_noise(ours: StaticKey, remote: bytes | None = None) -> Any:
    """The same end of the same handshake, by noiseprotocol."""
    other = NoiseConnection.from_name(noise.PROTOCOL_NAME)
    other.set_psks(psk=PSK)
    other.set_prologue(PROLOGUE)
    other.set_keypair_from_private_bytes(Keypair.STATIC, ours.private_bytes())
    if remote is None:
        other.set_as_responder()
    else:
        other.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, remote)
        other.set_as_initiator()
    other.start_handshake()
    return other


def keys_of(other: Any) -> tuple[bytes, bytes]:
    state = other.noise_protocol
    return state.cipher_state_encrypt.k, state.cipher_state_decrypt.k


def test_the_name_hashes_to_what_wireguard_starts_from() -> None:
    state = noise.SymmetricState(b"")
    assert state._chaining_key.hex() == "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36"


def test_a_handshake_gives_both_ends_the_same_keys() -> None:
    alice, bob = initiator(), responder()
    remote, payload = bob.read_initiation(alice.write_initiation(b"hello"))
    assert (remote, payload) == (ALICE.public, b"hello")
    assert alice.read_response(bob.write_response(b"welcome", PSK, BOB_EPHEMERAL), PSK) == b"welcome"
    send, receive = alice.transport_keys()
    assert bob.transport_keys() == (receive, send)
    assert send != receive
    assert alice.handshake_hash == bob.handshake_hash


def test_the_exact_bytes_of_both_messages() -> None:
    # These bytes were made by noiseprotocol 0.3.1.
    alice, bob = initiator(), responder()
    initiation = alice.write_initiation(b"payload 1")
    bob.read_initiation(initiation)
    response = bob.write_response(b"payload 2", PSK, BOB_EPHEMERAL)
    alice.read_response(response, PSK)
    assert len(initiation) == noise.INITIATION_OVERHEAD + 9
    assert len(response) == noise.RESPONSE_OVERHEAD + 9
    assert initiation.hex() == (
        "7a1a4e709bf085ac494aba0469b9b1eda0ab1f78b16aabb79ffeda90623e85224d8558bf0a28804d67056d94959607cf"
        "ddea5e0e08624feb629092f1803eb4fcb64d738f8cd3c1fda27f798232f0c3e9ae69180c69d634ff5e41fea5166d64d0"
        "a8a6691351e30cb5b8"
    )
    assert response.hex() == (
        "132c442be010fbd57e72603328aa76e71fccc1503aae219327d14d9c9993f472e2597764ca610101cfee33a60db9bc19"
        "7434e2b789b5d97fcb"
    )
    assert alice.transport_keys()[0].hex() == "2e40a20b01555f29beeccdea19b8e2b92eea81e89605c763b20dcad14b2b75a7"
    assert alice.transport_keys()[1].hex() == "e1c3b2d54f7923c0cf39fb32f7a8c32e73e45f08004db78274bcb05954eff033"


@pytest.mark.parametrize("payload", [b"", b"x", bytes(700)])
def test_our_initiator_meets_an_independent_responder(payload: bytes) -> None:
    ours, other = initiator(), other_noise(BOB)
    assert other.read_message(ours.write_initiation(payload)) == payload
    assert ours.read_response(bytes(other.write_message(payload[::-1])), PSK) == payload[::-1]
    assert keys_of(other) == ours.transport_keys()[::-1]
    assert other.get_handshake_hash() == ours.handshake_hash


@pytest.mark.parametrize("payload", [b"", b"x", bytes(700)])
def test_an_independent_initiator_meets_our_responder(payload: bytes) -> None:
    other, ours = other_noise(ALICE, BOB.public), responder()
    assert ours.read_initiation(bytes(other.write_message(payload))) == (ALICE.public, payload)
    assert other.read_message(ours.write_response(payload[::-1], PSK, BOB_EPHEMERAL)) == payload[::-1]
    assert keys_of(other) == ours.transport_keys()[::-1]
    assert other.get_handshake_hash() == ours.handshake_hash


@pytest.mark.parametrize("position", [0, 31, 32, 79, 80, 100])
def test_a_changed_bit_anywhere_spoils_the_initiation_only(position: int) -> None:
    initiation = initiator().write_initiation(b"hello")
    forged = bytearray(initiation)
    forged[position] ^= 1
    bob = responder()
    with pytest.raises(NoiseError):
        bob.read_initiation(forged)
    assert bob.read_initiation(initiation) == (ALICE.public, b"hello")


@pytest.mark.parametrize("position", [0, 31, 32, 54])
def test_the_initiator_survives_a_forged_response(position: int) -> None:
    alice, bob = initiator(), responder()
    bob.read_initiation(alice.write_initiation(b""))
    response = bob.write_response(b"welcome", PSK, BOB_EPHEMERAL)
    forged = bytearray(response)
    forged[position] ^= 1
    with pytest.raises(NoiseError, match="response does not open"):
        alice.read_response(forged, PSK)
    assert alice.read_response(response, PSK) == b"welcome"
    assert alice.transport_keys() == bob.transport_keys()[::-1]


def test_a_forged_initiation_does_not_displace_a_genuine_one() -> None:
    alice, bob = initiator(), responder()
    bob.read_initiation(alice.write_initiation(b""))
    with pytest.raises(NoiseError):
        bob.read_initiation(bytes(range(200)))
    assert alice.read_response(bob.write_response(b"", PSK, BOB_EPHEMERAL), PSK) == b""


def test_the_last_genuine_initiation_is_the_one_answered() -> None:
    first, second, bob = (
        initiator(),
        initiator(ephemeral=StaticKey.from_private_bytes(b"C" * 32)),
        responder(),
    )
    bob.read_initiation(first.write_initiation(b""))
    bob.read_initiation(second.write_initiation(b""))
    response = bob.write_response(b"", PSK, BOB_EPHEMERAL)
    with pytest.raises(NoiseError):
        first.read_response(response, PSK)
    assert second.read_response(response, PSK) == b""


def test_every_truncation_is_refused() -> None:
    alice, bob = initiator(), responder()
    initiation = alice.write_initiation(b"hello")
    for size in range(len(initiation)):
        with pytest.raises(NoiseError):
            bob.read_initiation(initiation[:size])
    bob.read_initiation(initiation)
    response = bob.write_response(b"hello", PSK, BOB_EPHEMERAL)
    for size in range(len(response)):
        with pytest.raises(NoiseError):
            alice.read_response(response[:size], PSK)


def test_an_initiation_for_another_key_or_prologue_does_not_open() -> None:
    with pytest.raises(NoiseError):
        responder().read_initiation(initiator(remote=ALICE).write_initiation(b""))
    with pytest.raises(NoiseError):
        responder(b"another network").read_initiation(initiator().write_initiation(b""))


def test_another_psk_shows_in_the_response() -> None:
    alice, bob = initiator(), responder()
    bob.read_initiation(alice.write_initiation(b""))
    response = bob.write_response(b"", bytes(32), BOB_EPHEMERAL)
    with pytest.raises(NoiseError):
        alice.read_response(response, PSK)
    assert alice.read_response(response, bytes(32)) == b""


def test_keys_of_low_order_are_refused_in_every_place() -> None:
    with pytest.raises(NoiseError, match="low order"):
        NoiseInitiator(PROLOGUE, ALICE, LOW_ORDER_POINT, ALICE_EPHEMERAL).write_initiation(b"")
    with pytest.raises(NoiseError, match="low order"):
        responder().read_initiation(LOW_ORDER_POINT + bytes(64))
    alice = initiator()
    alice.write_initiation(b"")
    with pytest.raises(NoiseError, match="low order"):
        alice.read_response(LOW_ORDER_POINT + bytes(16), PSK)


def test_a_static_key_of_low_order_inside_the_initiation_is_refused() -> None:
    # Anybody who knows Bob's key can seal this one: only the exchange with it finds it out.
    state = noise.SymmetricState(PROLOGUE)
    state.mix_hash(BOB.public)
    state.mix_ephemeral(ALICE_EPHEMERAL.public)
    state.mix_exchange(ALICE_EPHEMERAL, BOB.public)
    message = ALICE_EPHEMERAL.public + state.seal(LOW_ORDER_POINT) + bytes(16)
    with pytest.raises(NoiseError, match="low order"):
        responder().read_initiation(message)


def test_messages_may_be_views_of_a_receive_buffer() -> None:
    alice, bob = initiator(), responder()
    remote, payload = bob.read_initiation(memoryview(bytearray(alice.write_initiation(b"hello"))))
    assert type(remote) is bytes
    assert type(payload) is bytes
    response = memoryview(bytearray(bob.write_response(b"", PSK, BOB_EPHEMERAL)))
    assert alice.read_response(response, PSK) == b""


def test_steps_out_of_order_are_our_own_fault() -> None:
    alice, bob = initiator(), responder()
    for step in (alice.transport_keys, bob.transport_keys, lambda: alice.handshake_hash):
        with pytest.raises(RuntimeError, match="step of the handshake is missing"):
            step()
    with pytest.raises(RuntimeError):
        alice.read_response(bytes(48), PSK)
    with pytest.raises(RuntimeError):
        bob.write_response(b"", PSK, BOB_EPHEMERAL)
    bob.read_initiation(alice.write_initiation(b""))
    with pytest.raises(RuntimeError):
        alice.write_initiation(b"")  # the same key and nonce for another plaintext
    bob.write_response(b"", PSK, BOB_EPHEMERAL)
    with pytest.raises(RuntimeError):
        bob.write_response(b"x", PSK, BOB_EPHEMERAL)


@settings(max_examples=50)
@given(st.binary(max_size=250))
def test_any_bytes_are_refused_as_a_bad_packet(message: bytes) -> None:
    alice = initiator()
    alice.write_initiation(b"")
    with pytest.raises(BadPacket):
        alice.read_response(message, PSK)
    with pytest.raises(BadPacket):
        responder().read_initiation(message)
