"""The handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (noiseprotocol.org, revision 34).

::

    IKpsk2:
      <- s                       the initiator knows the responder's static key
      ...
      -> e, es, s, ss            initiation:  e(32) | static(32+16) | payload(n+16)
      <- e, ee, se, psk          response:    e(32) | payload(n+16)

Who has read an initiation knows the initiator's static key, so the PSK may depend on it. The responder knows
nothing of freshness until the first transport message: an initiation can be replayed (tai64n.ReplayGuard).

Each reading works on a copy of the state, which replaces the state once the message has proven genuine. So a
forged message leaves no trace, and the genuine one is still read when it comes after.
"""

from __future__ import annotations

import hmac
from hashlib import blake2s
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from l2mesh.crypto.keys import KEY_SIZE, Buffer, InvalidKey, StaticKey
from l2mesh.wire.errors import BadPacket

PROTOCOL_NAME = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
TAG_SIZE = 16
SEALED_KEY_SIZE = KEY_SIZE + TAG_SIZE
INITIATION_OVERHEAD = KEY_SIZE + SEALED_KEY_SIZE + TAG_SIZE
"""Bytes of an initiation beyond its payload: 96."""
RESPONSE_OVERHEAD = KEY_SIZE + TAG_SIZE
"""Bytes of a response beyond its payload: 48."""

# Every key of the two messages seals one thing only, so its nonce never leaves zero.
_NONCE = bytes(12)
# The name is longer than a hash, so the state begins as its hash (section 5.2).
_INITIAL_HASH = blake2s(PROTOCOL_NAME).digest()

T = TypeVar("T")


class NoiseError(BadPacket):
    """A handshake message that is not genuine, or not for us; the handshake lives on."""


class SymmetricState:
    """Chaining key, transcript hash and the key at hand (section 5.2), for either role."""

    __slots__ = ("_chaining_key", "_key", "hash")

    def __init__(self, prologue: bytes) -> None:
        self._chaining_key = _INITIAL_HASH
        self._key: bytes | None = None
        self.hash = _INITIAL_HASH
        self.mix_hash(prologue)

    def copy(self) -> SymmetricState:
        twin = SymmetricState.__new__(SymmetricState)
        twin._chaining_key, twin._key, twin.hash = self._chaining_key, self._key, self.hash
        return twin

    def mix_hash(self, data: bytes) -> None:
        self.hash = blake2s(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, self._key = _hkdf(self._chaining_key, material, 2)

    def mix_key_and_hash(self, psk: bytes) -> None:
        self._chaining_key, hashed, self._key = _hkdf(self._chaining_key, psk, 3)
        self.mix_hash(hashed)

    def mix_ephemeral(self, public: bytes) -> None:
        """Token `e`; with a PSK in the pattern it is mixed into the key too (section 9.2)."""
        self.mix_hash(public)
        self.mix_key(public)

    def mix_exchange(self, ours: StaticKey, theirs: bytes) -> None:
        """Tokens `ee`, `es`, `se`, `ss`. Raises NoiseError for a key of low order."""
        try:
            self.mix_key(ours.exchange(theirs))
        except InvalidKey as error:
            raise NoiseError(str(error)) from None

    def seal(self, plaintext: bytes) -> bytes:
        sealed = self._take_cipher().encrypt(_NONCE, plaintext, self.hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed: bytes, what: str) -> bytes:
        """Raises NoiseError, which names `what` did not open."""
        try:
            plaintext = self._take_cipher().decrypt(_NONCE, sealed, self.hash)
        except InvalidTag:
            raise NoiseError(f"{what} does not open: forged, damaged, or for other keys") from None
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """The transport keys: initiator to responder, responder to initiator."""
        to_responder, to_initiator = _hkdf(self._chaining_key, b"", 2)
        return to_responder, to_initiator

    def _take_cipher(self) -> ChaCha20Poly1305:
        # A key is gone once used: sealing twice under nonce zero is impossible, not only avoided.
        key, self._key = self._key, None
        return ChaCha20Poly1305(_due(key))


class NoiseInitiator:
    """write_initiation, then read_response until one is genuine, then transport_keys and handshake_hash."""

    __slots__ = ("_ephemeral", "_finished", "_remote_public", "_start", "_static", "_waiting")

    def __init__(self, prologue: bytes, static: StaticKey, remote_public: bytes, ephemeral: StaticKey) -> None:
        self._static = static
        self._ephemeral = ephemeral
        self._remote_public = remote_public
        self._start = SymmetricState(prologue)
        self._start.mix_hash(remote_public)
        self._waiting: SymmetricState | None = None
        self._finished: SymmetricState | None = None

    def write_initiation(self, payload: bytes) -> bytes:
        """96 + len(payload) bytes. Once only: a second one takes a new ephemeral key, so a new initiator.

        Raises NoiseError when the remote key is of low order.
        """
        if self._waiting is not None:
            raise RuntimeError("initiation already written: sending again takes a new ephemeral key")
        state = self._start.copy()
        state.mix_ephemeral(self._ephemeral.public)
        state.mix_exchange(self._ephemeral, self._remote_public)
        sealed_static = state.seal(self._static.public)
        state.mix_exchange(self._static, self._remote_public)
        sealed_payload = state.seal(payload)
        self._waiting = state
        return self._ephemeral.public + sealed_static + sealed_payload

    def read_response(self, message: Buffer, psk: bytes) -> bytes:
        """The responder's payload. Raises NoiseError, and then waits on for the genuine response."""
        state = _due(self._waiting).copy()
        _check_size(message, RESPONSE_OVERHEAD, "response")
        remote_ephemeral = bytes(message[:KEY_SIZE])
        state.mix_ephemeral(remote_ephemeral)
        state.mix_exchange(self._ephemeral, remote_ephemeral)
        state.mix_exchange(self._static, remote_ephemeral)
        state.mix_key_and_hash(psk)
        payload = state.open(bytes(message[KEY_SIZE:]), "response")
        self._finished = state
        return payload

    def transport_keys(self) -> tuple[bytes, bytes]:
        """(send, receive), 32 bytes each."""
        send, receive = _due(self._finished).split()
        return send, receive

    @property
    def handshake_hash(self) -> bytes:
        """32 bytes, the same at both ends of this handshake and no other (channel binding, 11.2)."""
        return _due(self._finished).hash


class NoiseResponder:
    """read_initiation until one is genuine, then write_response, then transport_keys and handshake_hash."""

    __slots__ = ("_finished", "_received", "_remote_ephemeral", "_remote_public", "_start", "_static")

    def __init__(self, prologue: bytes, static: StaticKey) -> None:
        self._static = static
        self._start = SymmetricState(prologue)
        self._start.mix_hash(static.public)
        self._remote_ephemeral = b""
        self._remote_public = b""
        self._received: SymmetricState | None = None
        self._finished: SymmetricState | None = None

    def read_initiation(self, message: Buffer) -> tuple[bytes, bytes]:
        """(initiator's static public key, payload). Raises NoiseError, and is then as before.

        The initiator holds the private key of the static key it shows, but may be a replay.
        """
        state = self._start.copy()
        _check_size(message, INITIATION_OVERHEAD, "initiation")
        sealed_end = KEY_SIZE + SEALED_KEY_SIZE
        remote_ephemeral = bytes(message[:KEY_SIZE])
        state.mix_ephemeral(remote_ephemeral)
        state.mix_exchange(self._static, remote_ephemeral)
        remote_public = state.open(bytes(message[KEY_SIZE:sealed_end]), "static key")
        state.mix_exchange(self._static, remote_public)
        payload = state.open(bytes(message[sealed_end:]), "initiation")
        self._received = state
        self._remote_ephemeral, self._remote_public = remote_ephemeral, remote_public
        return remote_public, payload

    def write_response(self, payload: bytes, psk: bytes, ephemeral: StaticKey) -> bytes:
        """48 + len(payload) bytes, in answer to the last genuine initiation, once; `ephemeral` is fresh."""
        state, self._received = _due(self._received), None
        state.mix_ephemeral(ephemeral.public)
        state.mix_exchange(ephemeral, self._remote_ephemeral)
        state.mix_exchange(ephemeral, self._remote_public)
        state.mix_key_and_hash(psk)
        sealed = state.seal(payload)
        self._finished = state
        return ephemeral.public + sealed

    def transport_keys(self) -> tuple[bytes, bytes]:
        """(send, receive), 32 bytes each."""
        receive, send = _due(self._finished).split()
        return send, receive

    @property
    def handshake_hash(self) -> bytes:
        """32 bytes, the same at both ends of this handshake and no other (channel binding, 11.2)."""
        return _due(self._finished).hash


def _hkdf(chaining_key: bytes, material: bytes, count: int) -> list[bytes]:
    """Noise's HKDF (section 4.3): RFC 5869 with HMAC-BLAKE2s and empty info, in outputs of 32 bytes."""
    secret = hmac.digest(chaining_key, material, blake2s)
    outputs: list[bytes] = []
    previous = b""
    for index in range(1, count + 1):
        previous = hmac.digest(secret, previous + bytes((index,)), blake2s)
        outputs.append(previous)
    return outputs


def _check_size(message: Buffer, least: int, what: str) -> None:
    if len(message) < least:
        raise NoiseError(f"{what}: {len(message)} bytes, fewer than {least}")


def _due(value: T | None) -> T:
    """`value`, which an earlier step has set: else the caller took the steps out of order."""
    if value is None:
        raise RuntimeError("a step of the handshake is missing: messages come in the order of the pattern")
    return value
