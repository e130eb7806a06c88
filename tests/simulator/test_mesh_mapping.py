"""Port mappings in a mesh: what a supernode is asked to try, what comes of it, and what a lie costs."""

from __future__ import annotations

from typing import Any

import pytest

from l2mesh.core.candidates import Origin
from l2mesh.core.drops import DropReason
from l2mesh.core.edge import EdgeEngine
from l2mesh.core.events import MappingChecked
from l2mesh.core.mapped_check import AGAIN_S, DOUBT_EVERY_S, TRY_AGAIN_S
from l2mesh.core.mapped_probe import REQUESTS_BURST, REQUESTS_PER_SECOND
from l2mesh.core.mapping_values import Verdict
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh
from l2mesh.simulator.nat import FULL_CONE, HOME, SYMMETRIC, Nat
from l2mesh.simulator.network import Fate
from l2mesh.simulator.node import EdgeNode
from l2mesh.simulator.place import Site
from l2mesh.wire.address import Address
from l2mesh.wire.control import ReachRequest

LINK = Link(delay=0.02)
MAPPED_PORT = 50000
CHECK_S = sum(TRY_AGAIN_S) + 0.5


class Scene:
    """Alice behind a NAT that can map ports, and a supernode (or more)."""

    def __init__(self, nat: Nat = HOME, *, loss: float = 0.0, supernodes: int = 1, **hub: Any) -> None:
        self.mesh = Mesh(5, Link(delay=0.02, loss=loss))
        for i in range(supernodes):
            self.mesh.supernode(f"hub{i}", **hub)
        self.site: Site = self.mesh.world.site(nat=nat)
        self.alice: EdgeNode[EdgeEngine] = self.mesh.edge("alice", self.site)
        self.mesh.world.run(5)

    @property
    def mapped(self) -> Address:
        assert self.site.address
        return self.site.address, MAPPED_PORT

    @property
    def inside(self) -> Address:
        return self.alice.host.addresses[0], self.alice.ports[4]

    def map(self) -> None:
        """As the router does that is told to by PCP."""
        assert self.site.nat
        self.site.nat.forwards[MAPPED_PORT] = self.inside

    def unmap(self) -> None:
        assert self.site.nat
        del self.site.nat.forwards[MAPPED_PORT]

    def claim(self, address: Address | None = None) -> None:
        self.alice.engine.claim_mapped(address or self.mapped, self.alice.now)
        self.alice.settle()

    def run(self, seconds: float) -> None:
        self.mesh.world.run(seconds)

    def verdicts(self) -> list[Verdict]:
        return [event.verdict for event in self.alice.events if isinstance(event, MappingChecked)]

    def candidates(self) -> list[Address]:
        """Those that are mapped, as peers and directories are told."""
        told = self.alice.engine.punching.candidates()
        return [(".".join(map(str, one.ip)), one.port) for one in told if one.origin == Origin.MAPPED]


def probes_to(scene: Scene, target: Address) -> list[Address]:
    """Where datagrams that are stopped at this address come from, from now on."""
    sources: list[Address] = []

    def tap(at: float, source: Address, destination: Address, datagram: bytes, fate: Fate) -> None:
        if destination == target:
            sources.append(source)

    scene.mesh.world.internet.taps.append(tap)
    return sources


def test_a_mapping_that_a_supernode_reached_is_a_candidate() -> None:
    scene = Scene()
    scene.map()
    scene.claim()
    assert scene.candidates() == []
    scene.run(0.1)
    assert scene.verdicts() == [Verdict.REACHED]
    assert scene.candidates() == [scene.mapped]


@pytest.mark.parametrize("nat", [HOME, SYMMETRIC])
def test_a_dead_mapping_is_none(nat: Nat) -> None:
    scene = Scene(nat)
    scene.claim()
    scene.run(CHECK_S)
    assert scene.verdicts() == [Verdict.UNREACHED]
    assert scene.candidates() == []


@pytest.mark.parametrize("loss", [0.1, 0.2])
def test_loss_spoils_no_check(loss: float) -> None:
    scene = Scene(loss=loss)
    scene.run(5)
    scene.map()
    scene.claim()
    scene.run(CHECK_S)
    assert scene.verdicts() == [Verdict.REACHED]


def test_two_symmetric_nats_meet_by_a_mapped_port() -> None:
    scene = Scene(SYMMETRIC)
    mesh = scene.mesh
    mesh.edge("bob", mesh.world.site(nat=SYMMETRIC))
    mesh.world.run_until(lambda: mesh.is_up("bob", "alice"), within=10)
    assert mesh.path("bob", "alice").startswith("relay")
    scene.map()
    scene.claim()
    mesh.world.run_until(mesh.all_direct, within=3)


def test_an_address_that_is_not_its_own_is_refused() -> None:
    scene = Scene()
    victim = scene.mesh.world.host("victim").addresses[0], 7
    arrived = probes_to(scene, victim)
    scene.claim(victim)
    scene.run(CHECK_S)
    assert scene.verdicts() == [Verdict.ELSEWHERE]
    assert not arrived


def test_a_supernode_probes_by_another_address_where_it_has_one() -> None:
    scene = Scene(addresses=2)
    _, other = scene.mesh.world.nodes["hub0"].host.addresses
    sources = probes_to(scene, scene.mapped)
    scene.claim()
    scene.run(CHECK_S)
    assert {source[0] for source in sources} == {other}
    assert len(sources) == len(TRY_AGAIN_S)
    scene.map()
    scene.claim()
    scene.run(1)
    assert scene.candidates() == [scene.mapped]


@pytest.mark.parametrize("ports", [(7777,), (7777, 7778)])
def test_what_the_nat_lets_in_anyway_proves_a_mapping_only_by_another_socket(ports: tuple[int, ...]) -> None:
    """The router says that it maps the very port that its ordinary NAT uses."""
    scene = Scene(HOME if len(ports) == 1 else FULL_CONE, ports=ports)
    [observed] = scene.alice.engine.observed_addresses()
    scene.claim(observed)
    scene.run(CHECK_S)
    assert scene.verdicts() == [Verdict.UNPROVEN if len(ports) == 1 else Verdict.REACHED]


def test_a_mapping_that_dies_is_found_out_when_it_is_renewed() -> None:
    scene = Scene()
    scene.map()
    scene.claim()
    scene.run(1)
    scene.unmap()
    scene.claim()
    scene.run(1)
    assert scene.candidates() == [scene.mapped]  # until it is known
    scene.run(CHECK_S)
    assert scene.verdicts() == [Verdict.REACHED, Verdict.UNREACHED]
    assert scene.candidates() == []


def test_doubt_has_it_checked_but_not_at_every_doubt() -> None:
    scene = Scene()
    scene.map()
    scene.claim()
    scene.run(1)
    for _ in range(100):
        scene.alice.engine.doubt_mapped(scene.alice.now)
        scene.alice.settle()
        scene.run(1)
    assert len(scene.verdicts()) == 1 + int(100 / DOUBT_EVERY_S)


def test_a_new_address_of_the_router_is_found_out_at_once() -> None:
    scene = Scene()
    scene.map()
    scene.claim()
    scene.run(DOUBT_EVERY_S)
    scene.site.reboot("198.51.100.200")
    scene.run(CHECK_S + 5)
    assert scene.verdicts()[-1] is Verdict.ELSEWHERE
    assert scene.candidates() == []


def test_without_a_supernode_nothing_is_known_and_a_candidate_stays_one() -> None:
    scene = Scene()
    scene.map()
    scene.claim()
    scene.run(1)
    scene.mesh.world.nodes["hub0"].kill()
    scene.claim()
    scene.run(60)
    assert Verdict.UNREACHED not in scene.verdicts()
    assert scene.candidates() == [scene.mapped]


def test_it_waits_for_the_first_supernode() -> None:
    scene = Scene()
    mesh = scene.mesh
    mesh.world.nodes["hub0"].kill()
    scene.run(10)
    scene.map()
    scene.claim()
    scene.run(5)
    assert scene.verdicts() == []
    mesh.world.nodes["hub0"].restart()
    scene.run(10)
    assert scene.verdicts() == [Verdict.REACHED]


def test_a_supernode_that_cannot_probe_is_made_up_for_by_another() -> None:
    scene = Scene(supernodes=2)
    scene.map()
    scene.mesh.world.nodes["hub0"].engine._receive_control = lambda *_: None
    scene.claim()
    scene.run(1)
    assert scene.verdicts() == [Verdict.REACHED]


def test_no_supernode_that_could_probe_leaves_it_open_and_asks_again() -> None:
    scene = Scene()
    scene.map()
    hub = scene.mesh.world.nodes["hub0"].engine
    answer, hub._receive_control = hub._receive_control, lambda *_: None
    scene.claim()
    scene.run(CHECK_S)
    assert scene.verdicts() == [Verdict.UNPROVEN]
    hub._receive_control = answer
    scene.run(AGAIN_S)
    assert scene.verdicts() == [Verdict.UNPROVEN, Verdict.REACHED]


def test_what_one_edge_can_have_sent_is_bounded() -> None:
    scene = Scene()
    arrived = probes_to(scene, scene.mapped)
    engine = scene.alice.engine
    [link] = engine.rendezvous.links
    assert link.peer
    for _ in range(100):
        for _ in range(10):
            request = ReachRequest(bytes(map(int, scene.mapped[0].split("."))), MAPPED_PORT, bytes(8))
            engine.send_control(link.peer, request, scene.alice.now)
            scene.alice.settle()
        scene.run(0.1)
    assert REQUESTS_BURST <= len(arrived) <= REQUESTS_BURST + 10 * REQUESTS_PER_SECOND + 1
    assert scene.mesh.world.nodes["hub0"].engine.drops.as_dict()[DropReason.RATE_LIMITED] > 900


def test_a_mapping_given_up_is_no_candidate_and_no_answer_brings_it_back() -> None:
    scene = Scene()
    scene.map()
    scene.claim()
    scene.run(1)
    scene.claim()
    scene.alice.engine.claim_mapped(None, scene.alice.now)
    scene.alice.settle()
    assert scene.candidates() == []
    scene.run(CHECK_S)
    assert scene.candidates() == []
    assert scene.verdicts() == [Verdict.REACHED]


def test_a_request_for_no_address_at_all_is_malformed() -> None:
    scene = Scene()
    [link] = scene.alice.engine.rendezvous.links
    assert link.peer
    scene.alice.engine.send_control(link.peer, ReachRequest(bytes(5), MAPPED_PORT, bytes(8)), scene.alice.now)
    scene.alice.settle()
    scene.run(1)
    assert scene.mesh.world.nodes["hub0"].engine.drops.as_dict() == {DropReason.MALFORMED: 1}
