"""Static keys, the authority of a network, and what is derived from either.

A node *is* its X25519 public key; a network *is* the Ed25519 public key of its authority. In a shared-secret
network the authority is derived from the secret, so that each holder can sign its own certificate:

    secret --HKDF--> authority seed --Ed25519--> authority public key --BLAKE2s--> network id
    secret, or authority public key --HKDF, salted with `psk`--> handshake PSK

Who knows the authority's public key of a shared-secret network can try secrets against it, offline: that is
why a secret is 32 random bytes and no passphrase.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2s

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from l2mesh.wire.errors import BadPacket

KEY_SIZE = 32
"""Bytes of every key here: X25519, Ed25519 (public or seed), PSK, network id."""

MIN_SECRET_SIZE = 16
"""Bytes. 128 bits: below that the authority can be found by trying."""

NO_PSK = bytes(KEY_SIZE)
"""The PSK between nodes that share none, such as an edge and a supernode (as in WireGuard)."""

LABEL_AUTHORITY = b"l2mesh authority v1"
LABEL_NETWORK_ID = b"l2mesh network id v1"
LABEL_PSK = b"l2mesh psk v1"

RandomBytes = Callable[[int], bytes]
Buffer = bytes | bytearray | memoryview


class InvalidKey(BadPacket):
    """A public key from outside that is none: wrong length, or a point of low order (RFC 7748, 6.1)."""


class KeyFormatError(ValueError):
    """Key text or a key file that the user gave is not what it should be; the message says what to do."""


@dataclass(frozen=True, slots=True)
class StaticKey:
    """An X25519 key pair: a node's for life, or ephemeral. Equal when the public keys are."""

    public: bytes
    private: X25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls, random_bytes: RandomBytes) -> StaticKey:
        return cls.from_private_bytes(random_bytes(KEY_SIZE))

    @classmethod
    def from_private_bytes(cls, private: bytes) -> StaticKey:
        """From 32 private bytes; any 32 bytes will do. Raises KeyFormatError."""
        key = X25519PrivateKey.from_private_bytes(_sized(private, "X25519 private key"))
        return cls(key.public_key().public_bytes_raw(), key)

    @classmethod
    def from_pem(cls, pem: bytes) -> StaticKey:
        """From PKCS#8 PEM without a password. Raises KeyFormatError."""
        key = _load_private(pem)
        if not isinstance(key, X25519PrivateKey):
            raise KeyFormatError(f"holds {_kind(key)}, but a node's key is X25519")
        return cls(key.public_key().public_bytes_raw(), key)

    def to_pem(self) -> bytes:
        """PKCS#8 PEM, not encrypted: keep it in a file of mode 0600."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def private_bytes(self) -> bytes:
        return self.private.private_bytes_raw()

    def exchange(self, peer_public: bytes) -> bytes:
        """The 32 bytes that only the two key holders can compute (RFC 7748). Raises InvalidKey."""
        try:
            return self.private.exchange(X25519PublicKey.from_public_bytes(peer_public))
        except ValueError:
            raise InvalidKey("public key: wrong length, or a point of low order") from None


@dataclass(frozen=True, slots=True)
class AuthorityKey:
    """The Ed25519 key pair of a network: who holds it admits members. Equal when the public keys are."""

    public: bytes
    private: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls, random_bytes: RandomBytes) -> AuthorityKey:
        return cls.from_private_bytes(random_bytes(KEY_SIZE))

    @classmethod
    def from_private_bytes(cls, seed: bytes) -> AuthorityKey:
        """From the 32-byte seed (RFC 8032, section 5.1.5). Raises KeyFormatError."""
        key = Ed25519PrivateKey.from_private_bytes(_sized(seed, "Ed25519 private key"))
        return cls(key.public_key().public_bytes_raw(), key)

    @classmethod
    def from_pem(cls, pem: bytes) -> AuthorityKey:
        """From PKCS#8 PEM without a password. Raises KeyFormatError."""
        key = _load_private(pem)
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyFormatError(f"holds {_kind(key)}, but an authority's key is Ed25519")
        return cls(key.public_key().public_bytes_raw(), key)

    def to_pem(self) -> bytes:
        """PKCS#8 PEM, not encrypted: keep it in a file of mode 0600, or offline."""
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def private_bytes(self) -> bytes:
        return self.private.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """64 bytes (RFC 8032)."""
        return self.private.sign(message)


def signature_is_valid(authority_public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the authority signed `message`; False too when `authority_public` is no key at all."""
    try:
        Ed25519PublicKey.from_public_bytes(authority_public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def authority_from_secret(secret: bytes) -> AuthorityKey:
    """The authority of a shared-secret network. Raises KeyFormatError for less than MIN_SECRET_SIZE bytes."""
    if len(secret) < MIN_SECRET_SIZE:
        raise KeyFormatError(f"secret: {len(secret)} bytes, but it takes at least {MIN_SECRET_SIZE} random ones")
    return AuthorityKey.from_private_bytes(_derive(LABEL_AUTHORITY, secret))


def network_id(authority_public: bytes) -> bytes:
    """The 32 bytes that name a network to its members and supernodes."""
    return blake2s(LABEL_NETWORK_ID + authority_public).digest()


def network_psk(material: bytes, psk: bytes = b"") -> bytes:
    """The 32-byte PSK of every handshake within a network.

    `material` is the shared secret, or the authority's public key in a certificate network, where the result
    is worth as much as `psk`: without one it hides the port from strangers who do not know the network.
    """
    return _derive(LABEL_PSK, material, salt=psk)


def encode_key(key: bytes) -> str:
    """A key as users see it: base64."""
    return base64.b64encode(key).decode("ascii")


def decode_key(text: str, what: str) -> bytes:
    """The 32 bytes of a key in base64. Raises KeyFormatError, whose message begins with `what`."""
    text = text.strip()
    try:
        key = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise KeyFormatError(f"{what}: not base64: a key is 44 characters of A-Z a-z 0-9 + / =") from None
    if len(key) != KEY_SIZE:
        raise KeyFormatError(f"{what}: {len(key)} bytes, but a key has {KEY_SIZE} (44 characters of base64)")
    if encode_key(key) != text:
        # Else one key would have several spellings, and comparing text would not be comparing keys.
        raise KeyFormatError(f"{what}: its last characters cannot end a key: mistyped?")
    return key


def _derive(label: bytes, secret: bytes, salt: bytes = b"") -> bytes:
    """HKDF-SHA256 (RFC 5869) to one key."""
    return HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=salt, info=label).derive(secret)


def _sized(key: bytes, what: str) -> bytes:
    if len(key) != KEY_SIZE:
        raise KeyFormatError(f"{what}: {len(key)} bytes, but it has {KEY_SIZE}")
    return key


def _load_private(pem: bytes) -> object:
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError:
        raise KeyFormatError("is encrypted: write it without a password (openssl pkey -in … -out …)") from None
    except (ValueError, UnsupportedAlgorithm):
        pass
    found = re.search(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----", pem)
    if found is None:
        raise KeyFormatError("holds no key in PEM form (-----BEGIN PRIVATE KEY-----)")
    label = found[1].decode("ascii")
    if label == "PRIVATE KEY":
        raise KeyFormatError("holds a private key that cannot be read: damaged, or of an unknown kind")
    raise KeyFormatError(f"holds a {label}, but this must be a PRIVATE KEY")


def _kind(key: object) -> str:
    """What a private key of another kind is called: 'a key of type RSA'."""
    name = type(key).__name__.removesuffix("PrivateKey")
    return f"a key of type {name}"
