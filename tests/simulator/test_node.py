"""Nodes and worlds, with a small engine in place of the real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from l2mesh.simulator.link import Link
from l2mesh.simulator.nat import APD, HOME, Nat
from l2mesh.simulator.network import Fate
from l2mesh.simulator.node import MAX_TIMER_CALLS, RECEIVE_BUFFER, TAP_QUEUE, VIRTIO_HEADER, Node, State
from l2mesh.simulator.world import RandomBytes, World

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

    def set_wall_clock(self, offset: float) -> None:
        self.calls.append(f"wall {offset}")

    def next_deadline(self) -> float | None:
        return None

    def take_datagrams(self) -> list[Train]:
        outbox, self.outbox = self.outbox, []
        return outbox

    def take_events(self) -> list[str]:
        return []


class Pinger(Hub):
    """Asks the hub every second, and floods its frames to every address it was told."""

    def __init__(self, random_bytes: RandomBytes) -> None:
        super().__init__(random_bytes)
        self.hubs: list[Address] = []
        self.ask_at: float | None = None
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
        assert self.ask_at is not None
        assert now >= self.ask_at
        self.ask_at = now + 1
        self.outbox += [(hub, b"?", 1) for hub in self.hubs]

    def next_deadline(self) -> float | None:
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

    def next_deadline(self) -> float | None:
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
