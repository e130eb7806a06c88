"""What changes beneath a steady stream of numbered frames, and for how long none arrives: each test prints it.

Nothing sends a frame again here: what is lost is counted. (A stream that does, as TCP: test_mesh_path_care.py.)
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pytest

from l2mesh.core.events import PeerDown
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, frame, mac_of
from l2mesh.simulator.nat import LINUX, Allocation, Firewall, Nat

if TYPE_CHECKING:
    from collections.abc import Callable

    from l2mesh.simulator.place import Site

    Change = Callable[["Scene"], object]

LINK: Final = Link(delay=0.02)
EVERY_S: Final = 0.02
GAP_S: Final = 1.0
BLOCK_GAP_S: Final = 8.0

SYMMETRIC: Final = Nat(LINUX.mapping, allocation=Allocation.RANDOM, overloads=True, stream_timeout=120.0)
ACCEPTS: Final = Nat(LINUX.mapping, overloads=True, stream_timeout=120.0, accepts_input=True)


class Scene:
    """Edges a and b that have been up for a while, and a numbered frame each way every EVERY_S."""

    def __init__(self, seed: int, nats: tuple[Nat | None, Nat | None], hubs: int = 1) -> None:
        self.mesh = mesh = Mesh(seed, LINK)
        self.nats = nats
        for number in range(hubs):
            mesh.supernode(f"hub{number}", addresses=2, ports=(7777, 7778))
        for name, nat in zip("ab", nats, strict=True):
            mesh.edge(name, mesh.world.site(nat=nat, firewall=Firewall()))
        mesh.world.run_until(mesh.all_up, within=5)
        mesh.world.run(20 + seed)
        self.sent: Counter[str] = Counter()

    def site(self, name: str) -> Site:
        site = self.mesh.edges[name].host.network.site
        assert site is not None
        return site

    def flow(self, seconds: float) -> None:
        until = self.mesh.world.now + seconds
        while self.mesh.world.now < until:
            for one, other in ("ab", "ba"):
                number = f"{self.sent[other]} ".encode()
                self.mesh.edges[one].send_frames([frame(mac_of(other), mac_of(one), number)])
                self.sent[other] += 1
            self.mesh.world.run(EVERY_S)

    def gap(self, name: str, since: float) -> float:
        """The longest time from then on in which nothing arrived at an edge."""
        times = [at for at in self.mesh.edges[name].delivered_at if at >= since]
        return max(later - earlier for earlier, later in pairwise([since, *times, self.mesh.world.now]))

    def survives(self, change: Change, within: float, then: float = 10.0) -> None:
        self.flow(3)
        since = self.mesh.world.now
        change(self)
        self.flow(then)
        gaps = {name: self.gap(name, since) for name in "ab"}
        lost = {name: self.sent[name] - len(set(self.mesh.edges[name].frames)) for name in "ab"}
        print(f"gaps in ms: { ({name: round(gap * 1000) for name, gap in gaps.items()}) }, frames lost: {lost}")
        assert max(gaps.values()) < within
        for edge in self.mesh.edges.values():
            assert len(set(edge.frames)) == len(edge.frames), "a frame came twice"
            assert not [event for event in edge.events if isinstance(event, PeerDown)]


PAIRS: Final = {
    "homes": (LINUX, LINUX),
    "accepting": (ACCEPTS, ACCEPTS),
    "public": (None, LINUX),
    "birthday": (LINUX, SYMMETRIC),
    "relayed": (SYMMETRIC, SYMMETRIC),
}
EACH_PAIR = pytest.mark.parametrize("nats", PAIRS.values(), ids=PAIRS)
SEEDS = pytest.mark.parametrize("seed", range(2))


@SEEDS
@EACH_PAIR
@pytest.mark.parametrize("name", ["a", "b"])
def test_a_host_goes_elsewhere(seed: int, nats: tuple[Nat | None, Nat | None], name: str) -> None:
    def move(scene: Scene) -> None:
        nat = scene.nats["ab".index(name)]
        scene.mesh.world.move(scene.mesh.edges[name], scene.mesh.world.site(nat=nat))

    Scene(seed, nats).survives(move, GAP_S)


@SEEDS
@EACH_PAIR
def test_a_host_gets_another_address_where_it_is(seed: int, nats: tuple[Nat | None, Nat | None]) -> None:
    Scene(seed, nats).survives(lambda scene: scene.mesh.world.move(scene.mesh.edges["b"], scene.site("b")), GAP_S)


@SEEDS
@EACH_PAIR
@pytest.mark.parametrize("renumber", [False, True])
@pytest.mark.parametrize("names", ["a", "b", "ab"])
def test_a_router_reboots(seed: int, nats: tuple[Nat | None, Nat | None], names: str, renumber: bool) -> None:
    """conntrack forgets all, and the provider may give another address."""

    def reboot(scene: Scene) -> None:
        for name in names:
            site = scene.site(name)
            scene.mesh.world.reboot(site, renumber=renumber and site.nat is not None)

    Scene(seed, nats).survives(reboot, GAP_S)


@SEEDS
@pytest.mark.parametrize("nats", [PAIRS["homes"], PAIRS["public"], PAIRS["birthday"]])
def test_the_direct_path_is_blocked_and_unblocked(seed: int, nats: tuple[Nat | None, Nat | None]) -> None:
    scene = Scene(seed, nats)
    assert scene.mesh.all_direct()
    scene.survives(
        lambda scene: scene.mesh.world.internet.block(scene.site("a"), scene.site("b")), BLOCK_GAP_S, 40
    )
    assert scene.mesh.path("a", "b").startswith("relay")
    scene.survives(lambda scene: scene.mesh.world.internet.heal(), GAP_S, 130)
    assert scene.mesh.all_direct()


@SEEDS
def test_a_birthday_pair_parted_for_minutes_meets_again_in_the_next_round(seed: int) -> None:
    """The rounds after 30, 60, 120 s meet nobody; the next one is 240 s after the last."""
    scene = Scene(seed, PAIRS["birthday"])
    mesh = scene.mesh
    assert mesh.all_direct()
    mesh.world.internet.block(scene.site("a"), scene.site("b"))
    mesh.world.run(300)
    assert not mesh.all_direct()
    mesh.world.internet.heal()
    after = mesh.world.run_until(mesh.all_direct, within=240, what="direct again")
    print(f"direct again after {after:.0f} s")


@SEEDS
@EACH_PAIR
@pytest.mark.parametrize("dead", [0, 1])
@pytest.mark.parametrize("graceful", [True, False])
def test_one_of_two_supernodes_dies(
    seed: int, nats: tuple[Nat | None, Nat | None], dead: int, graceful: bool
) -> None:
    def end(scene: Scene) -> None:
        node = scene.mesh.world.nodes[f"hub{dead}"]
        node.stop() if graceful else node.kill()

    Scene(seed, nats, hubs=2).survives(end, GAP_S)


@SEEDS
@pytest.mark.parametrize("nats", [PAIRS["homes"], PAIRS["birthday"]])
def test_the_only_supernode_dies_and_a_direct_pair_does_not_notice(
    seed: int, nats: tuple[Nat | None, Nat | None]
) -> None:
    scene = Scene(seed, nats)
    assert scene.mesh.all_direct()
    scene.survives(lambda scene: scene.mesh.world.nodes["hub0"].kill(), 2.5 * EVERY_S, 300)
