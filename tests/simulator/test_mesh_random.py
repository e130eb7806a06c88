"""Random topologies: whatever stands between the edges, no pair is left without a way.

The suite runs the first few. All of them: L2MESH_TOPOLOGIES=1000 pytest tests/simulator/test_mesh_random.py -n 2
"""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, frame, mac_of
from l2mesh.simulator.nat import AD, APD, EI, Allocation, Firewall, Nat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l2mesh.simulator.place import Site

COUNT: Final = int(os.environ.get("L2MESH_TOPOLOGIES", "120"))
PER_TEST: Final = 10

UP_WITHIN_S: Final = 30.0
"""With a tenth of all datagrams lost a few of each handshake's and registration's are sent again."""
CARRIED_WITHIN_S: Final = 10.0
AGAIN_EVERY_S: Final = 0.25


class Topology:
    """Sites of random NATs, maybe behind carriers, and hosts in them. A function of its seed."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(f"topology {seed}")
        self.mesh = Mesh(seed, self._link())
        self.world = self.mesh.world
        self.world.internet.icmp = random.random() < 0.5
        self.six = random.random() < 0.5
        """Whether some have IPv6."""
        self._supernodes()
        self.carriers: list[Site] = []
        self.sites = [self._site() for _ in range(random.randint(2, 4))]
        for site in self.sites:
            self._hosts(site)
        if len(self.mesh.edges) < 2:
            self._hosts(self.sites[0])
        self._blocks()

    def _link(self) -> Link:
        random = self.random
        loss = random.choice((0.0, 0.0, 0.02, 0.05, 0.1))
        jitter = random.choice((0.0, 0.0, 0.01))
        return Link(delay=random.uniform(0.002, 0.12), jitter=jitter, loss=loss, mtu=random.choice((1500, 1400)))

    def _supernodes(self) -> None:
        random = self.random
        for number in range(random.choice((1, 1, 2))):
            versions = (4, 6) if self.six else (4,)
            ports = random.choice(((7777,), (7777, 7778)))
            self.mesh.supernode(f"hub{number}", versions=versions, addresses=random.choice((1, 2)), ports=ports)

    def nat(self) -> Nat:
        random = self.random
        mapping = random.choice((EI, EI, EI, AD, APD))
        allocation = random.choice(list(Allocation)) if mapping is not EI else Allocation.PRESERVING
        first = random.randint(10, 60) * 1000
        block = random.choice(((1024, 65535), (first, first + random.choice((512, 1024, 2048)) - 1)))
        return Nat(
            mapping,
            random.choice((EI, AD, APD, APD, APD)),
            allocation,
            block,
            timeout=random.choice((30.0, 30.0, 60.0, 20.0)),
            stream_timeout=random.choice((None, 120.0)),
            hairpin=random.random() < 0.3,
            accepts_input=random.random() < 0.3,
        )

    def _site(self) -> Site:
        random = self.random
        firewall = random.choice((None, Firewall(), Firewall(), Firewall(AD)))
        if random.random() < 0.15:
            return self.world.site(nat=None, firewall=firewall)
        prefix = random.choice((None, "192.168.1", "192.168.1"))
        return self.world.site(nat=self.nat(), firewall=firewall, at=self._carrier(), prefix=prefix)

    def _carrier(self) -> Site | None:
        if self.random.random() < 0.7:
            return None
        if not self.carriers or self.random.random() < 0.5:
            prefix = f"100.64.{len(self.carriers)}"
            self.carriers.append(self.world.site(nat=self.nat(), firewall=None, prefix=prefix))
        return self.random.choice(self.carriers)

    def _hosts(self, site: Site) -> None:
        random = self.random
        for _ in range(random.choice((1, 1, 2))):
            versions = random.choice(((4,), (4, 6), (4, 6), (6,))) if self.six else (4,)
            port = random.choice((None, None, 7000))
            self.mesh.edge(f"e{len(self.mesh.edges)}", site, versions=versions, port=port)

    def _blocks(self) -> None:
        """UDP between two sites, or between a site and the second supernode."""
        random = self.random
        if random.random() < 0.3:
            self.world.internet.block(*random.sample(self.sites, 2))
        if "hub1" in self.world.nodes and random.random() < 0.2:
            self.world.internet.block(random.choice(self.sites), self.world.nodes["hub1"].host)


def pairs(mesh: Mesh) -> Iterator[tuple[str, str]]:
    return ((one, other) for one in mesh.edges for other in mesh.edges if one != other)


def carry_all(mesh: Mesh, mark: str) -> None:
    """Let every edge send every other a frame, again and again until it arrives."""
    waiting = {pair: frame(mac_of(pair[1]), mac_of(pair[0]), f"{mark} {pair}".encode()) for pair in pairs(mesh)}
    deadline = mesh.world.now + CARRIED_WITHIN_S
    while waiting:
        assert mesh.world.now < deadline, f"{mark}: nothing comes {sorted(waiting)}"
        for (one, _), sent in waiting.items():
            mesh.edges[one].send_frames([sent])
        mesh.world.run(AGAIN_EVERY_S)
        here = {name: set(mesh.edges[name].frames) for name in mesh.edges}
        waiting = {pair: sent for pair, sent in waiting.items() if sent not in here[pair[1]]}


def connect(seed: int) -> Mesh:
    """AssertionError if some pair does not get through."""
    mesh = Topology(seed).mesh
    try:
        mesh.world.run_until(mesh.all_up, UP_WITHIN_S, "all up", every=0.1)
        carry_all(mesh, "at first")
        mesh.world.run(30)  # attempts are over by then, and idle NATs forget
        carry_all(mesh, "later")
    except AssertionError as error:
        downs = [pair for pair in pairs(mesh) if not mesh.is_up(*pair)]
        ways = {pair: mesh.path(*pair) for pair in pairs(mesh)}
        raise AssertionError(f"topology {seed}: {error}\ndown: {downs}\n{ways}\n{mesh.world.describe()}") from None
    return mesh


@pytest.mark.parametrize("first", range(0, COUNT, PER_TEST))
def test_no_pair_is_left_unconnected(first: int) -> None:
    for seed in range(first, min(first + PER_TEST, COUNT)):
        connect(seed)
