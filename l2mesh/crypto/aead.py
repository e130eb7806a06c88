"""The cipher of the data: what each end does fast decides.

With AES instructions AES-256-GCM is the faster by far; without them it is slower than ChaCha20-Poly1305 and
hard to do in constant time. So each end lists its suites in order of its own speed, and AES is taken only
when it comes first at both.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

if TYPE_CHECKING:
    from collections.abc import Sequence

TAG_SIZE = 16
NONCE_SIZE = 12


class Suite(IntEnum):
    """Code points in the handshake. Both take a 32-byte key and a 12-byte nonce, and add a 16-byte tag."""

    AES_256_GCM = 1
    CHACHA20_POLY1305 = 2


Cipher = AESGCM | ChaCha20Poly1305


def cipher(suite: int, key: bytes) -> Cipher:
    """The sealing object of a 32-byte key. Raises ValueError for an unknown suite or another length."""
    if len(key) != 32:  # AESGCM would take 16 and 24 bytes too
        raise ValueError(f"{len(key)}-byte key, but both suites take 32")
    if Suite(suite) is Suite.AES_256_GCM:
        return AESGCM(key)
    return ChaCha20Poly1305(key)


def suites_by_speed(aes_is_fast: bool) -> tuple[Suite, ...]:
    """What an end offers, fastest first. `aes_is_fast`: its processor has AES instructions."""
    if aes_is_fast:
        return (Suite.AES_256_GCM, Suite.CHACHA20_POLY1305)
    return (Suite.CHACHA20_POLY1305, Suite.AES_256_GCM)


def choose(offered: Sequence[int], supported: Sequence[int]) -> Suite | None:
    """The suite of a session, from the lists of both ends in order of their speed; None: none in common.

    The same whichever end asks. Code points we do not know are passed over: that is how versions meet.
    """
    theirs = [suite for suite in offered if suite in _KNOWN]
    ours = [suite for suite in supported if suite in _KNOWN]
    common = set(theirs) & set(ours)
    if not common:
        return None
    if Suite.CHACHA20_POLY1305 not in common or theirs[0] == ours[0] == Suite.AES_256_GCM:
        return Suite.AES_256_GCM
    return Suite.CHACHA20_POLY1305


_KNOWN = frozenset(Suite)
