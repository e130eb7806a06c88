"""What frames notice of it when the way beneath them changes: mostly nothing, and less than a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from errno import ECONNREFUSED, EHOSTUNREACH, EMSGSIZE

import pytest

from l2mesh.core.drops import DropReason
from l2mesh.core.events import PathChanged, PeerDown
from l2mesh.core.path_size import BASE_SIZE
from l2mesh.core.reach import RelayPolicy
from l2mesh.core.remote_edge import RemoteEdge
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, frame, mac_of
from l2mesh.simulator.nat import FULL_CONE, HOME, SYMMETRIC, Nat
from l2mesh.simulator.place import Site
from tests.simulator.stream import Stream

LINK = Link(delay=0.01)
GAP_S = 1.0
Change = Callable[[Mesh], object]


def mesh_of(seed: int, *nats: Nat | None, hubs: int = 1, link: Link = LINK) -> Mesh:
    """Edges a and b, up, with what can be direct direct."""
    mesh = Mesh(seed, link)
    for number in range(hubs):
        mesh.supernode(f"hub{number}")
    for name, nat in zip("ab", nats, strict=True):
        mesh.edge(name, mesh.world.site(nat=nat, firewall=None))
    mesh.world.run_until(mesh.all_up, within=30)
    mesh.world.run(15 + seed / 3)
    return mesh


def site(mesh: Mesh, name: str) -> Site:
    found = mesh.edges[name].host.network.site
    assert found is not None
    return found


def remote(mesh: Mesh, one: str, other: str) -> RemoteEdge:
    found = mesh.remote(one, other)
    assert found is not None
    return found


def changes(mesh: Mesh, name: str) -> list[PathChanged]:
    return [event for event in mesh.edges[name].events if isinstance(event, PathChanged)]


def block(mesh: Mesh) -> None:
    mesh.world.internet.block(site(mesh, "a"), site(mesh, "b"))


def flush(*names: str) -> Change:
    def change(mesh: Mesh) -> None:
        for name in names:
            site(mesh, name).flush()

    return change


def renumber(mesh: Mesh) -> None:
    mesh.world.reboot(site(mesh, "a"), renumber=True)


def move(mesh: Mesh) -> None:
    mesh.world.move(mesh.edges["a"], mesh.world.site(nat=HOME))


def kill_the_relay(mesh: Mesh) -> None:
    used = {mesh.path("a", "b"), mesh.path("b", "a")}
    for name, node in mesh.world.nodes.items():
        if name.startswith("hub") and f"relay {node.host.addresses[0]}:7777" in used:
            node.kill()


CASES: list[tuple[str, tuple[Nat | None, Nat | None], Change]] = [
    ("a router is rebooted", (HOME, HOME), flush("a")),
    ("both are", (HOME, HOME), flush("a", "b")),
    ("its NAT has other ports then", (SYMMETRIC, FULL_CONE), flush("a")),
    ("the other one is rebooted", (SYMMETRIC, FULL_CONE), flush("b")),
    ("a relayed pair's is", (SYMMETRIC, SYMMETRIC), flush("a")),
    ("it gets another address", (HOME, HOME), renumber),
    ("the host moves", (HOME, HOME), move),
    ("the direct path is blocked", (HOME, HOME), block),
    ("the relay dies, and there is another", (SYMMETRIC, SYMMETRIC), kill_the_relay),
]


@pytest.mark.parametrize("direction", ["ab", "ba"])
@pytest.mark.parametrize(("what", "nats", "change"), CASES, ids=[case[0] for case in CASES])
def test_a_stream_goes_on_within_a_second_when(
    what: str, nats: tuple[Nat | None, Nat | None], change: Change, direction: str
) -> None:
    mesh = mesh_of(2, *nats, hubs=2 if "relay dies" in what else 1)
    stream = Stream(mesh, direction[0], direction[1])
    stream.run(4.3)
    changed_at = mesh.world.now
    change(mesh)
    stream.run(8)
    assert stream.gap(changed_at) < GAP_S
    for edge in mesh.edges.values():
        assert not [event for event in edge.events if isinstance(event, PeerDown)]


def test_a_path_that_is_blocked_and_unblocked_is_used_again() -> None:
    mesh = mesh_of(3, HOME, HOME)
    stream = Stream(mesh, "a", "b")
    stream.run(3)
    block(mesh)
    stream.run(20)
    assert mesh.path("a", "b").startswith("relay")
    assert mesh.path("b", "a").startswith("relay")
    mesh.world.internet.heal()
    healed_at = mesh.world.now
    while not mesh.all_direct():
        stream.run(1)
        assert mesh.world.now - healed_at < 60
    assert stream.gap(healed_at) < 0.2


# Both ways.


def test_frames_that_go_both_ways_are_delivered_once() -> None:
    mesh = mesh_of(1, HOME, HOME)
    edge, bob = remote(mesh, "a", "b"), mesh.edges["b"]
    slow = Link(delay=0.15, reorder=0.3, duplicate=0.2, held=0.1)
    mesh.world.internet.set_link(site(mesh, "b"), site(mesh, "a"), slow, both=False)  # answers come late
    sent = []
    for number in range(600):
        if number % 100 == 50:
            edge.paths.accuse(edge.via or (("", 0), b""), "a test", mesh.world.now)
            edge.paths.accused = False  # type: ignore[attr-defined]
            mesh.edges["a"].engine.care.choose(edge, mesh.world.now)
        batch = [
            frame(mac_of("b"), mac_of("a"), f"{number} {index}".encode()).ljust(60 + 700 * index, b"\0")
            for index in range(3)
        ]
        sent += batch
        mesh.edges["a"].send_frames(batch)
        mesh.world.run(0.01)
    mesh.world.run(2)
    assert Counter(bob.frames) == Counter(sent)
    assert bob.engine.drops.as_dict()[DropReason.REPLAYED] > 0, "they did go both ways"


def test_a_superframe_goes_both_ways_whole() -> None:
    """64 datagrams in a train, which grows by the relay's headers."""
    mesh = mesh_of(1, HOME, HOME)
    edge = remote(mesh, "a", "b")
    block(mesh)
    assert edge.via is not None
    edge.paths.accuse(edge.via, "a test", mesh.world.now)
    mesh.edges["a"].engine.care.choose(edge, mesh.world.now)
    assert edge.beside is not None
    sent = [frame(mac_of("b"), mac_of("a"), f"{number:05}".encode() * 280) for number in range(128)]
    mesh.edges["a"].send_frames(sent)
    mesh.world.run(0.5)
    assert mesh.edges["b"].frames == sent


# Errors.


def test_a_path_that_the_host_has_no_route_for_is_left_at_once() -> None:
    mesh = mesh_of(4, HOME, HOME)
    stream = Stream(mesh, "a", "b")
    stream.run(3)
    changed_at = mesh.world.now
    mesh.edges["a"].host.no_route_to.add(mesh.path("a", "b").removeprefix("direct ").partition(":")[0])
    stream.run(3)
    assert stream.gap(changed_at) <= 0.25  # one retransmission
    assert mesh.path("a", "b").startswith("relay")
    assert changes(mesh, "a")[-1].new.startswith("relay")
    assert remote(mesh, "a", "b").paths.changes[-1].reason == "network unreachable"


@pytest.mark.parametrize("code", [ECONNREFUSED, EHOSTUNREACH, EMSGSIZE])
@pytest.mark.parametrize("nat", [HOME, SYMMETRIC])
def test_forged_icmp_errors_every_100_ms_change_nothing(code: int, nat: Nat) -> None:
    mesh = mesh_of(5, nat, nat)
    stream = Stream(mesh, "a", "b")
    before = [mesh.path("a", "b"), len(changes(mesh, "a"))]
    edge = remote(mesh, "a", "b")
    size = edge.paths.selected.size if edge.paths.selected else 0
    datagrams = Counter[int]()
    mesh.world.internet.taps.append(lambda at, source, target, datagram, fate: datagrams.update((datagram[0],)))
    for _ in range(300):
        stream.run(0.1)
        assert edge.via is not None
        mesh.edges["a"].receive_send_error(edge.via[0], code)
    assert [mesh.path("a", "b"), len(changes(mesh, "a"))] == before
    assert edge.paths.selected is not None
    assert edge.paths.selected.size == size
    assert stream.gap(stream.arrived_at[0]) < 0.1


def test_an_idle_pair_under_forged_icmp_errors_stays_direct_on_a_lossy_link() -> None:
    mesh = mesh_of(6, HOME, HOME, link=Link(delay=0.01, loss=0.1))
    before = len(changes(mesh, "a"))
    edge = remote(mesh, "a", "b")
    direct = edge.via
    assert direct is not None
    for _ in range(1000):
        mesh.world.run(0.1)
        mesh.edges["a"].receive_send_error(direct[0], EHOSTUNREACH)
    assert len(changes(mesh, "a")) - before <= 2


def test_more_errors_than_can_be_true_are_not_looked_at() -> None:
    mesh = mesh_of(5, HOME, HOME)
    engine = mesh.edges["a"].engine
    looked_at = []
    engine.care.send_failed = lambda edge, via, error, now: looked_at.append(error)  # type: ignore[method-assign]
    via = remote(mesh, "a", "b").via
    assert via is not None
    for _ in range(10_000):
        engine.receive_send_error(via[0], EHOSTUNREACH, False, mesh.world.now)
    assert len(looked_at) < 300


def test_where_icmp_tells_a_dead_path_is_left_within_a_second() -> None:
    mesh = mesh_of(7, None, None)
    mesh.world.internet.icmp = True
    mesh.edge("c", mesh.world.site(nat=None, firewall=None))
    mesh.world.run(10)
    assert mesh.path("a", "b").startswith("direct")
    mesh.edges["b"].kill()
    killed_at = mesh.world.now
    mesh.edges["a"].send_frames([frame(mac_of("b"), mac_of("a"))])
    mesh.world.run_until(lambda: mesh.path("a", "b").startswith("relay"), within=1.5)
    assert mesh.world.now - killed_at < 1.3
    assert "nobody listens there" in remote(mesh, "a", "b").paths.changes[-1].reason


# Both ends.


def test_both_ends_leave_an_idle_path_that_died_when_one_of_them_needs_it() -> None:
    mesh = mesh_of(8, HOME, HOME)
    mesh.edges["b"].send_frames([frame(mac_of("a"), mac_of("b"), b"here I am")])
    mesh.world.run(40)
    block(mesh)
    for number in range(100):
        mesh.edges["a"].send_frames([frame(mac_of("b"), mac_of("a"), bytes((number,)))])
        mesh.world.run(0.01)
    edge = remote(mesh, "b", "a")
    assert edge.beside is not None, "it sends both ways"
    sent = frame(mac_of("a"), mac_of("b"), b"back")
    mesh.edges["b"].send_frames([sent])
    mesh.world.run(0.05)
    assert mesh.edges["a"].frames[-1] == sent
    mesh.world.run(8)
    assert mesh.path("a", "b").startswith("relay")
    assert mesh.path("b", "a").startswith("relay")


@pytest.mark.parametrize("direction", ["ab", "ba"])
def test_a_path_that_carries_one_direction_only_is_left_by_both(direction: str) -> None:
    mesh = mesh_of(9, HOME, HOME)
    one, other = (site(mesh, name) for name in direction)
    stream = Stream(mesh, "a", "b")
    stream.run(3)
    changed_at = mesh.world.now
    mesh.world.internet.set_link(one, other, Link(delay=0.01, loss=1.0), both=False)
    stream.run(15)
    assert stream.gap(changed_at) < GAP_S
    assert mesh.path("a", "b").startswith("relay")
    assert mesh.path("b", "a").startswith("relay")


# Size and loss.


@pytest.mark.parametrize("mtu", [1280, 1300, 1492, 900, 580])
@pytest.mark.parametrize("both", [True, False])
def test_a_black_hole_stops_no_stream_for_5_s(mtu: int, both: bool) -> None:
    mesh = mesh_of(10, HOME, HOME)
    stream = Stream(mesh, "a", "b", size=1500)
    stream.run(4)
    path = remote(mesh, "a", "b").paths.selected
    assert path is not None
    assert path.size == 1472
    changed_at = mesh.world.now
    small = Link(delay=0.01, mtu=mtu)
    mesh.world.internet.set_link(site(mesh, "a"), site(mesh, "b"), small, both=both)
    stream.run(20)
    assert stream.gap(changed_at) < 4
    assert remote(mesh, "a", "b").paths.selected is path
    assert path.size <= mtu - 28
    stream.run(20)
    assert path.size > (mtu - 28) * 0.85 or path.size == 552
    mesh.world.internet.set_link(site(mesh, "a"), site(mesh, "b"), LINK)
    mesh.world.run(650)
    assert path.size == 1472


@pytest.mark.parametrize("phase", range(6))
def test_a_black_hole_in_which_small_frames_are_answered_is_noticed_at_once(phase: int) -> None:
    """As with TCP, whose bursts have small ends: nobody falls silent."""
    mesh = mesh_of(10, HOME, HOME)
    one, other = mesh.edges["a"], mesh.edges["b"]
    large = frame(mac_of("b"), mac_of("a"), bytes(1400))
    small, answer = frame(mac_of("b"), mac_of("a"), b"end"), frame(mac_of("a"), mac_of("b"), b"ack")

    def talk(seconds: float) -> None:
        until = mesh.world.now + seconds
        while mesh.world.now < until:
            one.send_frames([large])
            one.send_frames([small])
            other.send_frames([answer])
            mesh.world.run(0.02)

    talk(4 + phase / 2)
    changed_at = mesh.world.now
    hole = Link(delay=0.01, mtu=1280)
    mesh.world.internet.set_link(site(mesh, "a"), site(mesh, "b"), hole)
    talk(3)
    arrived_at = [at for at, got in zip(other.delivered_at, other.frames, strict=True) if got == large]
    assert min(at for at in arrived_at if at > changed_at + 0.03) - changed_at < 0.6
    path = remote(mesh, "a", "b").paths.selected
    assert path is not None
    assert path.size == BASE_SIZE


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("seed", range(2))
def test_a_lossy_path_neither_flaps_nor_shrinks(seed: int, loss: float) -> None:
    mesh = mesh_of(seed, HOME, HOME, link=Link(delay=0.01, loss=loss))
    mesh.world.run_until(mesh.all_direct, within=60)
    mesh.world.run(30)
    before = [len(changes(mesh, name)) for name in "ab"]
    path = remote(mesh, "a", "b").paths.selected
    assert path is not None
    small = 0
    sent = [frame(mac_of("b"), mac_of("a"), bytes(1400)), frame(mac_of("a"), mac_of("b"), bytes(60))]
    for _ in range(2000):
        for name, one in zip("ab", sent, strict=True):
            mesh.edges[name].send_frames([one])
        mesh.world.run(0.1)
        small += path.size <= BASE_SIZE
    assert [len(changes(mesh, name)) for name in "ab"] == before
    assert small < 30
    assert (0.1 if loss == 0.2 else 0) <= path.loss < 3 * loss + 0.1


# relay = always


def test_an_edge_that_is_always_relayed_answers_nothing_that_comes_directly() -> None:
    mesh = Mesh(11, LINK)
    mesh.supernode("hub")
    mesh.edge("a", relay=RelayPolicy.ALWAYS)
    mesh.edge("b")
    mesh.world.run_until(mesh.all_up, within=5)
    edge = remote(mesh, "b", "a")
    address = (mesh.edges["a"].host.addresses[0], mesh.edges["a"].ports[4])
    mesh.edges["b"].engine.send_probe(edge, (address, b""), mesh.world.now)
    edge.attempts = 5
    mesh.edges["b"].engine.try_initiation_on(edge, (address, b""), mesh.world.now)
    mesh.edges["b"].settle()
    direct: list[object] = []
    mesh.world.internet.taps.append(
        lambda at, source, target, datagram, fate: direct.append(target) if source == address else None
    )
    mesh.world.run(5)
    assert mesh.path("b", "a").startswith("relay")
    hub = mesh.world.nodes["hub"].host.addresses[0]
    assert {target[0] for target in direct} == {hub}  # type: ignore[index]
    assert mesh.edges["a"].engine.drops.as_dict()[DropReason.NOT_RELAYED] >= 1
