"""How the edges of a mesh find and reach one another, by relay and directly."""

from __future__ import annotations

import pytest

from l2mesh.core.edge import EdgeEngine
from l2mesh.core.events import PathChanged, PeerUp
from l2mesh.core.reach import RelayPolicy
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, frame, mac_of
from l2mesh.simulator.nat import FULL_CONE, HOME, SYMMETRIC, Nat
from l2mesh.simulator.network import Fate
from l2mesh.simulator.node import EdgeNode
from l2mesh.wire.outer import Outer

DELAY = 0.020
LINK = Link(delay=DELAY)
ROUND_TRIP = 2 * DELAY


def homes(mesh: Mesh, *names: str, nat: Nat = HOME, relay: RelayPolicy = RelayPolicy.AUTO) -> None:
    for name in names:
        mesh.edge(name, mesh.world.site(nat=nat), relay=relay)


def carries(mesh: Mesh, one: str, other: str, within: float = 1.0) -> float:
    """Send a frame; the seconds until it came."""
    sent = frame(mac_of(other), mac_of(one), f"{one} to {other} at {mesh.world.now}".encode())
    mesh.edges[one].send_frames([sent])
    return mesh.world.run_until(lambda: sent in mesh.edges[other].frames, within, what=f"{one} to {other}")


def count_types(mesh: Mesh) -> dict[int, int]:
    """Counts datagrams by first byte from now on."""
    seen: dict[int, int] = {}

    def tap(at: float, source: object, target: object, datagram: bytes, fate: Fate) -> None:
        seen[datagram[0]] = seen.get(datagram[0], 0) + 1

    mesh.world.internet.taps.append(tap)
    return seen


def events_of(edge: EdgeNode[EdgeEngine], kind: type) -> list[tuple[float, object]]:
    pairs = zip(edge.events_at, edge.events, strict=True)
    return [(at, event) for at, event in pairs if isinstance(event, kind)]


@pytest.mark.parametrize("seed", range(5))
def test_relay_carries_the_first_frame_and_the_punched_path_the_later_ones(seed: int) -> None:
    mesh = Mesh(seed, LINK)
    mesh.supernode("hub")
    homes(mesh, "a")
    mesh.world.run(5)
    homes(mesh, "b")
    start = mesh.world.now
    mesh.world.run_until(lambda: mesh.is_up("a", "b") and mesh.is_up("b", "a"), within=1)
    assert mesh.path("b", "a").startswith("relay")
    assert carries(mesh, "a", "b") == pytest.approx(ROUND_TRIP)
    mesh.world.run_until(mesh.all_direct, within=2 * ROUND_TRIP + 0.1, what="direct")
    assert mesh.world.now - start < 1
    assert carries(mesh, "a", "b") == pytest.approx(DELAY)
    assert carries(mesh, "b", "a") == pytest.approx(DELAY)


@pytest.mark.parametrize("seed", range(3))
def test_three_homes_all_reach_one_another_directly(seed: int) -> None:
    mesh = Mesh(seed, LINK)
    mesh.supernode("hub")
    homes(mesh, "a", "b", "c")
    mesh.world.run_until(mesh.all_up, within=2)
    mesh.world.run_until(mesh.all_direct, within=2)
    for one in mesh.edges:
        for other in mesh.edges:
            if one != other:
                assert carries(mesh, one, other) == pytest.approx(DELAY)


def test_a_frame_sent_before_the_session_stands_waits_and_arrives() -> None:
    mesh = Mesh(2, LINK)
    mesh.supernode("hub")
    homes(mesh, "a", "b")
    mesh.world.run_until(lambda: mesh.remote("a", "b") is not None, within=1)
    assert not mesh.is_up("a", "b")
    assert carries(mesh, "a", "b") < 10 * ROUND_TRIP


def test_two_hosts_of_one_lan_meet_inside_it() -> None:
    mesh = Mesh(3, LINK)
    mesh.supernode("hub")
    site = mesh.world.site(nat=HOME)
    for name in ("a", "b"):
        mesh.edge(name, site)
    mesh.world.run_until(mesh.all_direct, within=2)
    mesh.world.run(5)
    assert mesh.path("a", "b") == f"direct {mesh.edges['b'].host.addresses[0]}:{mesh.edges['b'].ports[4]}"
    assert carries(mesh, "a", "b") < 0.001


def test_same_private_addresses_at_two_homes_do_not_deceive() -> None:
    mesh = Mesh(4, LINK)
    mesh.supernode("hub")
    for name in ("a", "b", "c"):
        mesh.edge(name, mesh.world.site(nat=HOME, prefix="192.168.1"), port=40_000)
    mesh.world.run_until(mesh.all_direct, within=3)
    mesh.world.run(10)
    assert not [path for edge in "ab" if "192.168" in (path := mesh.path(edge, "c"))]
    assert carries(mesh, "a", "b") == pytest.approx(DELAY)


@pytest.mark.parametrize("nats", [(HOME, FULL_CONE), (HOME, None), (FULL_CONE, SYMMETRIC), (None, SYMMETRIC)])
def test_pairs_of_nats_that_can_meet_do(nats: tuple[Nat | None, Nat | None]) -> None:
    mesh = Mesh(5, LINK)
    mesh.supernode("hub")
    for name, nat in zip(("a", "b"), nats, strict=True):
        mesh.edge(name, mesh.world.site(nat=nat, firewall=None))
    mesh.world.run_until(mesh.all_direct, within=3, what=f"direct {nats}")


@pytest.mark.parametrize("seed", range(3))
def test_symmetric_nats_stay_relayed_and_work(seed: int) -> None:
    mesh = Mesh(seed, LINK)
    mesh.supernode("hub")
    homes(mesh, "a", "b", nat=SYMMETRIC)
    mesh.world.run_until(mesh.all_up, within=2)
    for _ in range(10):
        assert carries(mesh, "a", "b") == pytest.approx(ROUND_TRIP)
        assert carries(mesh, "b", "a") == pytest.approx(ROUND_TRIP)
        mesh.world.run(60)
    assert mesh.path("a", "b").startswith("relay")
    for edge in mesh.edges.values():
        assert len(events_of(edge, PeerUp)) == 1
        assert not events_of(edge, PathChanged)


def test_relay_always_sends_no_datagram_to_a_peer() -> None:
    mesh = Mesh(6, LINK)
    hub = mesh.supernode("hub")
    homes(mesh, "a", "b", relay=RelayPolicy.ALWAYS)
    targets: set[str] = set()
    mesh.world.internet.taps.append(
        lambda at, source, target, datagram, fate: targets.update((source[0], target[0]))
    )
    mesh.world.run_until(mesh.all_up, within=2)
    for _ in range(3):
        assert carries(mesh, "a", "b") == pytest.approx(ROUND_TRIP)
        mesh.world.run(100)
    assert mesh.path("a", "b").startswith("relay")
    sites = [mesh.edges[name].host.network.site for name in "ab"]
    outside = {site.address for site in sites if site is not None and site.address is not None}
    inside = {mesh.edges["a"].host.addresses[0], mesh.edges["b"].host.addresses[0]}
    assert targets == {hub.host.addresses[0]} | outside | inside
    for host in outside:
        assert not [entry for entry in hub.engine.networks.values() if host in str(entry.registry.page(0))]


@pytest.mark.parametrize("other", [RelayPolicy.ALWAYS, RelayPolicy.AUTO])
def test_relay_always_at_one_end_is_kept_by_both(other: RelayPolicy) -> None:
    mesh = Mesh(6, LINK)
    mesh.supernode("hub")
    homes(mesh, "a", relay=RelayPolicy.ALWAYS)
    homes(mesh, "b", relay=other)
    mesh.world.run_until(mesh.all_up, within=4)
    mesh.world.run(100)
    assert mesh.path("a", "b").startswith("relay")
    assert mesh.path("b", "a").startswith("relay")
    carries(mesh, "a", "b")


@pytest.mark.parametrize("other", [RelayPolicy.NEVER, RelayPolicy.AUTO])
@pytest.mark.parametrize("seed", range(3))
def test_relay_never_goes_directly_or_not_at_all(seed: int, other: RelayPolicy) -> None:
    mesh = Mesh(seed, LINK)
    mesh.supernode("hub")
    homes(mesh, "a", relay=RelayPolicy.NEVER)
    homes(mesh, "b", relay=other)
    mesh.world.run_until(mesh.all_up, within=8)
    [(_, up)] = events_of(mesh.edges["a"], PeerUp)
    assert isinstance(up, PeerUp)
    assert up.path.startswith("direct")
    # Who takes the relay may believe at first that the other one does too.
    mesh.world.run_until(mesh.all_direct, within=1)
    assert carries(mesh, "a", "b") == pytest.approx(DELAY)


def test_relay_never_between_symmetric_nats_is_no_session_and_no_relayed_datagram() -> None:
    mesh = Mesh(1, LINK)
    mesh.supernode("hub")
    homes(mesh, "a", "b", nat=SYMMETRIC, relay=RelayPolicy.NEVER)
    seen = count_types(mesh)
    mesh.world.run(120)
    assert not mesh.is_up("a", "b")
    assert Outer.RELAYED not in seen


@pytest.mark.parametrize("versions", [(6,), (4, 6)])
def test_ipv6_is_preferred_where_there_is_any(versions: tuple[int, ...]) -> None:
    mesh = Mesh(8, LINK)
    mesh.supernode("hub", versions=(4, 6))
    for name in ("a", "b"):
        mesh.edge(name, mesh.world.site(nat=HOME), versions=versions)
    mesh.world.run_until(mesh.all_direct, within=3)
    mesh.world.run(2)
    assert mesh.path("a", "b").startswith("direct [2a02:1:")
    assert carries(mesh, "a", "b") == pytest.approx(DELAY)


def test_an_ipv4_host_and_an_ipv6_host_meet_at_a_supernode_of_both() -> None:
    mesh = Mesh(9, LINK)
    mesh.supernode("hub", versions=(4, 6))
    mesh.edge("a", mesh.world.site(nat=HOME), versions=(4,))
    mesh.edge("b", mesh.world.site(nat=HOME), versions=(6,))
    mesh.world.run_until(mesh.all_up, within=3)
    assert mesh.path("a", "b").startswith("relay 5.1.")
    assert mesh.path("b", "a").startswith("relay [2a02:")
    assert carries(mesh, "a", "b") == pytest.approx(ROUND_TRIP)


@pytest.mark.parametrize("nat", [HOME, SYMMETRIC])
def test_idle_peers_keep_their_nat_open(nat: Nat) -> None:
    mesh = Mesh(10, LINK)
    mesh.supernode("hub")
    homes(mesh, "a", "b", nat=nat)
    mesh.world.run_until(mesh.all_up, within=2)
    mesh.world.run(600)
    assert carries(mesh, "a", "b") <= 1.01 * (DELAY if nat is HOME else ROUND_TRIP)
    for edge in mesh.edges.values():
        assert len(events_of(edge, PeerUp)) == 1
        assert len(events_of(edge, PathChanged)) <= 1


def test_a_router_that_forgot_everything_costs_seconds_only() -> None:
    mesh = Mesh(11, LINK)
    mesh.supernode("hub")
    homes(mesh, "a", "b")
    mesh.world.run_until(mesh.all_direct, within=3)
    mesh.world.run(30)
    for edge in mesh.edges.values():
        assert edge.host.network.site is not None
        edge.host.network.site.flush()
    mesh.world.run(12)
    carries(mesh, "a", "b", within=0.1)
    mesh.world.run_until(mesh.all_direct, within=40)


def test_a_direct_path_that_dies_is_replaced_by_the_relay_and_found_again() -> None:
    mesh = Mesh(12, Link(delay=0.1))
    mesh.supernode("hub")
    homes(mesh, "a", "b")
    mesh.world.run_until(mesh.all_direct, within=3)
    mesh.world.run(60)
    a, b = (mesh.edges[name].host.network.site for name in "ab")
    assert a
    assert b
    mesh.world.internet.block(a, b)
    for _ in range(10):
        mesh.edges["a"].send_frames([frame(mac_of("b"), mac_of("a"))])
        mesh.edges["b"].send_frames([frame(mac_of("a"), mac_of("b"))])
        mesh.world.run(1)
    carries(mesh, "a", "b", within=0.5)
    carries(mesh, "b", "a", within=0.5)
    assert mesh.path("a", "b").startswith("relay")
    changes = len(events_of(mesh.edges["a"], PathChanged))
    mesh.world.run(60)
    assert len(events_of(mesh.edges["a"], PathChanged)) == changes, "it flaps"
    mesh.world.internet.heal()
    mesh.world.run_until(mesh.all_direct, within=130)
    for edge in mesh.edges.values():
        assert len(events_of(edge, PeerUp)) == 1
