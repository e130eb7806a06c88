"""A remote node as seen from here: who it is, the session with it, and the handshake that is under way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from l2mesh.core.session import Session
from l2mesh.crypto import mac
from l2mesh.crypto.keys import encode_key
from l2mesh.wire.address import Address

if TYPE_CHECKING:
    from l2mesh.crypto.aead import Suite
    from l2mesh.crypto.keys import StaticKey
    from l2mesh.crypto.noise import NoiseInitiator

Via = tuple[Address, bytes]
"""A way for a datagram: the UDP address to send it to, and the relay header to put in front (empty: direct)."""

COOKIE_LIFETIME_S: Final = 120.0

# The first retries come fast, so that a lost datagram costs little; then WireGuard's 5 s, and after 90 s
# without an answer once in half a minute, for as long as the peer is wanted.
RETRY_AFTER_S: Final = (0.5, 1.0, 2.0, 4.0, 5.0)
GIVE_UP_AFTER_S: Final = 90.0
RETRY_AFTER_GIVING_UP_S: Final = 30.0
RETRY_SUPERNODE_S: Final = 3.0
"""A supernode is tried this often for ever: within 5 s of its return, jitter included, all have registered."""
RETRY_JITTER: Final = 0.3
"""A retry comes up to this part later, so that two ends, or many, do not stay in step."""


class Role(IntEnum):
    EDGE = 1
    SUPERNODE = 2


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is, in every handshake. `instance` is new with every start of the program."""

    role: Role
    static: StaticKey
    suites: tuple[Suite, ...]
    instance: bytes
    network_id: bytes
    psk: bytes
    certificate: bytes


@dataclass(slots=True)
class Initiation:
    """A handshake that we began and that has no answer yet."""

    index: int
    noise: NoiseInitiator
    datagram: bytes  # without its MACs
    mac1: bytes
    sent_at: float


class Peer:
    """`via` and `room` are where its sealed datagrams go, and how many bytes of plaintext one carries."""

    def __init__(self, public_key: bytes, role: Role, psk: bytes) -> None:
        self.public_key = public_key
        self.role = role
        self.psk = psk
        self.name = ""
        self.instance = b""  # of the run of its program that the session is with
        self.next_instance = b""  # of session.next
        self.next_via: Via | None = None  # by which the response went that made session.next
        self.session = Session()
        self.initiation: Initiation | None = None
        self.mac1_key = mac.mac1_key(public_key, psk)
        self.cookie_key = mac.cookie_key(public_key, psk)
        self.cookie = b""
        self.cookie_at = float("-inf")
        self.via: Via | None = None
        self.room = 0

        self.wanted_at: float | None = None
        """From when on we want a session with it; None: not at all."""
        self.renew_at = float("inf")
        """New keys are wanted then, however young the session is: the other end seems to have lost it."""
        self.rekey_early = 0.0
        self.attempts = 0
        self.first_attempt_at = 0.0
        self.next_attempt_at = 0.0

        self.last_received_at = float("-inf")
        self.handshake_at: float | None = None
        self.handshake_rtt: float | None = None
        self.rx_bytes = self.tx_bytes = 0

    @property
    def label(self) -> str:
        """Its name, or the beginning of its key while nobody told us a name."""
        return self.name or encode_key(self.public_key)[:12]

    def is_at(self, address: Address) -> bool:
        """Whether its genuine datagrams come from there."""
        return self.via is not None and self.via[0] == address

    def retry_after(self, now: float, chance: float) -> float:
        """Seconds to the next initiation after the one sent now. `chance`: 0 to 1."""
        wait = RETRY_AFTER_S[min(self.attempts - 1, len(RETRY_AFTER_S) - 1)]
        if self.role is Role.SUPERNODE:
            wait = min(wait, RETRY_SUPERNODE_S)
        elif now - self.first_attempt_at >= GIVE_UP_AFTER_S:
            wait = RETRY_AFTER_GIVING_UP_S
        return wait * (1 + RETRY_JITTER * chance)
