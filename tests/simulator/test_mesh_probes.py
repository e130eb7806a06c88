"""Probes that are forged, replayed, misdirected or overtaken by their own copies: no path, no endpoint and no
session changes, and no third party gets more than a few small datagrams.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from l2mesh.core.events import PathChanged, PeerDown
from l2mesh.core.remote_edge import NEW_PLACES_BURST, NEW_PLACES_PER_SECOND, RemoteEdge
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, frame, mac_of
from l2mesh.simulator.nat import FULL_CONE, HOME, LINUX, SYMMETRIC, Nat
from l2mesh.simulator.network import Fate
from l2mesh.wire.plaintext import Kind
from l2mesh.wire.probe import emit_probe, emit_probe_reply

if TYPE_CHECKING:
    from l2mesh.core.edge import EdgeEngine
    from l2mesh.core.node import Burst
    from l2mesh.wire.address import Address

DELAY: Final = 0.02
VICTIM: Final = ("5.66.0.1", 5555)
CHECKS: Final = 11
"""Probes of one round of checks."""


def remote(mesh: Mesh, one: str, other: str) -> RemoteEdge:
    found = mesh.remote(one, other)
    assert found is not None
    return found


def mesh_of(nats: tuple[Nat | None, Nat | None], seed: int = 1) -> Mesh:
    mesh = Mesh(seed, Link(delay=DELAY))
    mesh.supernode("hub", addresses=2, ports=(7777, 7778))
    for name, nat in zip("ab", nats, strict=True):
        mesh.edge(name, mesh.world.site(nat=nat, firewall=None))
    mesh.world.run_until(mesh.all_up, within=5)
    mesh.world.run(5)
    return mesh


def endpoints(mesh: Mesh) -> dict[str, object]:
    """Where frames and registrations go, and what holds for a way there."""
    hub = mesh.world.nodes["hub"].engine
    found: dict[str, object] = {"hub": {key: peer.via for key, peer in hub.peers.items()}}
    for name, edge in mesh.edges.items():
        engine = edge.engine
        found[name] = (
            [(key, peer.via, peer.beside) for key, peer in engine.edges.items()],
            [sorted(path.via for path in peer.paths.by_via.values() if path.valid_at is not None)
             for peer in engine.edges.values()],
            [(link.state, link.observed, link.peer and link.peer.via) for link in engine.rendezvous.links],
            engine.nat_report(),
        )  # fmt: skip
    return found


def mishaps(mesh: Mesh) -> list[object]:
    return [
        event
        for edge in mesh.edges.values()
        for event in edge.events
        if isinstance(event, PeerDown) or (isinstance(event, PathChanged) and VICTIM[0] in event.new)
    ]


def all_carry(mesh: Mesh) -> None:
    for one, other in ("ab", "ba"):
        sent = frame(mac_of(other), mac_of(one), f"{mesh.world.now}".encode())
        mesh.edges[one].send_frames([sent])
        mesh.world.run(0.2)
        assert sent in mesh.edges[other].frames


class Victim:
    """A host that never asked for anything, and counts what it gets."""

    def __init__(self, mesh: Mesh, address: Address = VICTIM) -> None:
        self.got = 0
        self.got_bytes = 0
        host = mesh.world.host(f"victim {address}", addresses=[address[0]])
        host.bind({4: address[1]}, self._receive)

    def _receive(self, bursts: list[Burst]) -> None:
        for _, data, size in bursts:
            self.got += -(-len(data) // size)
            self.got_bytes += len(data)


NATS = pytest.mark.parametrize(
    "nats", [(None, None), (FULL_CONE, FULL_CONE), (HOME, None), (SYMMETRIC, SYMMETRIC)], ids=str
)


# ---- replays


@NATS
def test_what_was_recorded_and_comes_again_from_elsewhere_changes_nothing(
    nats: tuple[Nat | None, Nat | None],
) -> None:
    mesh = mesh_of(nats)
    recorded: list[tuple[Address, bytes]] = []
    mesh.world.internet.taps.append(
        lambda at, source, to, data, fate: recorded.append((to, data)) if fate is Fate.DELIVERED else None
    )
    for _ in range(10):
        all_carry(mesh)
        mesh.world.run(4)
    mesh.world.internet.taps.clear()
    random = Random(1)
    before = endpoints(mesh)
    victim = Victim(mesh)
    for node in (*mesh.edges.values(), mesh.world.nodes["hub"]):
        own = set(node.host.addresses)
        for to, data in recorded:
            source = VICTIM if random.random() < 0.5 else (f"5.66.1.{random.randrange(256)}", 4000)
            if to[0] in own:
                node.engine.receive_datagrams([(source, memoryview(bytearray(data)), len(data))], mesh.world.now)
                node.settle()
    assert endpoints(mesh) == before
    mesh.world.run(60)
    assert not mishaps(mesh)
    assert mesh.world.nodes["hub"].engine.peers.keys() == {mesh.key_of("a"), mesh.key_of("b")}
    # Key requests and STUN requests are for anybody, and answered by no more bytes than they have.
    asked = sum(len(data) for to, data in recorded if data[0] < 4 or data[0] == 197)
    assert victim.got_bytes <= asked
    all_carry(mesh)


# ---- copies that overtake


class Overtaker:
    """On the way to an edge: lets a copy of each datagram come first, from VICTIM's address."""

    def __init__(self, mesh: Mesh, name: str, every: int = 1) -> None:
        self.copies = 0
        self.copied_bytes = 0
        node = mesh.edges[name]
        socket = node._sockets[0]
        receive = socket.receive
        hub = {address[0] for address in mesh.world.names["hub"]}

        def first_the_copies(bursts: list[Burst]) -> None:
            chosen = [
                burst for number, burst in enumerate(bursts) if burst[0][0] not in hub and number % every == 0
            ]
            self.copies += len(chosen)
            self.copied_bytes += sum(len(data) for _, data, _ in chosen)
            receive([(VICTIM, memoryview(bytearray(data)), size) for _, data, size in chosen])
            receive(bursts)

        socket.receive = first_the_copies


@pytest.mark.parametrize("nats", [(None, None), (LINUX, LINUX), (HOME, None)], ids=str)
def test_copies_that_overtake_from_another_address_take_no_path_with_them(
    nats: tuple[Nat | None, Nat | None],
) -> None:
    mesh = mesh_of(nats)
    assert mesh.all_direct()
    victim = Victim(mesh)
    before = mesh.path("a", "b"), mesh.path("b", "a")
    taker = Overtaker(mesh, "a")
    lost = 0
    for number in range(600):
        for one, other in ("ab", "ba"):
            mesh.edges[one].send_frames([frame(mac_of(other), mac_of(one), f"{number} ".encode())])
        mesh.world.run(0.1)
    mesh.world.run(1)
    lost = sum(600 - len(mesh.edges[name].frames) for name in "ab")
    print(
        f"{taker.copies} copies of {taker.copied_bytes} bytes; {victim.got} datagrams of {victim.got_bytes} bytes"
    )
    assert lost == 0
    assert not mishaps(mesh)
    assert mesh.path("a", "b") in (before[0], "relay 5.1.0.1:7777")
    # Less than came in, and small: a probe where a copy came from.
    assert victim.got_bytes <= taker.copied_bytes / 2
    assert victim.got <= taker.copies
    mesh.world.run(120)
    assert VICTIM[0] not in mesh.path("a", "b")


# ---- a member that lies in its own session


def say(mesh: Mesh, plaintext: bytes, to: Address) -> None:
    """Let b send `a` whatever it likes, from wherever a train to `to` leaves."""
    engine = mesh.edges["b"].engine
    assert engine.send(remote(mesh, "b", "a"), (plaintext,), (to, b""), mesh.world.now)
    mesh.edges["b"].settle()


def told(mesh: Mesh, plaintext: bytes, source: Address) -> None:
    """The same, arriving at `a` from any source address."""
    engine: EdgeEngine = mesh.edges["b"].engine
    assert engine.send(remote(mesh, "b", "a"), (plaintext,), (("5.66.9.9", 1), b""), mesh.world.now)
    [(_, data, size)] = [train for train in engine.take_datagrams() if train[0] == ("5.66.9.9", 1)]
    receiver = mesh.edges["a"]
    receiver.engine.receive_datagrams([(source, memoryview(bytearray(data)), size)], mesh.world.now)
    receiver.settle()


def valid(mesh: Mesh) -> list[object]:
    return [path.via for path in remote(mesh, "a", "b").paths.by_via.values() if path.valid_at is not None]


def test_replies_that_answer_nothing_make_no_path_valid() -> None:
    mesh = mesh_of((None, None))
    random = Random(2)
    before = valid(mesh), mesh.path("a", "b")
    for number in range(300):
        source = VICTIM if number % 2 else (f"5.66.2.{number % 250}", 7)
        told(mesh, emit_probe_reply(random.randbytes(8), VICTIM), source)
        told(mesh, bytes((Kind.PROBE_REPLY, 0, 0, 0)) + random.randbytes(number % 40), source)
        mesh.world.run(0.01)
    mesh.world.run(20)
    assert (valid(mesh), mesh.path("a", "b")) == before
    assert not mishaps(mesh)
    all_carry(mesh)


def test_a_reply_proves_the_path_that_was_asked_and_no_other() -> None:
    mesh = mesh_of((None, None))
    edge = remote(mesh, "a", "b")
    told(mesh, emit_probe(b"12345678"), VICTIM)
    strange = edge.paths.by_via[VICTIM, b""]
    selected = edge.paths.selected
    assert selected is not None
    for _ in range(40):
        mesh.world.run(0.1)
        for transaction in [*strange.outstanding, *selected.outstanding]:
            told(mesh, emit_probe_reply(transaction, VICTIM), ("5.66.3.3", 3))
            told(mesh, emit_probe_reply(transaction, VICTIM), (selected.via[0]))
        assert strange.valid_at is None
    assert edge.paths.selected is selected
    for transaction in list(strange.outstanding):
        told(mesh, emit_probe_reply(transaction, VICTIM), VICTIM)
    assert strange.valid_at is None or strange.outstanding == {}, "only who gets the probes can answer them"


def test_what_a_member_makes_us_send_to_strangers_is_little() -> None:
    """Sealed by a member with forged source addresses. Each of them is a place where that member may be now."""
    mesh = mesh_of((None, None))
    victims = [Victim(mesh, (f"5.66.4.{number}", 9)) for number in range(200)]
    sent: Counter[int] = Counter()
    mesh.world.internet.taps.append(
        lambda at, source, to, data, fate: sent.update([int(at)]) if to[0].startswith("5.66.4.") else None
    )
    seconds = 120
    for second in range(seconds):
        for number in range(20):
            told(mesh, emit_probe(b"12345678"), (f"5.66.4.{(second * 20 + number) % 200}", 9))
        mesh.world.run(1)
    probes = seconds * 20
    places = NEW_PLACES_BURST + NEW_PLACES_PER_SECOND * seconds
    total = sum(victim.got for victim in victims)
    most = max(victim.got for victim in victims)
    print(f"{probes} probes in, {total} datagrams to 200 victims, {most} to one, {max(sent.values())} in a second")
    assert total <= 2 * probes + CHECKS * places
    assert max(sent.values()) <= 200
    assert not mishaps(mesh)


# ---- relayed


def test_a_copy_that_overtakes_at_the_supernode_moves_an_edge_for_a_moment_only() -> None:
    """As of a peer of WireGuard's, the last genuine datagram says where an edge is; the next one moves it back."""
    mesh = mesh_of((SYMMETRIC, SYMMETRIC))
    assert mesh.path("a", "b").startswith("relay")
    victim = Victim(mesh)
    hub = mesh.world.nodes["hub"]
    socket = hub._sockets[0]
    receive = socket.receive
    site = mesh.edges["b"].host.network.site
    assert site is not None
    armed = [True]

    def first_a_copy(bursts: list[Burst]) -> None:
        for source, data, size in bursts:
            if armed[0] and source[0] == site.address and data[0] == 195:
                armed[0] = False
                receive([(VICTIM, memoryview(bytearray(data)), size)])
        receive(bursts)

    mesh.world.run(3)
    socket.receive = first_a_copy
    start = mesh.world.now
    for number in range(1000):
        mesh.edges["a"].send_frames([frame(mac_of("b"), mac_of("a"), f"{number} ".encode())])
        mesh.world.run(0.01)
    assert not armed[0]
    print(f"{victim.got} datagrams, {victim.got_bytes} bytes to the victim in {mesh.world.now - start:.0f} s")
    assert victim.got <= 250
    mesh.world.run(1)
    all_carry(mesh)
