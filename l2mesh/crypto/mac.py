"""mac1, mac2 and cookies: the cheap checks before any public-key operation (WireGuard paper, 5.3, 5.4.7).

::

    mac1 = MAC(mac1 key, datagram up to mac1)           always: the sender knows whom it talks to, and the PSK
    mac2 = MAC(cookie, datagram up to mac2)             under load: the sender receives at its source address

    cookie = MAC(the responder's secret of the minute, source address)
    sealed = ChaCha20-Poly1305(BLAKE2s(key = cookie key, salt), cookie, associated data = mac1 of the cause)

A cookie reply is bound to the mac1 that caused it: who has not seen our initiation cannot feed us a cookie.
"""

from __future__ import annotations

import hmac
from hashlib import blake2s

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from l2mesh.crypto.keys import KEY_SIZE, NO_PSK, Buffer, RandomBytes
from l2mesh.wire.errors import BadPacket

MAC_SIZE = 16
COOKIE_SIZE = 16
SALT_SIZE = 16
SEALED_COOKIE_SIZE = COOKIE_SIZE + 16

COOKIE_LIFETIME = 120.0
"""Seconds between two secrets, as in WireGuard. A cookie is good for one to two of these."""

LABEL_MAC1 = b"l2mesh mac1 v1"
LABEL_COOKIE = b"l2mesh cookie v1"

# Each key is hashed from a fresh random salt, and seals one cookie.
_NONCE = bytes(12)


def mac1_key(responder_public: bytes, psk: bytes = NO_PSK) -> bytes:
    """32 bytes; computed once per peer. `psk` is the network's, or NO_PSK towards a supernode."""
    return _labelled_key(LABEL_MAC1, responder_public, psk)


def cookie_key(responder_public: bytes, psk: bytes = NO_PSK) -> bytes:
    """32 bytes, from which the key of each cookie reply is made."""
    return _labelled_key(LABEL_COOKIE, responder_public, psk)


def mac1(key: bytes, message: Buffer) -> bytes:
    """16 bytes over the datagram up to mac1, with `key` of mac1_key."""
    return blake2s(message, digest_size=MAC_SIZE, key=key).digest()


def mac2(cookie: bytes, message: Buffer) -> bytes:
    """16 bytes over the datagram up to mac2 (mac1 included)."""
    return blake2s(message, digest_size=MAC_SIZE, key=cookie).digest()


def verify(key: bytes, message: Buffer, mac: Buffer) -> bool:
    """Whether `mac` is the mac1 (key: mac1 key) or mac2 (key: cookie) of `message`, in constant time."""
    return hmac.compare_digest(blake2s(message, digest_size=MAC_SIZE, key=key).digest(), mac)


def seal_cookie(key: bytes, cookie: bytes, cause_mac1: Buffer, salt: Buffer) -> bytes:
    """32 bytes for a cookie reply. `key` of cookie_key, `salt` 16 fresh random bytes sent beside it."""
    return _reply_cipher(key, salt).encrypt(_NONCE, cookie, cause_mac1)


def open_cookie(key: bytes, salt: Buffer, sealed: Buffer, cause_mac1: Buffer) -> bytes:
    """The 16-byte cookie in a reply to the datagram whose mac1 was `cause_mac1`. Raises BadPacket."""
    if len(salt) != SALT_SIZE or len(sealed) != SEALED_COOKIE_SIZE:
        raise BadPacket(f"cookie reply: salt of {len(salt)} and cookie of {len(sealed)} bytes")
    try:
        return _reply_cipher(key, salt).decrypt(_NONCE, sealed, cause_mac1)
    except InvalidTag:
        raise BadPacket("cookie reply does not open: forged, or not for our last initiation") from None


class CookieJar:
    """The responder's half: makes cookies without remembering whom they were for.

    Doors: `cookie` for a reply, `accepts` for a mac2. `source` is any bytes that stand for the address.
    """

    __slots__ = ("_changed_at", "_previous", "_random_bytes", "_secret")

    def __init__(self, random_bytes: RandomBytes) -> None:
        self._random_bytes = random_bytes
        self._secret = b""
        self._previous = b""
        self._changed_at = float("-inf")

    def cookie(self, source: bytes, now: float) -> bytes:
        """The 16-byte cookie of this source, for now."""
        self._change_when_due(now)
        return _cookie_of(self._secret, source)

    def accepts(self, source: bytes, message: Buffer, mac: Buffer, now: float) -> bool:
        """Whether `mac` is the mac2 of `message` under a cookie this source was given lately."""
        self._change_when_due(now)
        return any(verify(_cookie_of(secret, source), message, mac) for secret in (self._secret, self._previous))

    def _change_when_due(self, now: float) -> None:
        age = now - self._changed_at
        if age < COOKIE_LIFETIME:
            return
        # After a quiet time the old secret is not "the previous one": what it made has expired.
        self._previous = self._secret if age < 2 * COOKIE_LIFETIME else self._random_bytes(KEY_SIZE)
        self._secret = self._random_bytes(KEY_SIZE)
        self._changed_at = now


def _cookie_of(secret: bytes, source: bytes) -> bytes:
    return blake2s(source, digest_size=COOKIE_SIZE, key=secret).digest()


def _labelled_key(label: bytes, responder_public: bytes, psk: bytes) -> bytes:
    if len(responder_public) != KEY_SIZE or len(psk) != KEY_SIZE:
        raise ValueError("responder key and psk have 32 bytes each")
    return blake2s(label + responder_public + psk).digest()


def _reply_cipher(key: bytes, salt: Buffer) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(blake2s(salt, key=key).digest())
