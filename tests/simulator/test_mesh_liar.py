"""A supernode that lies about everything it says costs connectivity, and no more: whoever it points at gets few
datagrams, and slowly.

The suite runs the first seconds of it. Half an hour of it, with a thousand entries everywhere:
L2MESH_LIES_S=1800 L2MESH_LIES=1000 pytest tests/simulator/test_mesh_liar.py -n 2
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from dataclasses import replace
from ipaddress import ip_address
from random import Random
from typing import TYPE_CHECKING, ClassVar, Final

import pytest

from l2mesh.core.attempt_plan import PACKETS_MAX, PACKETS_PER_SECOND
from l2mesh.core.plain_run import expanded
from l2mesh.core.strangers import BURST, REFILL_PER_SECOND, SPRAYS_BURST, SPRAYS_REFILL_PER_SECOND
from l2mesh.core.supernode import RegisteredPeer, SupernodeEngine
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, frame, mac_of
from l2mesh.simulator.nat import LINUX, Allocation, Nat
from l2mesh.simulator.place import TTL
from l2mesh.wire.address import socket_number
from l2mesh.wire.control import (
    Candidate,
    Control,
    DirectoryHint,
    DirectoryPage,
    DirectoryRequest,
    Entry,
    NatReport,
    Registered,
)
from l2mesh.wire.plaintext import Kind
from l2mesh.wire.probe import emit_probe_reply, parse_probe
from l2mesh.wire.stun import BindingAnswer, emit_answer, parse_stun

if TYPE_CHECKING:
    from collections.abc import Iterable

    from l2mesh.core.peer import Via
    from l2mesh.core.session import Plain
    from l2mesh.simulator.engine import Train
    from l2mesh.simulator.place import Socket
    from l2mesh.wire.address import Address

SECONDS: Final = float(os.environ.get("L2MESH_LIES_S", "30"))
SOME: Final = int(os.environ.get("L2MESH_LIES", "60"))
ENTRIES: Final = 1000
PER_PAGE: Final = 4

SYMMETRIC: Final = Nat(LINUX.mapping, allocation=Allocation.RANDOM, overloads=True, stream_timeout=120.0)
LIES_OF_NATS: Final = (
    NatReport(4, 3, 1024, 65535, 0, 0),
    NatReport(4, 3, 20000, 22047, 0, 0),
    NatReport(4, 3, 20000, 20255, 1, 20007),
    NatReport(2, 3),
    NatReport(255, 255, 9, 8, -255, 65535),
)


class Liar(SupernodeEngine):
    """Relays, so that there are sessions to lie about. `pick` says where everybody is."""

    hosts: ClassVar[tuple[str, ...]] = ()
    entries: ClassVar[int] = ENTRIES
    moves_every: ClassVar[float] = float("inf")
    """Seconds after which all of them are somewhere else."""
    one_for_all: ClassVar[bool] = False
    """Whether each edge is told that it is there itself, or elsewhere: none aims at what it takes for its own."""
    wavers: ClassVar[bool] = False
    """Whether it tells the truth to probes, so that an edge hears of another address of its own all the time; and
    of other STUN servers."""

    def own_place(self, edge: str) -> Candidate:
        """Where an edge itself is, as it is told."""
        random = Random(f"{edge} {int(self._turned_at / self.moves_every)}")
        return (
            self.place(random)
            if self.one_for_all
            else Candidate(bytes((5, 98, 0, random.randrange(256))), 4000, 1)
        )

    def place(self, random: Random) -> Candidate:
        host = random.choice(self.hosts)
        return Candidate(ip_address(host).packed, random.choice((4000, random.randint(1024, 65535))), 1)

    def told(self, key: bytes, instance: bytes) -> Entry:
        random = Random(f"{key!r} {int(self._turned_at / self.moves_every)}")
        candidates = tuple(self.place(random) for _ in range(8))
        nat = random.choice(LIES_OF_NATS)
        return Entry(key, "liar", instance, candidates, nat, self.place(random), relays=random.random() < 0.1)

    def send_control(self, peer: RegisteredPeer, message: Control, now: float, via: Via | None = None) -> bool:
        if isinstance(message, Registered):
            place = self.own_place(peer.name)
            message = Registered(
                message.sequence, place.ip, place.port, message.lease, message.epoch, self._version(now)
            )
        elif isinstance(message, DirectoryHint):
            message = DirectoryHint(message.epoch, self._version(now))
        return super().send_control(peer, message, now, via)

    def _receive_plaintexts(self, peer: RegisteredPeer, plaintexts: list[Plain], via: Via, now: float) -> None:
        if self.wavers:
            super()._receive_plaintexts(peer, plaintexts, via, now)
            return
        self._follow(peer, via)
        for plain in expanded(plaintexts):
            if plain[0] == Kind.PROBE:
                place = self.own_place(peer.name)
                here = str(ip_address(place.ip)), place.port
                self.send(peer, (emit_probe_reply(parse_probe(plain), here),), via, now)
            else:
                super()._receive_plaintexts(peer, [plain], via, now)

    def _version(self, now: float) -> int:
        rounds = 1 + int(now / self.moves_every) if self.moves_every < float("inf") else 1
        return rounds * (self.entries + 10)

    def _answer_directory(self, peer: RegisteredPeer, request: DirectoryRequest, now: float) -> None:
        """All that there are, and many more, one page after the other."""
        if peer.network is None:
            return
        registry = peer.network.registry
        since = request.since if request.epoch == registry.epoch else 0
        latest = self._version(now)
        base = since - since % (self.entries + 10)
        names = [*registry.members, *(Random(f"fake {number}").randbytes(32) for number in range(self.entries))]
        here = since - base
        chosen = [key for key in names[here : here + PER_PAGE] if key != peer.public_key]
        until = since + PER_PAGE if here + PER_PAGE < len(names) else base + self.entries + 10
        members = registry.members
        entries = tuple(self.told(key, members[key].instance if key in members else b"instance") for key in chosen)
        super().send_control(peer, DirectoryPage(registry.epoch, since, min(until, latest), latest, entries), now)

    def _receive_other(self, source: Address, datagram: bytes, now: float) -> None:
        if datagram[0] > 3:
            super()._receive_other(source, datagram, now)
            return
        answered = self.stun.answer(source, datagram, now)
        if answered is None:
            return
        reply, to = answered
        answer = parse_stun(reply)
        if isinstance(answer, BindingAnswer):
            there, other = self.own_place(source[0]), self.place(Random(source[0]))
            mapped = str(ip_address(there.ip)), source[1]
            if int(source[0][-1]) % 2:  # to every other one: your ports depend on whom you ask
                mapped = mapped[0], Random(f"{source} {socket_number(to)}").randint(20000, 22047)
            answer = replace(answer, mapped=mapped)
            if self.wavers:
                answer = replace(answer, other=(str(ip_address(other.ip)), other.port))
            reply = emit_answer(answer)
        self._send_raw(reply, (to, b""))


class Watch:
    """What each edge sends to each host that is none of ours: also what dies on the way."""

    def __init__(self, mesh: Mesh, own: set[str]) -> None:
        self.sent: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self.bytes: defaultdict[tuple[str, str], int] = defaultdict(int)
        internet = mesh.world.internet
        send = internet.send

        def watched(socket: Socket, trains: Iterable[Train], ttl: int = TTL) -> None:
            kept = list(trains)
            for to, data, size in kept:
                if to[0] not in own:
                    self.sent[socket.host.name, to[0]] += [internet.clock.now] * -(-len(data) // size)
                    self.bytes[socket.host.name, to[0]] += len(data)
            send(socket, kept, ttl)

        internet.send = watched  # type: ignore[method-assign]

    def most(self, within: float) -> int:
        """The most that one edge sent to one host in such a time."""
        return max((_most(times, within) for times in self.sent.values()), default=0)


def _most(times: list[float], within: float) -> int:
    return max(number + 1 - bisect_left(times, at - within + 1e-9) for number, at in enumerate(times))


def lied_to(
    hosts: tuple[str, ...],
    moves_every: float = float("inf"),
    entries: int = ENTRIES,
    *,
    one_for_all: bool = False,
    wavers: bool = False,
) -> tuple[Mesh, Watch]:
    """Three edges at a liar, and frames between them, for SECONDS."""
    mesh = Mesh(3, Link(delay=0.02))
    lies = {"hosts": hosts, "moves_every": moves_every, "entries": entries}
    liar = type("ThisLiar", (Liar,), {**lies, "one_for_all": one_for_all, "wavers": wavers})
    mesh.supernode("hub", engine=liar, addresses=2, ports=(7777, 7778))
    for name, nat in (("a", SYMMETRIC), ("b", LINUX), ("c", LINUX)):
        mesh.edge(name, mesh.world.site(nat=nat, firewall=None))
    own = {host for node in mesh.world.nodes.values() for host in node.host.addresses}
    own |= {edge.host.network.site.address for edge in mesh.edges.values()}  # type: ignore[union-attr, misc]
    for host in hosts:
        if ip_address(host).is_global and ":" not in host:
            mesh.world.host(f"victim {host}", addresses=[host]).bind({4: 4000}, lambda bursts: None)
    watch = Watch(mesh, own)
    until = mesh.world.now + SECONDS
    while mesh.world.now < until:
        for one in mesh.edges:
            for other in mesh.edges:
                mesh.edges[one].send_frames([frame(mac_of(other), mac_of(one), f"{mesh.world.now}".encode())])
        mesh.world.run(0.5)
    totals = {pair: (len(times), watch.bytes[pair], _most(times, 1.0)) for pair, times in watch.sent.items()}
    worst = sorted(totals.items(), key=lambda item: -item[1][0])[:4]
    print(f"{SECONDS:.0f} s: (edge, host): (datagrams, bytes, most in a second): {worst}")
    print("attempts:", [
        (name, attempt.kind.value, attempt.openers + attempt.probes, attempt.result.value)
        for name, edge in mesh.edges.items()
        for peer in edge.engine.edges.values()
        for attempt in peer.punch.attempts if attempt.kind.is_attempt
    ])  # fmt: skip
    return mesh, watch


SURVEY: Final = 30
"""STUN requests of one survey, to where we are told that we are ourselves; there is one in 5 s at most."""
LONGEST_S: Final = 1800.0
MOST: Final = BURST + REFILL_PER_SECOND * LONGEST_S + SPRAYS_BURST + SPRAYS_REFILL_PER_SECOND * LONGEST_S
"""To one host in half an hour, sprays and all: a dozen in a second, on the average."""


def assert_little(mesh: Mesh, watch: Watch) -> None:
    assert watch.most(1.0) <= PACKETS_PER_SECOND + SURVEY
    assert watch.most(LONGEST_S) <= MOST * 1.01
    for edge in mesh.edges.values():
        assert len(edge.engine.edges) <= ENTRIES + 2
        for peer in edge.engine.edges.values():
            for attempt in peer.punch.attempts:
                if attempt.kind.is_attempt:
                    assert attempt.openers + attempt.probes <= PACKETS_MAX


def assert_connected(mesh: Mesh) -> None:
    """By relay, if by nothing else: it lies, but it does relay."""
    before = {name: len(mesh.edges[name].frames) for name in mesh.edges}
    for one in mesh.edges:
        for other in mesh.edges:
            mesh.edges[one].send_frames([frame(mac_of(other), mac_of(one), b"at the end")])
    mesh.world.run(1)
    assert all(len(mesh.edges[name].frames) >= before[name] + 2 for name in mesh.edges)


STAYS, MOVES = float("inf"), 10.0
EACH = pytest.mark.parametrize("moves_every", [STAYS, MOVES], ids=["stays", "moves"])


def test_a_thousand_entries_and_one_victim() -> None:
    mesh, watch = lied_to(("5.99.0.1",))
    assert_little(mesh, watch)
    assert_connected(mesh)


def test_entries_that_change_and_one_victim() -> None:
    mesh, watch = lied_to(("5.99.0.1",), MOVES, SOME)
    assert_little(mesh, watch)
    assert_connected(mesh)


@pytest.mark.parametrize("moves_every", [STAYS, 10.0, 1.0])
def test_a_few_entries_and_one_victim(moves_every: float) -> None:
    """Rounds and attempts with real peers begin again and again."""
    mesh, watch = lied_to(("5.99.0.1",), moves_every, entries=0)
    assert_little(mesh, watch)
    assert_connected(mesh)


@EACH
def test_some_victims(moves_every: float) -> None:
    mesh, watch = lied_to(tuple(f"5.99.0.{number}" for number in range(1, 9)), moves_every, SOME, wavers=True)
    assert_little(mesh, watch)


@EACH
def test_victims_on_the_lan(moves_every: float) -> None:
    mesh, watch = lied_to(("10.0.1.77", "192.168.1.77"), moves_every, SOME, one_for_all=True)
    assert_little(mesh, watch)
    assert_connected(mesh)


NOBODY: Final = (
    *("224.0.0.1", "239.255.255.250", "255.255.255.255", "0.0.0.0", "127.0.0.1", "169.254.1.1"),
    *("ff02::1", "ff0e::1", "::1", "::", "fe80::1", "::ffff:5.99.0.1"),
)


@EACH
@pytest.mark.parametrize("one_for_all", [True, False])
def test_nothing_goes_to_groups_or_nobody(moves_every: float, one_for_all: bool) -> None:
    mesh, watch = lied_to(NOBODY, moves_every, SOME, one_for_all=one_for_all, wavers=True)
    assert not {to for _, to in watch.sent if to in NOBODY}
    assert_connected(mesh)
