"""What strangers, and a lying supernode, send: it changes counters and nothing else, and earns them little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from random import Random

import pytest

from l2mesh.core.candidates import Origin
from l2mesh.core.edge import (
    DIRECT_TRIES_BURST,
    DIRECT_TRIES_PER_SECOND,
    INITIATIONS_PER_SECOND,
    EdgeEngine,
    EdgeSettings,
)
from l2mesh.core.supernode import SupernodeEngine
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, frame, mac_of
from l2mesh.simulator.nat import SYMMETRIC
from l2mesh.simulator.network import Fate
from l2mesh.wire.control import (
    Candidate,
    Channel,
    Control,
    DirectoryHint,
    DirectoryPage,
    Entry,
    Goodbye,
    Refused,
    Registered,
)
from l2mesh.wire.outer import Outer

LINK = Link(delay=0.02)
Engine = EdgeEngine | SupernodeEngine
COUNT = 10_000


class Scene:
    """Two direct edges, two relayed ones, a supernode, and a capture of all datagrams by their type."""

    def __init__(self, seed: int) -> None:
        self.mesh = mesh = Mesh(seed, LINK)
        self.captured: list[tuple[tuple[str, int], tuple[str, int], bytes]] = []
        mesh.world.internet.taps.append(self._capture)
        self.hub = mesh.supernode("hub")
        for name in "ab":
            mesh.edge(name)
        for name in "cd":
            mesh.edge(name, mesh.world.site(nat=SYMMETRIC))
        mesh.world.run_until(mesh.all_up, within=5)
        for name in mesh.edges:
            mesh.edges[name].send_frames([frame(b"\xff" * 6, mac_of(name), b"hello", 0x0806)])
        mesh.world.run(130)  # a rekey is in the capture too
        self.random = Random(seed)
        self.targets: dict[str, Engine] = {"edge": mesh.edges["a"].engine, "supernode": self.hub.engine}
        self.addresses = {"edge": mesh.edges["a"].host.addresses[0], "supernode": self.hub.host.addresses[0]}

    def _capture(
        self, at: float, source: tuple[str, int], target: tuple[str, int], data: bytes, fate: Fate
    ) -> None:
        if fate is Fate.DELIVERED:
            self.captured.append((source, target, data))

    def to(self, target: str) -> list[tuple[tuple[str, int], bytes]]:
        """What the target received: (source, datagram)."""
        address = self.addresses[target]
        return [(source, data) for source, to, data in self.captured if to[0] == address]

    def stranger(self) -> tuple[str, int]:
        return f"5.66.{self.random.randrange(256)}.{self.random.randrange(1, 255)}", self.random.randrange(
            1, 65536
        )


@pytest.fixture(scope="module", params=[1])
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(request.param)


def state_of(engine: Engine) -> object:
    """Everything that a stranger must not change."""
    peers = []
    for key, peer in engine.peers.items():
        session = peer.session
        keypairs = [(pair.local_index, pair.remote_index, pair.send_counter) for pair in session.keypairs()]
        peers.append(
            (key, keypairs, peer.initiation, peer.via, peer.last_received_at, peer.instance, peer.wanted_at)
        )
    common = (
        peers,
        sorted(engine._keypairs),
        sorted(engine._initiations),
        engine.guard.export(),
        len(engine._events),
    )
    if isinstance(engine, SupernodeEngine):
        members = [
            (authority, network.registry.version, list(network.registry.members))
            for authority, network in engine.networks.items()
        ]
        return common, members, len(engine.relay), engine.relay.relayed_bytes
    fdb = [(station, entry.port, entry.seen_at) for station, entry in engine.switch.fdb.items()]
    edges = [
        (key, edge.up, edge.candidates, edge.channels, [path_state(path) for path in edge.paths.by_via.values()])
        for key, edge in engine.edges.items()
    ]
    links = [
        (link.state, link.addresses, link.key, link.directory.version, list(link.directory.entries))
        for link in engine.rendezvous.links
    ]
    return common, fdb, edges, links, len(engine._deliveries)


def path_state(path: object) -> object:
    return [getattr(path, name) for name in ("via", "valid_at", "heard_at", "unanswered", "checks_from", "size")]


def feed(engine: Engine, datagrams: Iterator[tuple[tuple[str, int], bytes]], now: float) -> Counter[str]:
    """Give an engine datagrams; the bytes that it sent to each source beyond what it got from there."""
    balance: Counter[str] = Counter()
    batch: list[tuple[tuple[str, int], bytes]] = []

    def flush() -> None:
        bursts = []
        for source, data in batch:
            # GRO makes one burst of a datagram and a shorter one behind it.
            tail = data[: len(data) // 2] if len(data) % 3 == 0 else b""
            bursts.append((source, memoryview(bytearray(data + tail)), len(data)))
            balance[source[0]] -= len(data) + len(tail)
        batch.clear()
        engine.receive_datagrams(bursts, now)
        for target, sent, _ in engine.take_datagrams():
            balance[target[0]] += len(sent)

    for source, data in datagrams:
        batch.append((source, data))
        if len(batch) == 16:
            flush()
    flush()
    if isinstance(engine, EdgeEngine):
        assert not engine.take_frames()
    return balance


def assert_harmless(scene: Scene, target: str, datagrams: Iterator[tuple[tuple[str, int], bytes]]) -> None:
    engine, now = scene.targets[target], scene.mesh.world.now
    before, drops_before = state_of(engine), sum(engine.drops.as_dict().values())
    balance = feed(engine, datagrams, now)
    assert state_of(engine) == before
    assert max(balance.values()) <= 0
    assert sum(engine.drops.as_dict().values()) > drops_before


TARGETS = pytest.mark.parametrize("target", ["edge", "supernode"])


@TARGETS
def test_ten_thousand_random_datagrams_change_nothing(scene: Scene, target: str) -> None:
    random = scene.random

    def garbage() -> Iterator[tuple[tuple[str, int], bytes]]:
        for number in range(COUNT):
            data = random.randbytes(random.choice((1, 2, 8, 12, 16, 31, 32, 44, 64, 100, 200, 600, 1472)))
            if number % 4:
                data = bytes((random.randint(190, 200),)) + data[1:]
            yield scene.stranger(), data

    assert_harmless(scene, target, garbage())


def truncated(scene: Scene, target: str) -> Iterator[tuple[tuple[str, int], bytes]]:
    seen, random = scene.to(target), scene.random
    for number in range(COUNT):
        source, data = seen[random.randrange(len(seen))]
        yield source if number % 2 else scene.stranger(), data[: random.randrange(1, len(data))]


def flipped(scene: Scene, target: str) -> Iterator[tuple[tuple[str, int], bytes]]:
    seen, random = scene.to(target), scene.random
    for number in range(COUNT):
        source, data = seen[random.randrange(len(seen))]
        bent = bytearray(data)
        for _ in range(random.choice((1, 1, 1, 8))):
            position = random.choice((random.randrange(len(bent)), random.randrange(min(len(bent), 16))))
            # Reserved bytes are ignored, so a bent one makes a replay; replays have a test of their own.
            bent[position] ^= 1 << random.randrange(8)
        yield source if number % 2 else scene.stranger(), bytes(bent)


def replayed(scene: Scene, target: str) -> Iterator[tuple[tuple[str, int], bytes]]:
    seen, random = scene.to(target), scene.random
    for number in range(COUNT):
        source, data = seen[random.randrange(len(seen))]
        yield source if number % 2 else scene.stranger(), data


def misdirected(scene: Scene, target: str) -> Iterator[tuple[tuple[str, int], bytes]]:
    """What others received."""
    everything, random, own = scene.captured, scene.random, scene.addresses[target]
    foreign = [data for _, to, data in everything if to[0] != own]
    for _ in range(COUNT):
        yield scene.stranger(), foreign[random.randrange(len(foreign))]


@TARGETS
@pytest.mark.parametrize("make", [truncated, flipped, replayed, misdirected])
def test_ten_thousand_damaged_or_replayed_datagrams_change_nothing(
    scene: Scene, target: str, make: Callable[[Scene, str], Iterator[tuple[tuple[str, int], bytes]]]
) -> None:
    datagrams = list(make(scene, target))
    if target == "supernode":
        # A relay does not open what it carries: from its member's address a relayed datagram goes on.
        datagrams = [
            (source if data[0] != Outer.RELAYED else scene.stranger(), data) for source, data in datagrams
        ]
    assert_harmless(scene, target, iter(datagrams))


def test_the_capture_has_all_types_and_the_mesh_is_well_after_all_that(scene: Scene) -> None:
    kinds = {data[0] for _, _, data in scene.captured}
    assert kinds == set(Outer) - {Outer.COOKIE_REPLY} | {0, 1}  # STUN's requests and answers
    mesh = scene.mesh
    for node in mesh.world.nodes.values():
        node.settle()
    mesh.world.run(200)
    assert mesh.all_up()
    for name in "bcd":
        sent = frame(mac_of("a"), mac_of(name), b"still here")
        mesh.edges[name].send_frames([sent])
        mesh.world.run(0.2)
        assert sent in mesh.edges["a"].frames


def test_replays_of_what_a_member_sent_through_the_relay_are_dropped_at_its_peer() -> None:
    scene = Scene(2)
    mesh = scene.mesh
    mesh.world.run(1)
    engine, now = mesh.edges["c"].engine, mesh.world.now
    inside = mesh.edges["c"].host.addresses[0]
    seen = [(source, data) for source, to, data in scene.captured if to[0] == inside]
    before = state_of(engine)
    feed(engine, iter(seen), now)
    assert state_of(engine) == before


def test_under_a_flood_of_genuine_initiations_an_edge_asks_for_cookies_of_no_greater_size() -> None:
    """Replayed initiations cost a cheap check each, then a cookie; a newcomer still gets in."""
    scene = Scene(3)
    mesh = scene.mesh
    engine, now = mesh.edges["a"].engine, mesh.world.now
    initiations = [data for _, data in scene.to("edge") if data[0] == Outer.INITIATION]
    count = int(INITIATIONS_PER_SECOND) * 2
    flood = ((scene.stranger(), initiations[number % len(initiations)]) for number in range(count))
    balance = feed(engine, flood, now)
    assert max(balance.values()) <= 0
    shortest = min(map(len, initiations))
    assert sum(value > -shortest for value in balance.values()) > INITIATIONS_PER_SECOND / 2, "too few cookies"
    mesh.edges["a"].settle()
    newcomer = mesh.edge("n")
    deadline = now + 10
    while not mesh.is_up("a", "n") and mesh.world.now < deadline:
        bursts = [
            (scene.stranger(), memoryview(bytearray(initiations[0])), len(initiations[0])) for _ in range(50)
        ]
        engine.receive_datagrams(bursts, mesh.world.now)
        mesh.edges["a"].settle()
        mesh.world.run(0.02)
    assert mesh.is_up("a", "n")
    assert newcomer.engine


# ---- a lying supernode


def edge_and_liar(settings: EdgeSettings | None = None) -> tuple[Mesh, Callable[[Control], None]]:
    """Two edges, and a way to let their supernode send `a` whatever it likes."""
    mesh = Mesh(9, LINK)
    hub = mesh.supernode("hub")
    for name in "ab":
        mesh.edge(name, settings=settings)
    mesh.world.run_until(mesh.all_direct, within=3)
    mesh.world.run(2)
    victim = hub.engine.peers[mesh.key_of("a")]
    hub.engine._answer_directory = lambda peer, request, now: None  # type: ignore[method-assign]  # we do

    def say(message: Control) -> None:
        assert hub.engine.send_control(victim, message, mesh.world.now)
        hub.settle()

    return mesh, say


def pages(mesh: Mesh, entries: list[Entry], per_page: int = 4) -> Iterator[DirectoryPage]:
    """Entries as changes that follow what `a` has."""
    directory = mesh.edges["a"].engine.rendezvous.links[0].directory
    version, last = directory.version, directory.version + len(entries)
    for start in range(0, len(entries), per_page):
        some = tuple(entries[start : start + per_page])
        yield DirectoryPage(directory.epoch, version + start, version + start + len(some), last, some)


def test_a_directory_that_names_ourselves_or_bad_keys_makes_no_peer_and_no_harm() -> None:
    mesh, say = edge_and_liar()
    own = mesh.key_of("a")
    low_order = [bytes(32), b"\1" + bytes(31), bytes.fromhex("ec" + "ff" * 30 + "7f")]
    hub_key = mesh.world.nodes["hub"].engine.identity.static.public
    there = (Candidate(ip_address("5.77.0.1").packed, 7, Origin.HOST),)
    for page in pages(mesh, [Entry(key, "liar", b"instance", there) for key in (own, hub_key, *low_order)]):
        say(page)
    mesh.world.run(120)
    engine = mesh.edges["a"].engine
    assert own not in engine.edges
    assert hub_key not in engine.edges
    assert {key for key, edge in engine.edges.items() if edge.up} == {mesh.key_of("b")}
    assert mesh.path("a", "b").startswith("direct")


def test_a_directory_of_thousands_makes_a_bounded_number_of_peers_and_datagrams() -> None:
    mesh, say = edge_and_liar()
    random = Random(1)
    entries = [
        Entry(
            random.randbytes(32),
            "x" * 63,
            b"instance",
            tuple(Candidate(bytes((5, 99, *random.randbytes(2))), 1 + number, Origin.HOST) for number in range(8)),
        )
        for number in range(3000)
    ]
    sent: Counter[str] = Counter()

    def tap(at: float, source: tuple[str, int], target: tuple[str, int], datagram: bytes, fate: Fate) -> None:
        sent["victims" if target[0].startswith("5.99.") else source[0]] += 1

    mesh.world.internet.taps.append(tap)
    start = mesh.world.now
    for page in pages(mesh, entries):
        say(page)
        mesh.world.run(0.02)
    mesh.world.run(20)
    engine = mesh.edges["a"].engine
    assert len(engine.edges) == engine.settings.peers_max
    assert mesh.is_up("a", "b")
    assert 1000 < sent["victims"] <= DIRECT_TRIES_BURST + DIRECT_TRIES_PER_SECOND * (mesh.world.now - start)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "224.0.0.1", "255.255.255.255", "0.0.0.0", "169.254.1.1", "::1", "ff02::1", "fe80::1", "::"],
)
def test_candidates_that_are_nobodys_are_never_sent_to(host: str) -> None:
    mesh, say = edge_and_liar()
    targets: set[str] = set()
    mesh.world.internet.taps.append(lambda at, source, target, datagram, fate: targets.add(target[0]))
    packed = ip_address(host).packed
    bad = tuple(
        Candidate(ip, port, origin) for ip in (packed, packed + b"\0") for port in (0, 9) for origin in (0, 255)
    )
    for page in pages(
        mesh, [Entry(bytes(range(32)), "x", b"instance", bad), Entry(mesh.key_of("b"), "b", b"12345678", bad)]
    ):
        say(page)
    mesh.world.run(60)
    assert host not in targets
    assert mesh.is_up("a", "b")


def test_messages_of_a_supernode_that_make_no_sense_are_survived() -> None:
    mesh, say = edge_and_liar()
    link = mesh.edges["a"].engine.rendezvous.links[0]
    big = (1 << 63) - 1
    sequence = link._sequence
    for ip in (b"12345", b"1234", b"x" * 16, b"y" * 7):
        say(Registered(sequence, ip, 0, 1, b"epoch678", big))
        mesh.world.run(1)
        sequence = link._sequence
        say(Registered(sequence, ip, 65535, 86400, link.directory.epoch, big))
        mesh.world.run(1)
        sequence = link._sequence
    say(DirectoryHint(link.directory.epoch, big))
    say(DirectoryPage(link.directory.epoch, big, big, big, ()))
    say(DirectoryPage(link.directory.epoch, 0, big, 0, ()))
    say(Refused(big, "x" * 200))
    say(Refused(link._sequence, "\x1b[2J\n" * 40))
    say(Goodbye())
    mesh.world.run(200)
    assert mesh.is_up("a", "b")
    assert mesh.path("a", "b").startswith("direct")


def test_channels_without_end_make_a_bounded_number_of_peers_and_paths() -> None:
    settings = EdgeSettings(Mesh(9).network.authority.public, mac_of("a"), peers_max=50)
    mesh, say = edge_and_liar(settings)
    random = Random(1)
    for number in range(1000):
        say(Channel(random.randbytes(32), random.randbytes(8)))
        say(Channel(mesh.key_of("b"), random.randbytes(8)))
        if number % 50 == 0:
            mesh.world.run(0.1)
    mesh.world.run(1)
    engine = mesh.edges["a"].engine
    assert len(engine.edges) == 50
    remote = mesh.remote("a", "b")
    assert remote is not None
    assert len(remote.paths.by_via) < 10
    assert mesh.path("a", "b").startswith("direct")
    mesh.world.run(300)
    assert set(engine.edges) == {mesh.key_of("b")}, "made by channels, never listed, never let go"
