"""Networks and members for engines that we make ourselves."""

from __future__ import annotations

import os
from dataclasses import dataclass

from l2mesh.core.peer import Identity, Role
from l2mesh.crypto.aead import suites_by_speed
from l2mesh.crypto.certificate import NO_BEGINNING, NO_EXPIRY, issue
from l2mesh.crypto.keys import AuthorityKey, StaticKey, authority_from_secret, network_id, network_psk
from l2mesh.crypto.tai64n import TimestampSource
from l2mesh.shell.clock import now, wall_offset
from l2mesh.shell.cpu import aes_is_fast


@dataclass(frozen=True, slots=True)
class Network:
    """A shared-secret network."""

    authority: AuthorityKey
    psk: bytes
    id: bytes

    @classmethod
    def of_secret(cls, secret: bytes) -> Network:
        authority = authority_from_secret(secret)
        return cls(authority, network_psk(secret), network_id(authority.public))

    def member(self, name: str) -> Identity:
        """A new member, with a certificate like those that edges of such a network make for themselves."""
        static = StaticKey.generate(os.urandom)
        certificate = issue(
            self.authority, static.public, name, not_before=NO_BEGINNING, not_after=NO_EXPIRY, serial=1
        )
        suites = suites_by_speed(aes_is_fast())
        return Identity(Role.EDGE, static, suites, os.urandom(8), self.id, self.psk, certificate)


def timestamps() -> TimestampSource:
    return TimestampSource(None, now() + wall_offset())
