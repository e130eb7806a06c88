"""Keys and certificates in files: PKCS#8 and X.509 PEM, private ones for their owner's eyes only.

A private key is never overwritten, by anything: what it opened would be lost.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

from l2mesh.app import files
from l2mesh.app.errors import ConfigError, describe_os_error
from l2mesh.app.files import PRIVATE, PUBLIC
from l2mesh.crypto import certificate
from l2mesh.crypto.keys import AuthorityKey, KeyFormatError, StaticKey
from l2mesh.wire.errors import BadPacket

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

K = TypeVar("K", StaticKey, AuthorityKey)

# A PEM key has some 120 bytes, a certificate a kilobyte or two.
LARGEST_PEM = 1 << 16


def load_static_key(path: Path) -> StaticKey:
    """A node's private key; ConfigError if it is missing, open to others, or no X25519 key."""
    return _load_key(path, StaticKey.from_pem)


def load_or_make_static_key(path: Path) -> tuple[StaticKey, bool]:
    """A node's private key, made if there is none yet; and whether it was made."""
    return _load_or_make(path, load_static_key, StaticKey.generate)


def load_authority_key(path: Path) -> AuthorityKey:
    """The private key of a network's authority; ConfigError as for `load_static_key`."""
    return _load_key(path, AuthorityKey.from_pem)


def make_authority_key(path: Path) -> AuthorityKey:
    """A new authority's private key, in a file that must not exist yet; FileExistsError, OSError."""
    key = AuthorityKey.generate(os.urandom)
    files.write_new(path, key.to_pem(), PRIVATE)
    return key


def load_certificate(path: Path) -> bytes:
    """A certificate as DER; ConfigError. Whom it admits, and whether it does, is for `certificate.verify`."""
    try:
        return certificate.from_pem(_read(path, "a certificate comes from `l2mesh sign`, on the authority's host"))
    except (BadPacket, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None


def save_certificate(path: Path, der: bytes) -> None:
    """Write a certificate as PEM, in place of an older one; ConfigError if the file is anything else."""
    if path.exists() and b"BEGIN CERTIFICATE" not in _read(path, ""):
        raise ConfigError(f"{path}: exists, and is no certificate: choose another name")
    files.replace(path, certificate.to_pem(der), PUBLIC)


def _load_key(path: Path, parse: Callable[[bytes], K]) -> K:
    pem = _read(path, "", private=True)
    try:
        return parse(pem)
    except KeyFormatError as error:
        raise ConfigError(f"{path}: {error}") from None


def _load_or_make(
    path: Path, load: Callable[[Path], K], generate: Callable[[Callable[[int], bytes]], K]
) -> tuple[K, bool]:
    # The loop: another process may make the key between our look and our own attempt.
    while not path.exists():
        key = generate(os.urandom)
        try:
            files.write_new(path, key.to_pem(), PRIVATE)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(f"{path}: cannot make the key: {describe_os_error(error)}") from None
        return key, True
    return load(path), False


def _read(path: Path, remedy: str, *, private: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            if private and mode & 0o077:
                raise ConfigError(f"{path}: others can read it (mode {mode:04o}): chmod 600 {path}")
            return file.read(LARGEST_PEM)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file" + (f": {remedy}" if remedy else "")) from None
    except OSError as error:
        raise ConfigError(describe_os_error(error)) from None
