"""A simulated world with the real engines in it: supernodes and edges of networks, ready to start.

mesh = Mesh(seed=7, link=Link(delay=0.02, loss=0.2))
mesh.supernode("hub")
a = mesh.edge("a", mesh.world.site(nat=HOME))
b = mesh.edge("b", mesh.world.site(nat=HOME))
a.send_frames([frame])
mesh.world.run_until(lambda: frame in b.frames, within=1)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from l2mesh.core.edge import EdgeEngine, EdgeSettings, SupernodeName
from l2mesh.core.peer import Identity, Role
from l2mesh.core.reach import RelayPolicy
from l2mesh.core.session_node import Surroundings
from l2mesh.core.supernode import SupernodeEngine, SupernodeSettings
from l2mesh.crypto.aead import suites_by_speed
from l2mesh.crypto.certificate import NO_BEGINNING, NO_EXPIRY, Capability, issue
from l2mesh.crypto.keys import NO_PSK, AuthorityKey, StaticKey, authority_from_secret, network_id, network_psk
from l2mesh.crypto.tai64n import ReplayGuard, TimestampSource
from l2mesh.simulator.world import SUPERNODE_PORT, World

if TYPE_CHECKING:
    from collections.abc import Sequence

    from l2mesh.core.remote_edge import RemoteEdge
    from l2mesh.simulator.link import Link
    from l2mesh.simulator.node import EdgeNode, SupernodeNode
    from l2mesh.simulator.place import Site
    from l2mesh.simulator.world import RandomBytes

WALL_OFFSET: Final = 1_800_000_000.0
"""Unix seconds at virtual time zero."""


class Network:
    """A shared-secret network. `secret` is any text."""

    def __init__(self, secret: str) -> None:
        material = secret.encode().ljust(32, b".")
        self.authority: AuthorityKey = authority_from_secret(material)
        self.psk = network_psk(material)

    def certificate(
        self, name: str, public_key: bytes, macs: Sequence[bytes] = (), capabilities: Sequence[str] = ()
    ) -> bytes:
        return issue(
            self.authority,
            public_key,
            name,
            not_before=NO_BEGINNING,
            not_after=NO_EXPIRY,
            serial=1,
            macs=macs,
            capabilities=capabilities,
        )


def mac_of(name: str) -> bytes:
    """The TAP's address of an edge, made from its name."""
    return b"\x02" + name.encode()[:5].rjust(5, b"\0")


class Mesh:
    """`world` with supernodes and edges by name."""

    def __init__(self, seed: int = 1, link: Link | None = None) -> None:
        self.world = World(seed, link)
        self.network = Network("the secret of the simulated network")
        self.edges: dict[str, EdgeNode[EdgeEngine]] = {}

    def supernode(
        self,
        name: str,
        settings: SupernodeSettings | None = None,
        *,
        versions: Sequence[int] = (4,),
        addresses: int = 1,
        ports: Sequence[int] = (SUPERNODE_PORT,),
        engine: type[SupernodeEngine] = SupernodeEngine,
    ) -> SupernodeNode[SupernodeEngine]:
        """Listens on every port of so many addresses of each IP version. `engine`: one that misbehaves, maybe."""
        static = StaticKey.generate(self.world.random_bytes(f"{name} key"))

        def make(random_bytes: RandomBytes) -> SupernodeEngine:
            now = self.world.now
            identity = Identity(
                Role.SUPERNODE, static, suites_by_speed(aes_is_fast=True), random_bytes(8), NO_PSK, NO_PSK, b""
            )
            made = engine(
                identity,
                settings or SupernodeSettings(),
                Surroundings(random_bytes, TimestampSource(None, now + WALL_OFFSET), ReplayGuard()),
                now,
            )
            made.set_wall_clock(WALL_OFFSET)
            return made

        node = self.world.supernode(name, make, versions=versions, addresses=addresses, ports=ports)
        node.set_wall_clock(WALL_OFFSET)
        return node

    def edge(
        self,
        name: str,
        site: Site | None = None,
        *,
        network: Network | None = None,
        settings: EdgeSettings | None = None,
        relay: RelayPolicy = RelayPolicy.AUTO,
        relays: bool = False,
        capabilities: Sequence[str] | None = None,
        aes_is_fast: bool = True,
        certificate: bytes | None = None,
        versions: Sequence[int] = (4,),
        port: int | None = None,
    ) -> EdgeNode[EdgeEngine]:
        """`relays`: for others, by its file, and by its certificate if `capabilities` does not say otherwise."""
        network = network or self.network
        static = StaticKey.generate(self.world.random_bytes(f"{name} key"))
        if capabilities is None:
            capabilities = (Capability.RELAY,) if relays else ()
        supernodes = tuple(SupernodeName(known) for known in self.world.names)
        given = settings or EdgeSettings(network.authority.public, mac_of(name), relay=relay)
        given = replace(given, supernodes=supernodes, relay_for_others=relays)

        def make(random_bytes: RandomBytes) -> EdgeEngine:
            now = self.world.now
            identity = Identity(
                Role.EDGE,
                static,
                suites_by_speed(aes_is_fast),
                random_bytes(8),
                network_id(network.authority.public),
                network.psk,
                certificate or network.certificate(name, static.public, capabilities=capabilities),
            )
            engine = EdgeEngine(
                identity,
                given,
                Surroundings(random_bytes, TimestampSource(None, now + WALL_OFFSET), ReplayGuard()),
                now,
            )
            engine.set_wall_clock(WALL_OFFSET)
            return engine

        node = self.world.edge(name, make, site, versions=versions, port=port)
        node.set_wall_clock(WALL_OFFSET)
        self.edges[name] = node
        return node

    def key_of(self, name: str) -> bytes:
        """The public key of an edge."""
        return self.edges[name].engine.identity.static.public

    def remote(self, one: str, other: str) -> RemoteEdge | None:
        """What `one` knows of `other`."""
        return self.edges[one].engine.edges.get(self.key_of(other))

    def is_up(self, one: str, other: str) -> bool:
        """Whether `one` has a session with `other` that works."""
        remote = self.remote(one, other)
        return remote is not None and remote.up

    def path(self, one: str, other: str) -> str:
        """How `one` sends to `other`: "direct ADDRESS", "relay ADDRESS", or "none"."""
        remote = self.remote(one, other)
        if remote is None or remote.paths.selected is None:
            return "none"
        return remote.paths.selected.describe()

    def all_direct(self) -> bool:
        return all(self.path(a, b).startswith("direct") for a in self.edges for b in self.edges if a != b)

    def all_up(self) -> bool:
        return all(self.is_up(a, b) for a in self.edges for b in self.edges if a != b)


def frame(destination: bytes, source: bytes, payload: bytes = b"", ether_type: int = 0x0800) -> bytes:
    """An Ethernet frame of at least 60 bytes."""
    return (destination + source + ether_type.to_bytes(2, "big") + payload).ljust(60, b"\0")
