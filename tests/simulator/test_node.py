"""Nodes and worlds, with a small engine in place of the real ones."""

from __future__ import annotations

import errno
from math import inf
from typing import TYPE_CHECKING

import pytest

from l2mesh.simulator.link import Link
from l2mesh.simulator.nat import APD, HOME, Nat
from l2mesh.simulator.network import Fate
from l2mesh.simulator.node import (
    MAX_TIMER_CALLS,
    RECEIVE_BUFFER,
    SIDE_PORTS,
    SIDE_SOCKETS_MAX,
    TAP_QUEUE,
    VIRTIO_HEADER,
    Node,
    State,
)
from l2mesh.simulator.world import RandomBytes, World
from l2mesh.wire.address import SideAddress, socket_number

if TYPE_CHECKING:
    from l2mesh.simulator.engine import Address, Buffer, Burst, Train

HUB = "hub:7777"


class Hub:
    """Tells each sender, in the answer, every address it has heard of: a rendezvous of the simplest kind."""

    def __init__(self, random_bytes: RandomBytes) -> None:
        self.token = random_bytes(8)
        self.known: dict[Address, None] = {}
        self.outbox: list[Train] = []
        self.calls: list[str] = []
        self.listening: list[Address] = []
        self.errors: list[tuple[Address, int, bool]] = []
        self.openers: list[tuple[Address, bytes, int]] = []
        self.closing: list[int] = []

    def start(self, now: float) -> None:
        self.calls.append("start")

    def close(self, now: float) -> None:
        self.outbox = [(address, b"bye", 3) for address in self.known]

    def receive_datagrams(self, bursts: list[Burst], now: float) -> None:
        for source, _, _ in bursts:
            self.known[source] = None
        told = "|".join(f"{host} {port}" for host, port in self.known).encode()
        self.outbox += [(source, told, len(told)) for source, _, _ in bursts]

    def handle_timer(self, now: float) -> None:
        raise AssertionError("no timer was set")

    def set_local_addresses(self, hosts: list[str], ports: dict[int, int], now: float) -> None:
        self.calls.append(f"{hosts} {ports}")

    def set_listening(self, listening: list[Address]) -> None:
        self.listening = listening

    def receive_send_error(self, address: Address, errno: int, local: bool, now: float) -> None:
        self.errors.append((address, errno, local))

    def set_wall_clock(self, offset: float) -> None:
        self.calls.append(f"wall {offset}")

    def next_deadline(self) -> float:
        return inf

    def take_datagrams(self) -> list[Train]:
        outbox, self.outbox = self.outbox, []
        return outbox

    def take_openers(self) -> list[tuple[Address, bytes, int]]:
        openers, self.openers = self.openers, []
        return openers

    def take_closing(self) -> list[int]:
        closing, self.closing = self.closing, []
        return closing

    def take_events(self) -> list[str]:
        return []


class Pinger(Hub):
    """Asks the hub every second, and floods its frames to every address it was told."""

    def __init__(self, random_bytes: RandomBytes) -> None:
        super().__init__(random_bytes)
        self.hubs: list[Address] = []
        self.ask_at = inf
        self.inbox: list[list[Buffer]] = []
        self.happened: list[str] = []
        self.local: list[str] = []
        self.kept: list[memoryview] = []

    def start(self, now: float) -> None:
        self.ask_at = now

    def set_local_addresses(self, hosts: list[str], ports: dict[int, int], now: float) -> None:
        self.local = hosts
        self.ask_at = now

    def set_supernode_addresses(self, name: str, addresses: list[Address], now: float) -> None:
        self.hubs = addresses

    def handle_timer(self, now: float) -> None:
        assert now >= self.ask_at
        self.ask_at = now + 1
        self.outbox += [(hub, b"?", 1) for hub in self.hubs]

    def next_deadline(self) -> float:
        return self.ask_at

    def receive_datagrams(self, bursts: list[Burst], now: float) -> None:
        for source, data, _ in bursts:
            self.kept.append(data)
            if source not in self.hubs:
                self.inbox.append([VIRTIO_HEADER, data])
            elif bytes(data) == b"bye":
                self.happened.append("hub has gone")
            else:
                told = [entry.rsplit(" ", 1) for entry in bytes(data).decode().split("|")]
                self.known = {(host, int(port)): None for host, port in told}

    def receive_frames(self, frames: list[memoryview], now: float) -> None:
        for frame in frames:
            payload = frame[len(VIRTIO_HEADER) :]
            self.outbox += [(address, payload, len(payload)) for address in self.known]

    def take_frames(self) -> list[list[Buffer]]:
        inbox, self.inbox = self.inbox, []
        return inbox

    def take_events(self) -> list[str]:
        happened, self.happened = self.happened, []
        return happened


FRAME = bytes.fromhex("ffffffffffff 0200000000a1 0806") + b"who has?"


def two_homes(seed: int = 1, link: Link | None = None) -> World:
    world = World(seed, link)
    world.supernode(HUB, Hub)
    for name in ("a", "b"):
        world.edge(name, Pinger, world.site(nat=HOME))
    return world


def test_a_frame_goes_from_one_home_to_another() -> None:
    world = two_homes(link=Link(delay=0.02))
    a, b = world.edges["a"], world.edges["b"]
    world.run(3)
    a.send_frames([FRAME])
    b.send_frames([FRAME])  # opens b's NAT
    took = world.run_until(lambda: FRAME in b.frames, within=1, what="the frame")
    assert took == pytest.approx(0.02)
    assert b.delivered[-1] == VIRTIO_HEADER + FRAME
    assert b.delivered_at[-1] == world.now


def test_a_costly_question_is_asked_now_and_then() -> None:
    world = two_homes()
    asked: list[float] = []
    start = world.now

    def three_seconds_later() -> bool:
        asked.append(world.now)
        return world.now >= start + 3

    assert world.run_until(three_seconds_later, within=10, every=1) == 3
    assert asked == [start, start + 1, start + 2, start + 3]
    with pytest.raises(AssertionError, match="did not happen within 2"):
        world.run_until(lambda: False, within=2.5, every=1)
    assert world.now == start + 5.5


def test_an_engine_is_told_its_addresses_ports_and_wall_clock() -> None:
    world = World(1)
    hub = world.supernode(HUB, Hub, versions=(4, 6))
    assert hub.engine.calls == [
        f"wall {hub.wall_offset}",
        "start",
        "['5.1.0.1', '2a02:1::1'] {4: 7777, 6: 7777}",
    ]
    hub.set_wall_clock(5.0)
    assert hub.engine.calls[-1] == "wall 5.0"
    assert world.names == {HUB: [("5.1.0.1", 7777), ("2a02:1::1", 7777)]}


def test_what_an_engine_keeps_beyond_a_call_is_rubbish() -> None:
    world = two_homes()
    world.run(1)
    assert {bytes(view).strip(b"\xdb") for view in world.edges["a"].engine.kept} == {b""}


def test_a_supernode_listens_on_every_port_of_each_address_and_answers_from_there() -> None:
    world = World(1)
    hub = world.supernode(HUB, Hub, versions=(4, 6), addresses=2, ports=(7777, 7778))
    four, six = ["5.1.0.1", "5.1.0.2"], ["2a02:1::1", "2a02:1::2"]
    assert hub.engine.listening == [
        (four[0], 7777),
        (six[0], 7777),
        SideAddress(four[0], 7778, 1),
        SideAddress(four[1], 7777, 2),
        SideAddress(four[1], 7778, 3),
        SideAddress(six[0], 7778, 4),
        SideAddress(six[1], 7777, 5),
        SideAddress(six[1], 7778, 6),
    ]
    assert world.names == {HUB: [(four[0], 7777), (six[0], 7777)]}
    a = world.edge("a", Pinger, versions=(4, 6))
    asked = [(host, port) for host in four + six for port in (7777, 7778)]
    a.engine.hubs = asked
    a.engine.outbox = [(address, b"?", 1) for address in asked]
    seen: list[Address] = []
    world.internet.taps.append(lambda at, source, to, data, fate: seen.append(source))
    a.settle()
    world.run(0.5)
    assert set(asked) <= set(seen)
    assert {socket_number(address) for address in hub.engine.known} == set(range(7))


def test_a_supernode_that_moves_listens_where_it_is_now() -> None:
    world = World(1)
    hub = world.supernode(HUB, Hub, addresses=2)
    world.move(hub, addresses=["5.1.0.50", "5.1.0.60"])
    assert hub.engine.listening == [("5.1.0.50", 7777), SideAddress("5.1.0.60", 7777, 1)]
    a = world.edge("a", Pinger)
    a.engine.outbox = [(("5.1.0.60", 7777), b"?", 1)]
    a.settle()
    world.run(0.5)
    assert [socket_number(address) for address in hub.engine.known] == [1]


def test_a_side_socket_opens_with_its_first_train_and_closes_when_the_engine_is_done_with_it() -> None:
    world = World(1)
    hub = world.supernode(HUB, Hub)
    a = world.edge("a", Pinger)
    world.run(0.5)
    address = world.names[HUB][0]
    a.engine.outbox = [
        (SideAddress(*address, 7), b"?", 1),
        (address, b"?", 1),
        (SideAddress(*address, 7), b"?", 1),
    ]
    a.settle()
    [port] = a.side_ports.values()
    assert SIDE_PORTS[0] <= port <= SIDE_PORTS[1]
    assert len(hub.engine.known) == 1
    world.run(0.5)
    assert (a.host.addresses[0], port) in hub.engine.known
    assert len(a.delivered) == 1, "a burst of two answers: seen from there the hub has another address"
    a.engine.closing = [7, 8]
    a.settle()
    assert a.side_ports == {}
    a.engine.outbox = [(SideAddress(*address, 7), b"?", 1)]
    a.settle()
    assert list(a.side_ports) == [7]
    assert a.side_ports[7] != port
    a.restart()
    assert a.side_ports == {}


def test_an_engine_gets_no_more_side_sockets_than_there_are() -> None:
    world = World(1)
    world.supernode(HUB, Hub)
    a = world.edge("a", Pinger)
    hub = world.names[HUB][0]
    a.engine.outbox = [(SideAddress(*hub, number + 1), b"?", 1) for number in range(SIDE_SOCKETS_MAX)]
    a.settle()
    assert len(set(a.side_ports.values())) == SIDE_SOCKETS_MAX
    a.engine.outbox = [(SideAddress(*hub, SIDE_SOCKETS_MAX + 1), b"?", 1)]
    with pytest.raises(AssertionError, match="side sockets"):
        a.settle()
    hub_node = world.nodes[HUB]
    hub_node.engine.outbox = [(SideAddress(*hub, 1), b"?", 1)]
    with pytest.raises(AssertionError, match="no socket 1"):
        hub_node.settle()


def test_openers_leave_before_trains_and_with_their_ttl() -> None:
    world = two_homes()
    world.run(0.5)
    a = world.edges["a"]
    hub = world.names[HUB][0]
    seen: list[tuple[bytes, Fate]] = []
    world.internet.taps.append(lambda at, source, to, data, fate: seen.append((data, fate)))
    a.engine.outbox = [(hub, b"train", 5)]
    a.engine.openers = [(hub, b"opener", 2), (SideAddress(*hub, 1), b"side", 2), (hub, b"far", 3)]
    a.settle()
    assert seen == [(b"opener", Fate.TTL_EXPIRED), (b"side", Fate.TTL_EXPIRED)]
    assert list(a.side_ports) == [1]
    world.run(0.011)
    assert seen[2:4] == [(b"far", Fate.DELIVERED), (b"train", Fate.DELIVERED)]


def test_an_engine_is_told_what_came_to_nothing_and_by_which_socket() -> None:
    world = two_homes()
    world.internet.icmp = True
    world.run(0.5)
    a = world.edges["a"]
    hub = world.names[HUB][0][0]
    a.engine.outbox = [(SideAddress(hub, 1, 3), b"?", 1), (("2a02:1::9", 1), b"?", 1)]
    a.settle()
    world.run(0.1)
    assert a.engine.errors == [
        (("2a02:1::9", 1), errno.ENETUNREACH, True),
        (SideAddress(hub, 1, 3), errno.ECONNREFUSED, False),
    ]
    a.receive_send_error((hub, 7777), errno.EHOSTUNREACH)
    assert a.engine.errors[2:] == [((hub, 7777), errno.EHOSTUNREACH, False)]
    a.kill()
    a.receive_send_error((hub, 7777), errno.EHOSTUNREACH)
    assert len(a.engine.errors) == 3


def test_a_router_that_reboots_may_be_renumbered() -> None:
    world = two_homes()
    hub = world.nodes[HUB].engine
    a = world.edges["a"]
    world.run(0.5)
    assert len(hub.known) == 2
    site = a.host.network.site
    assert site is not None
    for renumber, known in ((False, 2), (True, 3)):
        world.reboot(site, renumber=renumber)
        world.run(1)
        assert len(hub.known) == known


def test_the_timer_fires_at_the_deadline_and_each_time() -> None:
    world = two_homes()
    world.run(10.5)
    asked = world.internet.counts[Fate.DELIVERED] // 2
    assert asked == 2 * 11


def test_a_killed_node_is_silent_and_a_restarted_one_has_a_new_engine() -> None:
    world = two_homes()
    hub = world.nodes[HUB]
    world.run(1)
    hub.kill()
    old = hub.engine
    world.run(2)
    assert world.internet.counts[Fate.NO_SOCKET] == 4
    assert world.edges["a"].events == []
    hub.restart()
    world.run(1)
    assert hub.engine is not old
    assert hub.engine.token != old.token
    assert len(hub.engine.known) == 2


def test_a_stopped_node_says_goodbye() -> None:
    world = two_homes()
    world.run(0.5)
    world.nodes[HUB].stop()
    world.run(0.2)
    a = world.edges["a"]
    assert a.events == ["hub has gone"]
    assert a.events_at == [pytest.approx(world.now - 0.19)]
    assert world.nodes[HUB].state is State.STOPPED


def test_a_frozen_node_finds_what_waited_in_the_kernel() -> None:
    world = two_homes()
    a, b = world.edges["a"], world.edges["b"]
    world.run(3)
    b.send_frames([FRAME])
    b.freeze()
    a.send_frames([FRAME])
    b.send_frames([FRAME] * (TAP_QUEUE + 3))
    world.run(0.1)
    for _ in range(RECEIVE_BUFFER // 768):
        a.send_frames([FRAME])
    world.run(60)
    silent = sum(world.internet.counts.values())
    b.unfreeze()
    assert b.frames.count(FRAME) > 200
    assert b.overflowed > 3
    world.run(0.1)
    assert sum(world.internet.counts.values()) > silent + TAP_QUEUE


def test_a_moved_node_is_told_at_once_and_a_frozen_one_when_it_wakes() -> None:
    world = two_homes()
    a = world.edges["a"]
    world.run(1)
    world.move(a, addresses=["5.1.0.99"])
    assert a.engine.local == ["5.1.0.99"]
    a.freeze()
    world.move(a, world.site(nat=HOME, prefix="192.168.1"))
    assert a.engine.local == ["5.1.0.99"]
    a.unfreeze()
    assert a.engine.local == ["192.168.1.1"]


def test_edges_hear_where_a_supernode_went() -> None:
    world = two_homes()
    hub = world.nodes[HUB]
    world.move(hub)
    world.resolve(HUB)
    assert world.edges["a"].engine.hubs == [(hub.host.addresses[0], 7777)]
    world.edges["a"].restart()
    assert world.edges["a"].engine.hubs == [(hub.host.addresses[0], 7777)]


def test_many_edges_cost_one_call_for_each_instant() -> None:
    world = World(1)
    world.supernode(HUB, Hub)
    for number in range(50):
        world.edge(f"e{number}", Pinger)
    world.run(3.5)
    assert all(len(edge.engine.known) == 50 for edge in world.edges.values())


def test_a_world_is_a_function_of_its_seed() -> None:
    def story(seed: int) -> list[object]:
        world = two_homes(seed, Link(jitter=0.02, loss=0.3, reorder=0.2, duplicate=0.2))
        seen: list[object] = []
        world.internet.taps.append(lambda *datagram: seen.append(datagram))
        world.run(20)
        return [*seen, world.edges["a"].engine.token]

    assert story(3) == story(3)
    assert story(3) != story(4)


def test_what_does_not_come_true_names_the_seed_the_time_and_the_picture(
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = World(seed=4711)
    assert "seed 4711" in capsys.readouterr().out
    carrier = world.site("carrier", nat=Nat(mapping=APD), prefix="100.64.0")
    world.edge("a", Pinger, world.site("home", at=carrier), versions=(4, 6))
    with pytest.raises(AssertionError, match="peace did not happen within 5 s") as caught:
        world.run_until(lambda: False, within=5, what="peace")
    assert str(caught.value).splitlines()[1:] == [
        "seed 4711, virtual time 1005.000000; datagrams: none",
        "  carrier  5.1.0.1  NAT: mapping APD, filtering APD  firewall: APD",
        "      home  100.64.0.1  NAT: mapping EI, filtering APD  firewall: APD",
        "          a  10.0.2.1, 2a02:1:2::1",
    ]


class Stuck(Hub):
    """An engine whose deadline stays where it is."""

    def next_deadline(self) -> float:
        return 1000.0

    def handle_timer(self, now: float) -> None:
        pass


def test_a_timer_that_does_not_advance_is_found() -> None:
    world = World(1)
    world.supernode(HUB, Stuck)
    with pytest.raises(AssertionError, match="leaves next_deadline") as caught:
        world.run(1)
    assert "seed 1" in caught.value.__notes__[0]
    assert MAX_TIMER_CALLS > 100


def test_only_what_runs_can_be_frozen() -> None:
    world = two_homes()
    node: Node[Hub] = world.nodes[HUB]
    with pytest.raises(ValueError, match="not frozen"):
        node.unfreeze()
    node.kill()
    with pytest.raises(ValueError, match="does not run"):
        node.freeze()
    with pytest.raises(ValueError, match="two nodes"):
        world.edge("a", Pinger)
