"""What the tests of the core share: deterministic randomness, identities, and engines driven by hand."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from l2mesh.core.peer import Identity, Peer, Role
from l2mesh.core.session import Keypair
from l2mesh.crypto.aead import Suite
from l2mesh.crypto.keys import StaticKey
from l2mesh.simulator.mesh import Network

RandomBytes = Callable[[int], bytes]
MakePair = Callable[..., tuple[Keypair, Keypair]]


@pytest.fixture
def random_bytes() -> RandomBytes:
    return Random(7).randbytes


@pytest.fixture
def network() -> Network:
    return Network("the secret of the tests")


@pytest.fixture
def make_identity(random_bytes: RandomBytes, network: Network) -> Callable[..., Identity]:
    """An identity of the network, new at each call; `role` and `suites` may be given."""

    def make(
        name: str = "x",
        role: Role = Role.EDGE,
        suites: tuple[Suite, ...] = (Suite.AES_256_GCM, Suite.CHACHA20_POLY1305),
    ) -> Identity:
        static = StaticKey.generate(random_bytes)
        certificate = network.certificate(name, static.public) if role is Role.EDGE else b""
        network_id = b"n" * 32 if role is Role.EDGE else bytes(32)
        psk = network.psk if role is Role.EDGE else bytes(32)
        return Identity(role, static, suites, random_bytes(8), network_id, psk, certificate)

    return make


@pytest.fixture
def make_pair(random_bytes: RandomBytes) -> MakePair:
    """Both ends of one keypair: initiator's and responder's."""

    def make(suite: Suite = Suite.AES_256_GCM, now: float = 0.0) -> tuple[Keypair, Keypair]:
        one, two = random_bytes(32), random_bytes(32)
        ours, theirs = (int.from_bytes(random_bytes(4), "big") for _ in range(2))

        def end(
            peer_key: bytes, send: bytes, receive: bytes, local: int, remote: int, *, initiator: bool
        ) -> Keypair:
            return Keypair(
                Peer(peer_key, Role.EDGE, bytes(32)),
                suite=suite,
                send_key=send,
                receive_key=receive,
                local_index=local,
                remote_index=remote,
                initiator=initiator,
                now=now,
            )

        return (
            end(b"r" * 32, one, two, ours, theirs, initiator=True),
            end(b"i" * 32, two, one, theirs, ours, initiator=False),
        )

    return make
