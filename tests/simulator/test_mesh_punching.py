"""Through NATs of every class: who meets directly, how soon, and what it costs others."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from l2mesh.core.attempt import Attempt, Result
from l2mesh.core.attempt_plan import PACKETS_MAX, PACKETS_PER_SECOND, Kind
from l2mesh.core.edge import EdgeEngine, EdgeSettings
from l2mesh.core.path import Path
from l2mesh.core.peer import Peer, Via
from l2mesh.core.reach import RelayPolicy
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, frame, mac_of
from l2mesh.simulator.nat import APD, FULL_CONE, HOME, SYMMETRIC, Allocation, Nat
from l2mesh.simulator.network import Fate
from l2mesh.simulator.node import EdgeNode
from l2mesh.simulator.place import Site
from l2mesh.wire.control import Candidate, Entry

LINK = Link(delay=0.020, jitter=0.003)

COUNTING = Nat(mapping=APD, allocation=Allocation.SEQUENTIAL)


def in_block(size: int) -> Nat:
    """Linux with blocks for its subscribers, at multiples of their size."""
    block = (20 * 1024, 20 * 1024 + size - 1)
    return Nat(mapping=APD, allocation=Allocation.RANDOM, block=block, overloads=True)


def accepting(nat: Nat) -> Nat:
    """A Linux router that takes in what comes to itself unasked."""
    return replace(nat, accepts_input=True)


def mesh_of(seed: int, *nats: Nat | None, link: Link = LINK, relay: RelayPolicy = RelayPolicy.AUTO) -> Mesh:
    """Edges a, b ... each behind such a NAT, and a supernode that shows what NATs do."""
    mesh = Mesh(seed, link)
    mesh.supernode("hub", addresses=2, ports=(7777, 7778))
    for name, nat in zip("abcdefghij", nats, strict=False):
        mesh.edge(name, mesh.world.site(nat=nat, firewall=None), relay=relay)
    return mesh


def until_direct(mesh: Mesh, within: float) -> float | None:
    """Seconds from the session until both ends have a direct path; None if that does not come in time."""
    mesh.world.run_until(mesh.all_up, within=5, what="the session", every=0.01)
    try:
        return mesh.world.run_until(mesh.all_direct, within, what="direct", every=0.02)
    except AssertionError:
        return None


def site_of(edge: EdgeNode[EdgeEngine]) -> Site:
    site = edge.host.network.site
    assert site is not None
    return site


class Packet(NamedTuple):
    at: float
    source: tuple[str, int]
    target: tuple[str, int]
    fate: Fate


def packets_between(mesh: Mesh, one: str, other: str) -> list[Packet]:
    """All datagrams from one's router to the other's, from now on; of what it lets in, the inside target."""
    source, router = site_of(mesh.edges[one]).address, site_of(mesh.edges[other]).address
    targets = {router, *mesh.edges[other].host.addresses}
    packets: list[Packet] = []

    def tap(at: float, came: tuple[str, int], to: tuple[str, int], data: bytes, fate: Fate) -> None:
        if came[0] == source and to[0] in targets:
            packets.append(Packet(at, came, to, fate))

    mesh.world.internet.taps.append(tap)
    return packets


def direct_paths(mesh: Mesh, one: str, other: str) -> list[Path]:
    remote = mesh.remote(one, other)
    assert remote is not None
    return [path for path in remote.paths.by_via.values() if not path.relayed]


def attempts_of(mesh: Mesh, one: str, other: str, *kinds: Kind) -> list[Attempt]:
    remote = mesh.remote(one, other)
    assert remote is not None
    return [attempt for attempt in remote.punch.attempts if attempt.kind in kinds]


# ---- plain pairs


PLAIN = [
    (HOME, HOME),
    (accepting(HOME), HOME),
    (HOME, accepting(HOME)),
    (accepting(HOME), accepting(HOME)),
    (accepting(HOME), None),
    (FULL_CONE, accepting(HOME)),
    (FULL_CONE, SYMMETRIC),
    (None, COUNTING),
]


@pytest.mark.parametrize("nats", PLAIN)
@pytest.mark.parametrize("together", [True, False])
def test_plain_pairs_are_direct_two_round_trips_after_the_session(
    nats: tuple[Nat | None, Nat | None], together: bool
) -> None:
    mesh = mesh_of(1, *nats[:1])
    if not together:
        mesh.world.run(5)
    mesh.edge("b", mesh.world.site(nat=nats[1], firewall=None))
    took = until_direct(mesh, within=1)
    assert took is not None
    assert took < 2 * 0.046 + 0.1
    assert not attempts_of(mesh, "a", "b", Kind.PREDICTION, Kind.BIRTHDAY, Kind.BLOCKS)


@pytest.mark.parametrize("seed", range(4))
def test_without_openers_routers_that_accept_what_comes_unasked_spoil_it(seed: int) -> None:
    """What openers are for; should this fail, the simulated race is none."""
    mesh = mesh_of(seed, accepting(HOME), accepting(HOME))
    for edge in mesh.edges.values():
        edge.engine.send_opener = lambda *arguments, **named: True  # type: ignore[method-assign]
    assert until_direct(mesh, within=20) is None


@pytest.mark.parametrize("nat", [HOME, accepting(HOME)])
def test_without_a_relay_the_first_initiation_waits_for_openers(nat: Nat) -> None:
    mesh = mesh_of(2, nat, relay=RelayPolicy.NEVER)
    mesh.world.run(5)
    mesh.edge("b", mesh.world.site(nat=nat), relay=RelayPolicy.NEVER)
    mesh.world.run_until(mesh.all_direct, within=1.5)


def test_no_initiation_goes_to_a_peers_router_while_the_relay_answers() -> None:
    mesh = mesh_of(3, HOME, HOME)
    packets = packets_between(mesh, "a", "b")
    mesh.world.run_until(mesh.all_up, within=5)
    assert {packet.fate for packet in packets} <= {Fate.TTL_EXPIRED}


def test_an_opener_comes_before_the_first_probe_and_dies_on_the_way() -> None:
    mesh = mesh_of(4, HOME, HOME)
    there, back = packets_between(mesh, "a", "b"), packets_between(mesh, "b", "a")
    assert until_direct(mesh, within=1) is not None
    for packets, others in ((there, back), (back, there)):
        assert packets[0].fate is Fate.TTL_EXPIRED
        arrived = next(packet for packet in packets if packet.fate in (Fate.DELIVERED, Fate.FILTERED))
        assert arrived.at > others[0].at, "the other one's mapping is there before"
        assert arrived.fate is Fate.DELIVERED


def test_addresses_of_one_lan_and_of_ipv6_get_no_opener() -> None:
    mesh = Mesh(5, LINK)
    mesh.supernode("hub", versions=(4, 6))
    site = mesh.world.site(nat=HOME)
    for name in "ab":
        mesh.edge(name, site, versions=(4, 6))
    openers: list[object] = []

    def tap(at: float, came: tuple[str, int], to: tuple[str, int], data: bytes, fate: Fate) -> None:
        if fate is Fate.TTL_EXPIRED:
            openers.append(to)

    mesh.world.internet.taps.append(tap)
    mesh.world.run_until(mesh.all_direct, within=2)
    mesh.world.run(5)
    assert not openers


# ---- prediction


SEQUENCES = [
    (COUNTING, HOME),
    (accepting(COUNTING), accepting(HOME)),
    (COUNTING, COUNTING),
    (accepting(COUNTING), accepting(COUNTING)),
]


@pytest.mark.parametrize("nats", SEQUENCES)
@pytest.mark.parametrize("seed", range(5))
def test_a_sequential_nat_is_predicted_within_three_seconds(seed: int, nats: tuple[Nat, Nat]) -> None:
    mesh = mesh_of(seed, *nats)
    took = until_direct(mesh, within=3)
    assert took is not None
    [attempt] = attempts_of(mesh, "a", "b", Kind.PREDICTION)
    assert attempt.result is Result.DIRECT


@pytest.mark.parametrize("nat", [HOME, COUNTING])
def test_a_prediction_allows_for_what_others_take(nat: Nat) -> None:
    """Another host behind the sequential NAT opens a flow each half second."""
    mesh = mesh_of(6, COUNTING, nat)
    site = site_of(mesh.edges["a"])
    noisy = mesh.world.host("noisy", site)
    socket = noisy.bind({4: 50_000}, lambda bursts: None)
    for number in range(20):
        at = mesh.world.now + 0.13 + number / 2
        target = ("5.1.0.1", 30_000 + number)
        mesh.world.clock.call_at(at, partial(mesh.world.internet.send, socket, [(target, b"?", 1)]))
    assert until_direct(mesh, within=5) is not None


def test_three_behind_sequential_nats_are_predicted_one_after_the_other() -> None:
    mesh = mesh_of(7, COUNTING, HOME, HOME, HOME)
    assert until_direct(mesh, within=8) is not None


# ---- birthday


@pytest.mark.parametrize(
    "nats", [(SYMMETRIC, HOME), (accepting(SYMMETRIC), accepting(HOME)), (SYMMETRIC, accepting(HOME))]
)
def test_240_sockets_meet_1024_ports_within_eight_seconds(nats: tuple[Nat, Nat]) -> None:
    took = [until_direct(mesh_of(seed, *nats), within=8) for seed in range(10)]
    assert sum(seconds is not None for seconds in took) >= 9, took


@pytest.mark.parametrize("size", [512, 2048])
@pytest.mark.parametrize("seed", range(3))
def test_a_block_is_found_within_three_seconds(seed: int, size: int) -> None:
    mesh = mesh_of(seed, in_block(size), HOME)
    assert until_direct(mesh, within=3) is not None
    [attempt] = attempts_of(mesh, "a", "b", Kind.BIRTHDAY)
    assert attempt.side_sockets == 64


def separate(mesh: Mesh, one: str, other: str) -> None:
    """Nothing passes between their sites any more; both can send to everybody else."""
    mesh.world.internet.block(site_of(mesh.edges[one]), site_of(mesh.edges[other]))


def test_a_block_is_covered_once_and_nothing_else_is_tried() -> None:
    mesh = mesh_of(8, in_block(512), HOME)
    separate(mesh, "a", "b")
    engine = mesh.edges["b"].engine
    send_probe = engine.send_probe
    tried: list[Via] = []

    def watched(peer: Peer, via: Via, *arguments: Any, **named: Any) -> bytes:
        sent = send_probe(peer, via, *arguments, **named)
        if sent:
            tried.append(via)
        return sent

    engine.send_probe = watched  # type: ignore[method-assign]
    mesh.world.run(15)
    report = mesh.edges["a"].engine.nat_report()
    assert report.high - report.low + 1 == 512
    host = site_of(mesh.edges["a"]).address
    paths = {path.via for path in direct_paths(mesh, "b", "a")}
    searched = Counter(via for via in tried if via not in paths and via[0][0] == host)
    block = {((host, port), b"") for port in range(report.low, report.high + 1)}
    assert searched == Counter(block - paths)


@pytest.mark.parametrize("nat", [in_block(512), accepting(in_block(1024))])
def test_two_blocks_meet_at_the_first_attempt(nat: Nat) -> None:
    took = [until_direct(mesh_of(seed, nat, nat), within=28) for seed in range(5)]
    assert sum(seconds is not None for seconds in took) >= 4, took


@pytest.mark.parametrize("low", [20 * 1024, 20_000])
def test_two_blocks_of_2048_meet_in_two_attempts(low: int) -> None:
    """The second one begins at once, and profits by what the first one opened. Blocks begin anywhere."""
    nat = replace(in_block(2048), block=(low, low + 2047))
    took = [until_direct(mesh_of(seed, nat, nat), within=33) for seed in range(12)]
    assert sum(seconds is not None for seconds in took) >= 11, took


def test_two_blocks_of_routers_that_accept_meet_too() -> None:
    nat = accepting(in_block(2048))
    took = [until_direct(mesh_of(seed, nat, nat), within=60) for seed in range(10)]
    assert sum(seconds is not None for seconds in took) >= 8, took


def test_two_blocks_try_no_pair_of_socket_and_port_twice_and_let_go_of_all_sockets() -> None:
    mesh = mesh_of(9, in_block(2048), in_block(2048))
    separate(mesh, "a", "b")
    node = mesh.edges["a"]
    engine = node.engine
    tried: Counter[object] = Counter()
    send_probe, send_opener = engine.send_probe, engine.send_opener

    def probe(peer: Peer, via: Via, *arguments: Any, spray: bool = False, **named: Any) -> bytes:
        sent = send_probe(peer, via, *arguments, spray=spray, **named)
        tried.update([via[0]] if sent and spray else [])
        return sent

    def opener(peer: Peer, address: Any, *arguments: Any, spray: bool = False, **named: Any) -> bool:
        sent = send_opener(peer, address, *arguments, spray=spray, **named)
        tried.update([address] if sent and spray else [])
        return sent

    engine.send_probe, engine.send_opener = probe, opener  # type: ignore[method-assign]
    mesh.world.run(80)
    assert len(attempts_of(mesh, "a", "b", Kind.BLOCKS)) == 3
    assert len(tried) == 3 * PACKETS_MAX
    assert set(tried.values()) == {1}
    assert not node.side_ports


# ---- what it costs, and what ends it


def busiest_second(packets: list[Packet]) -> int:
    times = [packet.at for packet in packets]
    return max((sum(1 for at in times if begin <= at < begin + 1) for begin in times), default=0)


PLAIN_PACKETS = 30
"""Checks of the candidates that go to the same router, in a second."""


@pytest.mark.parametrize(
    ("nats", "attempts"),
    [
        ((SYMMETRIC, HOME), {Kind.BIRTHDAY: 1}),
        ((in_block(2048), in_block(2048)), {Kind.BLOCKS: 4}),
        ((COUNTING, HOME), {Kind.PREDICTION: 6}),
        ((SYMMETRIC, SYMMETRIC), {}),
        ((SYMMETRIC, COUNTING), {}),
    ],
)
def test_attempts_that_fail_are_bounded_and_end(nats: tuple[Nat, Nat], attempts: dict[Kind, int]) -> None:
    mesh = mesh_of(9, *nats)
    separate(mesh, "a", "b")
    ways = [packets_between(mesh, *names) for names in ("ab", "ba")]
    mesh.world.run(18 * 60)
    for packets in ways:
        assert busiest_second(packets) <= PACKETS_PER_SECOND + PLAIN_PACKETS
        assert len(packets) <= PACKETS_MAX * sum(attempts.values()) + 1500
    late = mesh.world.now - 60
    assert not [packet for packets in ways for packet in packets if packet.at > late]
    for one, other in ("ab", "ba"):
        remote = mesh.remote(one, other)
        assert remote is not None
        assert remote.punch.tries == attempts
        for attempt in remote.punch.attempts:
            assert attempt.openers + attempt.probes <= PACKETS_MAX
            assert attempt.result in (Result.NO_ANSWER, Result.UNDER_WAY)
        assert not mesh.edges[one].side_ports
        assert mesh.path(one, other).startswith("relay")


def test_a_hopeless_pair_is_let_be() -> None:
    mesh = mesh_of(10, SYMMETRIC, SYMMETRIC)
    packets = packets_between(mesh, "a", "b")
    assert until_direct(mesh, within=25) is None
    assert len(packets) < 100
    assert not attempts_of(mesh, "a", "b", Kind.BIRTHDAY, Kind.BLOCKS, Kind.PREDICTION)


def test_all_side_sockets_but_that_of_the_path_are_closed_when_it_is_found() -> None:
    mesh = mesh_of(11, SYMMETRIC, HOME)
    assert until_direct(mesh, within=16) is not None
    sender = mesh.edges["a"]
    mesh.world.run(0.5)
    assert 1 <= len(sender.side_ports) <= 3, "others that were met, too, for a while"
    mesh.world.run(60)
    assert len(sender.side_ports) == 1
    sent = frame(mac_of("b"), mac_of("a"), b"by a side socket")
    sender.send_frames([sent])
    mesh.world.run_until(lambda: sent in mesh.edges["b"].frames, within=0.03)
    mesh.world.run(600)
    assert mesh.all_direct(), "it is kept open like any other"
    mesh.edges["b"].stop()
    mesh.world.run(40)
    assert not sender.side_ports


def test_a_path_by_a_side_socket_that_dies_is_replaced_by_the_relay_and_its_socket_is_closed() -> None:
    mesh = mesh_of(12, SYMMETRIC, HOME)
    assert until_direct(mesh, within=16) is not None
    separate(mesh, "a", "b")
    mesh.world.run_until(lambda: mesh.path("a", "b").startswith("relay"), within=30)
    mesh.world.run(60)
    assert not mesh.edges["a"].side_ports


def test_one_attempt_at_a_time_and_all_have_their_turn() -> None:
    mesh = mesh_of(13, SYMMETRIC, HOME, HOME, HOME)
    busy: list[int] = []
    packets = [packets_between(mesh, "a", other) for other in "bcd"]

    def watch() -> bool:
        edges = mesh.edges["a"].engine.edges.values()
        busy.append(sum(edge.punch.running is not None for edge in edges))
        return all(mesh.path("a", other).startswith("direct") for other in "bcd")

    mesh.world.run_until(watch, within=60, every=0.05)
    assert max(busy) == 1
    all_packets = sorted(packet for some in packets for packet in some)
    assert busiest_second(all_packets) <= PACKETS_PER_SECOND + 3 * PLAIN_PACKETS


def test_the_switch_keeps_us_from_birthdays_and_from_side_sockets() -> None:
    mesh = mesh_of(14, SYMMETRIC)
    settings = EdgeSettings(mesh.network.authority.public, mac_of("b"), birthday=False)
    mesh.edge("b", mesh.world.site(nat=HOME), settings=settings)
    packets = packets_between(mesh, "b", "a")
    assert until_direct(mesh, within=40) is None
    assert len(packets) < 100
    results = {attempt.result for attempt in attempts_of(mesh, "a", "b", Kind.BIRTHDAY)}
    assert results == {Result.NOT_TAKEN_UP}
    assert mesh.edges["a"].side_ports == {}


def test_relay_always_attempts_nothing() -> None:
    mesh = mesh_of(15, SYMMETRIC)
    mesh.edge("b", mesh.world.site(nat=HOME), relay=RelayPolicy.ALWAYS)
    packets = packets_between(mesh, "b", "a")
    mesh.world.run(40)
    assert not packets
    assert not mesh.edges["b"].side_ports


# ---- supernodes that lie about where a peer is


VICTIMS = [
    ("7.7.7.7", PACKETS_MAX),
    ("10.9.8.7", 0),
    ("192.168.1.1", 0),
    ("224.0.0.5", 0),
    ("127.0.0.1", 0),
    ("169.254.1.1", 0),
    ("255.255.255.255", 0),
    ("2001:db8::7", 0),
    ("its own", 0),
]


@pytest.mark.parametrize(("victim", "most"), VICTIMS)
def test_a_lying_supernode_aims_one_attempt_at_a_stranger_at_most(victim: str, most: int) -> None:
    mesh = mesh_of(16, SYMMETRIC, HOME)
    host = site_of(mesh.edges["b"]).address or "" if victim == "its own" else victim
    link = mesh.edges["b"].engine.rendezvous.links[0]
    received = link.directory.receive

    def lying(page):  # type: ignore[no-untyped-def]
        changes = received(page)
        if changes is not None:
            changes.changed = [lied(entry, host) for entry in changes.changed]
        return changes

    link.directory.receive = lying  # type: ignore[method-assign]
    times: list[float] = []

    def tap(at: float, came: tuple[str, int], to: tuple[str, int], data: bytes, fate: Fate) -> None:
        if to[0] == host:
            times.append(at)

    if victim != "its own":
        mesh.world.internet.taps.append(tap)
    mesh.world.run(300)
    assert len(times) <= most
    assert bool(times) == bool(most)
    assert not attempts_of(mesh, "b", "a", Kind.BIRTHDAY) or most
    assert all(sum(1 for at in times if begin <= at < begin + 1) <= PACKETS_PER_SECOND for begin in times[::20])


def lied(entry: Entry, host: str) -> Entry:
    return Entry(
        entry.public_key,
        entry.name,
        entry.instance,
        entry.candidates,
        entry.nat,
        Candidate(ip_address(host).packed, 4000, 1),
        entry.relays,
    )


# ---- again, while relayed


def test_rounds_follow_the_schedule_at_both_ends_at_once() -> None:
    mesh = mesh_of(17, SYMMETRIC, SYMMETRIC)
    mesh.world.run_until(mesh.all_up, within=5)
    begun: dict[str, list[tuple[int, float]]] = {"a": [], "b": []}

    def watch() -> bool:
        for one, other in ("ab", "ba"):
            remote = mesh.remote(one, other)
            if remote is not None:
                entry = (remote.punch.round, remote.punch.begun_at)
                if not begun[one] or begun[one][-1][0] != entry[0]:
                    begun[one].append(entry)
        return False

    with pytest.raises(AssertionError):
        mesh.world.run_until(watch, within=3600, every=1.0)
    for rounds in begun.values():
        times = [at for number, at in rounds if number]
        gaps = [after - before for before, after in pairwise(times)]
        assert [round(gap, -1) for gap in gaps[:4]] == [60, 120, 240, 480]
        assert {round(gap, -1) for gap in gaps[4:]} == {600}
    together = zip(begun["a"], begun["b"], strict=True)
    assert all(one[0] == other[0] and abs(one[1] - other[1]) < 0.5 for one, other in together)


def test_a_new_class_begins_a_new_attempt_at_once() -> None:
    """A router that was symmetric is replaced by one in a block."""
    mesh = mesh_of(18, SYMMETRIC, SYMMETRIC)
    assert until_direct(mesh, within=10) is None
    site = site_of(mesh.edges["b"])
    assert site.nat is not None
    site.nat.nat = HOME
    site.flush()
    engine = mesh.edges["b"].engine
    engine.network_changed(mesh.world.now)
    mesh.edges["b"].settle()
    took = until_direct(mesh, within=20)
    assert took is not None


def test_sprays_go_where_the_supernode_hears_the_peer_by_the_port_it_told_itself() -> None:
    mesh = mesh_of(19, SYMMETRIC, HOME)
    mesh.world.run(3)
    remote = mesh.remote("a", "b")
    assert remote is not None
    site = site_of(mesh.edges["b"])
    assert site.nat is not None
    assert [address[0] for address in remote.punch.observed.values()] == [site.address]
    outside = {mapping.outside for mapping in site.nat.live_mappings(mesh.world.now)}
    assert mesh.edges["a"].engine.punching.attempts.target_of(remote) in outside
