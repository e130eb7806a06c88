"""What a mesh survives: restarts, moves, sleep, and supernodes that come and go."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from l2mesh.core.edge import EdgeEngine
from l2mesh.core.events import PeerDown, SupernodeReached
from l2mesh.core.supernode import SupernodeEngine
from l2mesh.crypto.tai64n import TimestampSource
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import WALL_OFFSET, Mesh, frame, mac_of
from l2mesh.simulator.nat import HOME, SYMMETRIC, Nat
from l2mesh.simulator.node import EdgeNode, Node

LINK = Link(delay=0.02)
NATS = [HOME, SYMMETRIC]


def mesh_of(seed: int, *names: str, nat: Nat | None = HOME, supernodes: int = 1) -> Mesh:
    """A mesh whose edges are all up and have been for a while."""
    mesh = Mesh(seed, LINK)
    for number in range(supernodes):
        mesh.supernode(f"hub{number}")
    for name in names:
        mesh.edge(name, mesh.world.site(nat=nat) if nat else None)
    mesh.world.run_until(mesh.all_up, within=4)
    mesh.world.run(20 + seed / 3)
    return mesh


def hub_of(mesh: Mesh, number: int = 0) -> Node[SupernodeEngine]:
    return mesh.world.nodes[f"hub{number}"]


def flows(mesh: Mesh, one: str, other: str, within: float) -> float:
    """Send a frame each 50 ms until one arrives; the seconds that took."""
    start, count = mesh.world.now, len(mesh.edges[other].frames)
    mark = f"{one} {other} {start}".encode()
    while mesh.world.now - start < within:
        mesh.edges[one].send_frames([frame(mac_of(other), mac_of(one), mark)])
        mesh.world.run(0.05)
        if any(mark in got for got in mesh.edges[other].frames[count:]):
            return mesh.world.now - start
    raise AssertionError(f"no frame from {one} to {other} within {within} s\n{mesh.world.describe()}")


def all_flow(mesh: Mesh, within: float) -> None:
    for one in mesh.edges:
        for other in mesh.edges:
            if one != other:
                flows(mesh, one, other, within)


def registered(mesh: Mesh, number: int = 0) -> Callable[[], bool]:
    """Whether all edges are members at a supernode that runs, and know it."""

    def test() -> bool:
        hub = hub_of(mesh, number)
        networks = hub.engine.networks.values()
        listed = {key for network in networks for key in network.registry.members}
        here = [edge.engine.rendezvous.links[number].registered_at is not None for edge in mesh.edges.values()]
        return listed == {mesh.key_of(name) for name in mesh.edges} and all(here)

    return test


# ---- the supernode


@pytest.mark.parametrize("nat", NATS)
@pytest.mark.parametrize("seed", range(4))
def test_a_supernode_that_restarts_at_once_has_all_registrations_within_5_s(seed: int, nat: Nat) -> None:
    mesh = mesh_of(seed, "a", "b", "c", nat=nat)
    hub_of(mesh).restart()
    mesh.world.run_until(registered(mesh), within=5, what="registration")
    mesh.world.run(1)
    all_flow(mesh, within=0.2)


@pytest.mark.parametrize("graceful", [True, False])
@pytest.mark.parametrize("pause", [1.0, 4.0, 11.0, 60.0, 200.0, 1000.0])
def test_a_supernode_that_was_away_has_all_registrations_within_5_s(pause: float, graceful: bool) -> None:
    mesh = mesh_of(3, "a", "b", "c")
    hub_of(mesh).stop() if graceful else hub_of(mesh).kill()
    mesh.world.run(pause)
    hub_of(mesh).restart()
    mesh.world.run_until(registered(mesh), within=5, what="registration")
    for edge in mesh.edges.values():
        assert not [event for event in edge.events if isinstance(event, PeerDown)]


@pytest.mark.parametrize("seed", range(3))
def test_direct_paths_live_on_without_a_supernode_rekeys_included(seed: int) -> None:
    mesh = mesh_of(seed, "a", "b", "c")
    assert mesh.all_direct()
    hub_of(mesh).kill()
    for _ in range(20):
        mesh.world.run(30)
        all_flow(mesh, within=0.1)
    for edge in mesh.edges.values():
        assert not [event for event in edge.events if isinstance(event, PeerDown)]


@pytest.mark.parametrize("downtime", [0.0, 3.0, 30.0, 400.0])
@pytest.mark.parametrize("seed", range(2))
def test_a_relayed_pair_is_relayed_again_soon_after_its_supernode_restarts(seed: int, downtime: float) -> None:
    mesh = mesh_of(seed, "a", "b", nat=SYMMETRIC)
    hub_of(mesh).kill()
    mesh.world.run(downtime)
    hub_of(mesh).restart()
    mesh.world.run_until(registered(mesh), within=5)
    flows(mesh, "a", "b", within=1)
    flows(mesh, "b", "a", within=1)


@pytest.mark.parametrize("downtime", [0.0, 30.0])
def test_a_pair_that_was_direct_may_fall_back_to_a_supernode_that_restarted(downtime: float) -> None:
    mesh = mesh_of(5, "a", "b")
    hub_of(mesh).kill()
    mesh.world.run(downtime)
    hub_of(mesh).restart()
    mesh.world.run_until(registered(mesh), within=5)
    mesh.world.run(10)
    a, b = (mesh.edges[name].host.network.site for name in "ab")
    assert a
    assert b
    mesh.world.internet.block(a, b)
    flows(mesh, "a", "b", within=12)
    mesh.world.run(5)
    all_flow(mesh, within=12)
    for edge in mesh.edges.values():
        assert not [event for event in edge.events if isinstance(event, PeerDown)]


@pytest.mark.parametrize("nat", NATS)
@pytest.mark.parametrize("dead", [0, 1])
def test_of_two_supernodes_either_may_die(dead: int, nat: Nat) -> None:
    mesh = mesh_of(1, "a", "b", nat=nat, supernodes=2)
    hub_of(mesh, dead).kill()
    flows(mesh, "a", "b", within=12)
    mesh.world.run(15)
    mesh.edge("c", mesh.world.site(nat=nat))
    mesh.world.run_until(mesh.all_up, within=8)
    all_flow(mesh, within=0.2)
    mesh.world.run(300)
    all_flow(mesh, within=0.2)


def test_an_edge_that_starts_before_its_supernode_joins_when_that_comes() -> None:
    mesh = Mesh(1, LINK)
    mesh.supernode("hub0")
    hub_of(mesh).kill()
    for name in "ab":
        mesh.edge(name, mesh.world.site(nat=HOME))
    mesh.world.run(300)
    hub_of(mesh).restart()
    mesh.world.run_until(mesh.all_up, within=15)


def test_a_supernode_name_that_does_not_resolve_at_boot_is_used_when_it_does() -> None:
    mesh = Mesh(1, LINK)
    mesh.supernode("hub0")
    known = dict(mesh.world.names)
    mesh.world.names["hub0"] = []
    for name in "ab":
        mesh.edge(name, mesh.world.site(nat=HOME))
    mesh.world.run(100)
    mesh.world.names.update(known)
    mesh.world.resolve("hub0")
    mesh.world.run_until(mesh.all_up, within=5)


def test_a_supernode_that_changes_its_address_is_found_at_the_new_one() -> None:
    mesh = mesh_of(2, "a", "b", nat=SYMMETRIC)
    mesh.world.move(hub_of(mesh))
    mesh.world.run(1)
    mesh.world.resolve("hub0")
    mesh.world.run_until(registered(mesh), within=6)
    mesh.world.run(2)
    all_flow(mesh, within=1)


# ---- the edges


@pytest.mark.parametrize("nat", NATS)
@pytest.mark.parametrize("pause", [0.0, 1.0, 20.0, 200.0])
def test_a_killed_edge_that_starts_again_is_carried_within_3_s(pause: float, nat: Nat) -> None:
    mesh = mesh_of(4, "a", "b", "c", nat=nat)
    mesh.edges["b"].kill()
    mesh.world.run(pause)
    mesh.edges["b"].restart()
    start = mesh.world.now
    flows(mesh, "b", "a", within=3)
    flows(mesh, "a", "b", within=3 - (mesh.world.now - start))
    flows(mesh, "c", "b", within=3 - (mesh.world.now - start))
    mesh.world.run(5)
    all_flow(mesh, within=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_all_edges_killed_and_started_at_once_meet_again(seed: int) -> None:
    mesh = mesh_of(seed, "a", "b", "c")
    for edge in mesh.edges.values():
        edge.restart()
    mesh.world.run_until(mesh.all_up, within=3)
    all_flow(mesh, within=0.2)


@pytest.mark.parametrize("nat", NATS)
def test_peers_forget_an_edge_that_is_stopped_at_once(nat: Nat) -> None:
    mesh = mesh_of(1, "a", "b", "c", nat=nat)
    flows(mesh, "b", "a", within=1)
    gone = mesh.key_of("b")
    assert mac_of("b") in dict(mesh.edges["a"].engine.switch.fdb.items())
    mesh.edges["b"].stop()
    mesh.world.run(0.5)
    for name in "ac":
        engine = mesh.edges[name].engine
        assert gone not in engine.edges
        assert gone not in engine.peers
        assert mac_of("b") not in dict(engine.switch.fdb.items())
        assert [event for event in mesh.edges[name].events if event == PeerDown("b", "it left")]
    mesh.edges["b"].restart()
    mesh.world.run_until(mesh.all_up, within=3)
    all_flow(mesh, within=0.2)


def test_peers_let_go_of_an_edge_that_left_while_the_supernode_was_down() -> None:
    mesh = mesh_of(1, "a", "b")
    gone = mesh.key_of("b")
    hub_of(mesh).kill()
    mesh.edges["b"].stop()
    mesh.world.run(10)
    assert not mesh.is_up("a", "b")
    hub_of(mesh).restart()
    mesh.world.run(200)
    assert gone not in mesh.edges["a"].engine.edges


def test_an_edge_that_left_is_let_go_whichever_news_of_it_comes_first() -> None:
    """The supernode's news overtakes the goodbye, which goes a longer way."""
    mesh = mesh_of(1, "a", "b")
    gone = mesh.key_of("b")
    mesh.world.internet.set_link(mesh.edges["b"].host, mesh.edges["a"].host, Link(delay=2.0))
    mesh.world.run(30)
    mesh.edges["b"].stop()
    mesh.world.run(400)
    assert gone not in mesh.edges["a"].engine.edges


@pytest.mark.parametrize("nat", [HOME, SYMMETRIC, None])
@pytest.mark.parametrize("seed", range(3))
def test_an_edge_that_moves_elsewhere_is_carried_within_3_s(seed: int, nat: Nat | None) -> None:
    mesh = mesh_of(seed, "a", "b", "c", nat=nat)
    mesh.world.move(mesh.edges["b"], mesh.world.site(nat=nat) if nat else None)
    start = mesh.world.now
    flows(mesh, "b", "a", within=3)
    flows(mesh, "a", "b", within=3 - (mesh.world.now - start))
    flows(mesh, "c", "b", within=3 - (mesh.world.now - start))
    mesh.world.run(20)
    assert mesh.all_up()
    assert nat is SYMMETRIC or mesh.all_direct()
    all_flow(mesh, within=0.1)
    for edge in mesh.edges.values():
        assert not [event for event in edge.events if isinstance(event, PeerDown)]


def test_an_edge_that_moves_while_the_supernode_is_down_is_carried_within_3_s() -> None:
    """Its peers hear of it from itself, where their NATs let it in."""
    mesh = mesh_of(1, "a", "b", nat=None)
    hub_of(mesh).kill()
    mesh.world.run(60)
    mesh.world.move(mesh.edges["b"])
    flows(mesh, "b", "a", within=3)
    flows(mesh, "a", "b", within=1)


def test_both_edges_move_at_once() -> None:
    mesh = mesh_of(1, "a", "b")
    for name in "ab":
        mesh.world.move(mesh.edges[name], mesh.world.site(nat=HOME))
    start = mesh.world.now
    flows(mesh, "b", "a", within=3)
    flows(mesh, "a", "b", within=3 - (mesh.world.now - start))
    mesh.world.run(10)
    assert mesh.all_direct()


@pytest.mark.parametrize("nat", NATS)
def test_a_router_that_gets_another_address_is_noticed_by_the_probes(nat: Nat) -> None:
    """Nothing changes at the host: no netlink message tells of it."""
    mesh = mesh_of(1, "a", "b", nat=nat)
    site = mesh.edges["b"].host.network.site
    assert site is not None
    site.renumber("5.1.99.1")
    flows(mesh, "b", "a", within=12)
    flows(mesh, "a", "b", within=12)
    mesh.world.run(60)
    all_flow(mesh, within=0.1)
    assert nat is SYMMETRIC or mesh.all_direct()


@pytest.mark.parametrize("nat", NATS)
@pytest.mark.parametrize("length", [5.0, 60.0, 100.0, 170.0, 1000.0])
def test_an_edge_that_slept_is_carried_within_3_s_of_waking(length: float, nat: Nat) -> None:
    mesh = mesh_of(2, "a", "b", "c", nat=nat)
    mesh.edges["b"].freeze()
    mesh.world.run(length)
    mesh.edges["b"].unfreeze()
    start = mesh.world.now
    flows(mesh, "b", "a", within=3)
    flows(mesh, "a", "b", within=3 - (mesh.world.now - start))
    flows(mesh, "c", "b", within=3 - (mesh.world.now - start))
    mesh.world.run(5)
    all_flow(mesh, within=0.1)


@pytest.mark.parametrize("length", [60.0, 1000.0])
def test_all_edges_slept_and_wake_together(length: float) -> None:
    mesh = mesh_of(2, "a", "b", "c")
    for edge in mesh.edges.values():
        edge.freeze()
    mesh.world.run(length)
    for edge in mesh.edges.values():
        edge.unfreeze()
    mesh.world.run(3)
    all_flow(mesh, within=0.1)
    mesh.edge("d", mesh.world.site(nat=HOME))
    mesh.world.run_until(mesh.all_up, within=4)


def test_edges_that_all_lost_the_supernode_for_longer_than_a_lease_hear_of_newcomers_again() -> None:
    mesh = mesh_of(2, "a", "b", "c")
    mesh.world.internet.block(hub_of(mesh).host)
    mesh.world.run(300)
    assert not hub_of(mesh).engine.networks
    mesh.world.internet.heal()
    mesh.world.run_until(registered(mesh), within=6)
    mesh.world.run(2)
    for edge in mesh.edges.values():
        link = edge.engine.rendezvous.links[0]
        [network] = hub_of(mesh).engine.networks.values()
        assert link.directory.version == network.registry.version
        assert set(link.directory.entries) == set(network.registry.members)


# ---- clocks


def test_a_clock_that_is_years_back_still_connects() -> None:
    mesh = mesh_of(1, "a", "b")
    late = mesh.edge("c", mesh.world.site(nat=HOME))
    late.restart()
    late.set_wall_clock(0.0)
    mesh.world.run_until(mesh.all_up, within=3)
    mesh.world.run(400)
    all_flow(mesh, within=0.1)


def test_a_restart_with_a_clock_years_back_connects_with_its_stored_timestamp() -> None:
    mesh = mesh_of(1, "a", "b")
    edge: EdgeNode[EdgeEngine] = mesh.edges["b"]
    make, stored = edge.make, edge.engine.timestamps.stored

    def with_state() -> EdgeEngine:
        engine = make()
        engine.timestamps = TimestampSource(stored, 946_684_800.0)
        return engine

    edge.wall_offset = 946_684_800.0 - mesh.world.now  # it is the year 2000 again
    edge.restart(with_state)
    start = mesh.world.now
    flows(mesh, "b", "a", within=3)
    flows(mesh, "a", "b", within=3 - (mesh.world.now - start))
    assert edge.wall_offset < WALL_OFFSET
    assert [event for event in edge.events if isinstance(event, SupernodeReached)]


def test_a_clock_that_is_set_back_while_running_harms_no_rekey() -> None:
    mesh = mesh_of(1, "a", "b")
    mesh.edges["a"].set_wall_clock(WALL_OFFSET - 1e8)
    for _ in range(20):
        mesh.world.run(30)
        all_flow(mesh, within=0.1)
