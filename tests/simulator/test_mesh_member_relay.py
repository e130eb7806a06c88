"""Members that relay for others: chosen when they are near, left at once when they go, and used by nobody else."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from l2mesh.core.drops import DropReason
from l2mesh.core.events import PathChanged
from l2mesh.core.path import PathClass
from l2mesh.core.reach import RelayPolicy
from l2mesh.core.remote_edge import CHANNEL_REQUEST_BURST
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, frame, mac_of
from l2mesh.simulator.nat import HOME
from l2mesh.simulator.network import Fate
from l2mesh.wire.control import Channel, ChannelRequest, Control
from l2mesh.wire.outer import Outer, relay_header

DELAY = 0.010
LINK = Link(delay=DELAY)
FAR = Link(delay=0.200)
CHOSEN_S = 4.0
"""Two seconds are left to what may be direct."""


class Scene:
    """Two homes that cannot reach one another, members that relay, and supernodes far away."""

    def __init__(
        self,
        *relays: str,
        seed: int = 1,
        hubs: int = 1,
        policy: RelayPolicy = RelayPolicy.AUTO,
        capabilities: list[str] | None = None,
    ) -> None:
        self.mesh = mesh = Mesh(seed, LINK)
        self.world = mesh.world
        self.hubs = [mesh.supernode(f"hub{number}") for number in range(hubs)]
        for hub in self.hubs:
            self.world.internet.set_link(hub.host, None, FAR)
        self.sites = {name: self.world.site(nat=HOME) for name in "ab"}
        for name, site in self.sites.items():
            mesh.edge(name, site, relay=policy if name == "a" else RelayPolicy.AUTO)
        self.world.internet.block(self.sites["a"], self.sites["b"])
        for name in relays:
            mesh.edge(name, relays=True, capabilities=capabilities)
        self.sent: Counter[tuple[str, str]] = Counter()
        self.world.internet.taps.append(self._count)

    def _count(
        self, at: float, source: tuple[str, int], target: tuple[str, int], datagram: bytes, fate: Fate
    ) -> None:
        if datagram and datagram[0] == Outer.RELAYED:
            self.sent[source[0], target[0]] += 1

    def settle(self) -> Scene:
        self.world.run_until(self.mesh.all_up, within=5)
        self.world.run(CHOSEN_S)
        return self

    def relay_of(self, one: str = "a", other: str = "b") -> str | None:
        """Whose relay frames go by; None: nobody's."""
        remote = self.mesh.remote(one, other)
        assert remote is not None
        return self.mesh.edges[one].engine.relay_name(remote.via) if remote.via else None

    def relayed(self, name: str) -> int:
        return self.mesh.edges[name].engine.member_relay.relay.relayed_datagrams

    def pairs(self, name: str) -> int:
        return len(self.mesh.edges[name].engine.member_relay.relay)

    def drops(self, name: str) -> dict[DropReason, int]:
        return self.mesh.edges[name].engine.drops.as_dict()

    def address(self, name: str) -> str:
        return self.mesh.edges[name].host.addresses[0]

    def send(self, one: str, other: str) -> bytes:
        sent = frame(mac_of(other), mac_of(one), f"{one} to {other} at {self.world.now}".encode())
        self.mesh.edges[one].send_frames([sent])
        return sent

    def carries(self, one: str, other: str, within: float = 1.0) -> float:
        """Send a frame; the seconds until it came."""
        sent = self.send(one, other)
        return self.world.run_until(lambda: sent in self.mesh.edges[other].frames, within, what=f"{one} {other}")

    def gap(self, one: str, other: str, seconds: float = 10.0, every: float = 0.02) -> float:
        """The longest time without a frame that arrives, while one is sent every 20 ms both ways."""
        longest, last = 0.0, self.world.now
        end = self.world.now + seconds
        seen = len(self.mesh.edges[other].frames)
        while self.world.now < end:
            self.send(one, other)
            self.send(other, one)
            self.world.run(every)
            if len(self.mesh.edges[other].frames) > seen:
                seen = len(self.mesh.edges[other].frames)
                last = self.world.now
            longest = max(longest, self.world.now - last)
        return longest


@pytest.mark.parametrize("seed", range(3))
def test_the_first_frames_go_by_the_supernode_and_the_later_ones_by_a_member_that_is_near(seed: int) -> None:
    scene = Scene("r", seed=seed)
    scene.world.run_until(lambda: scene.mesh.is_up("a", "b") and scene.mesh.is_up("b", "a"), within=5)
    assert scene.relay_of("a") == "hub0"
    assert scene.carries("a", "b") == pytest.approx(2 * FAR.delay)
    scene.world.run(CHOSEN_S)
    assert scene.relay_of("a", "b") == scene.relay_of("b", "a") == "r"
    before = scene.relayed("r"), scene.hubs[0].engine.relay.relayed_datagrams
    assert scene.carries("a", "b") == pytest.approx(2 * DELAY)
    assert scene.carries("b", "a") == pytest.approx(2 * DELAY)
    assert scene.relayed("r") >= before[0] + 2
    assert scene.hubs[0].engine.relay.relayed_datagrams == before[1]
    assert scene.pairs("r") == 1
    assert scene.mesh.path("a", "r").startswith("direct")
    assert not scene.drops("r").keys() & {DropReason.NOT_THE_OWNER, DropReason.NO_PATH, DropReason.UNKNOWN_CHANNEL}


def test_what_a_member_relays_is_sealed_from_end_to_end() -> None:
    scene = Scene("r").settle()
    scene.carries("b", "a")  # a frame to an unknown address goes to all
    secret = b"nobody but b may read this"
    seen = bytearray()
    scene.world.internet.taps.append(lambda at, source, target, datagram, fate: seen.extend(datagram))
    for _ in range(10):
        scene.mesh.edges["a"].send_frames([frame(mac_of("b"), mac_of("a"), secret)])
        scene.world.run(0.1)
    assert scene.mesh.edges["b"].frames.count(frame(mac_of("b"), mac_of("a"), secret)) == 10
    assert scene.sent[scene.address("r"), scene.address("b")] >= 10
    assert secret not in seen
    assert not any(secret in frame for frame in scene.mesh.edges["r"].frames)


def test_a_supernode_that_relays_nothing_is_done_without() -> None:
    scene = Scene("r")
    scene.hubs[0].engine.relay.forward = lambda source, data, size, now, send: len(data)  # type: ignore[method-assign]
    scene.world.run_until(scene.mesh.all_up, within=10)
    assert scene.relay_of() == "r"
    assert scene.carries("a", "b") == pytest.approx(2 * DELAY)


def test_a_relay_that_leaves_is_replaced_by_the_supernode_at_once() -> None:
    scene = Scene("r").settle()
    scene.mesh.edges["r"].stop()
    scene.world.run(2 * DELAY)
    assert scene.relay_of("a", "b") == scene.relay_of("b", "a") == "hub0"
    assert scene.carries("a", "b") == pytest.approx(2 * FAR.delay)
    remote = scene.mesh.remote("a", "b")
    assert remote is not None
    assert not remote.member_channels


def test_a_relay_that_dies_under_traffic_is_replaced_within_a_second() -> None:
    scene = Scene("r").settle()
    scene.gap("a", "b", 1.0)
    scene.mesh.edges["r"].kill()
    assert scene.gap("a", "b") < 1.0 + 2 * FAR.delay
    assert scene.relay_of() == "hub0"


def test_a_relay_that_nobody_hears_any_more_is_replaced_within_two_seconds() -> None:
    scene = Scene("r").settle()
    scene.gap("a", "b", 1.0)
    scene.world.internet.block(scene.mesh.edges["r"].host)
    assert scene.gap("a", "b") < 2.0
    assert scene.relay_of() == "hub0"


def test_a_relay_that_loses_one_end_says_so_and_is_used_again_when_it_has_it_back() -> None:
    scene = Scene("r").settle()
    r, home = scene.mesh.edges["r"].host, scene.sites["b"]
    scene.world.internet.block(r, home)
    assert scene.gap("a", "b", 12.0) < 2.0
    assert scene.relay_of("a", "b") == scene.relay_of("b", "a") == "hub0"
    assert scene.pairs("r") == 0
    scene.sent.clear()
    scene.gap("a", "b", 5.0)
    assert not scene.sent[scene.address("r"), scene.hubs[0].host.addresses[0]], "relayed again"
    scene.world.internet.unblock(r, home)
    scene.world.run(60)
    assert scene.mesh.path("r", "b").startswith("direct")
    assert scene.relay_of("a", "b") == scene.relay_of("b", "a") == "r"


def test_the_supernode_dies_and_the_member_goes_on_through_many_rekeys() -> None:
    scene = Scene("r").settle()
    scene.hubs[0].kill()
    for _ in range(50):
        scene.world.run(10)
        assert scene.carries("a", "b") == pytest.approx(2 * DELAY)
        assert scene.carries("b", "a") == pytest.approx(2 * DELAY)


def test_an_end_that_moves_is_carried_by_the_supernode_then_by_the_member_again() -> None:
    scene = Scene("r").settle()
    elsewhere = scene.world.site(nat=HOME)
    scene.world.internet.block(elsewhere, scene.sites["b"])
    scene.world.move(scene.mesh.edges["a"], elsewhere)
    assert scene.gap("a", "b", 3.0) < 1.5
    scene.world.run(10)
    assert scene.relay_of("a", "b") == scene.relay_of("b", "a") == "r"
    assert scene.carries("a", "b") == pytest.approx(2 * DELAY)


def test_a_relay_that_moves_is_used_at_its_new_place() -> None:
    scene = Scene("r").settle()
    scene.world.move(scene.mesh.edges["r"])
    assert scene.gap("a", "b", 3.0) < 1.5
    scene.world.run(10)
    assert scene.relay_of("a", "b") == scene.relay_of("b", "a") == "r"
    assert scene.carries("a", "b") == pytest.approx(2 * DELAY)


def test_a_channel_that_is_not_needed_any_more_is_closed() -> None:
    scene = Scene("r").settle()
    assert scene.pairs("r") == 1
    scene.world.internet.heal()
    scene.world.run_until(lambda: scene.mesh.path("a", "b").startswith("direct"), within=120)
    scene.world.run(150)
    assert scene.pairs("r") == 0
    for one, other in ("ab", "ba"):
        remote = scene.mesh.remote(one, other)
        assert remote is not None
        assert not remote.member_channels
        assert not scene.mesh.edges[one].engine.member_channels._by_id


# ---- which relay


def test_of_many_relays_the_nearest_are_asked_and_the_second_takes_over() -> None:
    scene = Scene(*"pqrst")
    for number, name in enumerate("pqrst"):
        scene.world.internet.set_link(scene.mesh.edges[name].host, None, Link(delay=0.015 + 0.010 * number))
    scene.settle()
    assert scene.relay_of("a", "b") == scene.relay_of("b", "a") == "p"
    remote = scene.mesh.remote("a", "b")
    assert remote is not None
    assert {relay.name for relay in remote.member_channels} == {"p", "q"}
    scene.gap("a", "b", 30.0, every=0.5)
    scene.mesh.edges["p"].stop()
    scene.world.run(0.1)
    assert scene.relay_of("a", "b") == scene.relay_of("b", "a") == "q"
    assert scene.carries("a", "b") == pytest.approx(0.050)
    scene.world.run(10)
    assert {relay.name for relay in remote.member_channels} == {"q", "r"}


def test_a_relay_that_does_not_reach_the_other_end_is_not_used_and_another_one_is() -> None:
    scene = Scene("p", "q")
    scene.world.internet.set_link(scene.mesh.edges["q"].host, None, Link(delay=0.030))
    scene.world.internet.block(scene.mesh.edges["p"].host, scene.sites["b"])
    scene.settle()
    assert scene.relay_of("a", "b") == scene.relay_of("b", "a") == "q"
    assert scene.relay_of("p", "b") == scene.relay_of("b", "p") == "q", "to a relay by another one"
    assert scene.pairs("p") == 0


def test_no_relay_is_reached_by_a_relay_and_used_as_one() -> None:
    """In a row a - p - q - b each reaches its neighbours only, p and q relay, and nothing is relayed twice."""
    scene = Scene("p", "q")
    p, q = (scene.mesh.edges[name].host for name in "pq")
    scene.world.internet.block(p, scene.sites["b"])
    scene.world.internet.block(q, scene.sites["a"])
    scene.settle()
    scene.gap("a", "b", 60.0, every=0.2)
    assert scene.relay_of("a", "b") == scene.relay_of("b", "a") == "hub0"
    assert scene.relay_of("a", "q") == "p"
    assert scene.relay_of("p", "b") == "q"
    assert not scene.sent[p.addresses[0], scene.hubs[0].host.addresses[0]] > 100
    for name in "pq":
        assert not scene.drops(name).get(DropReason.NO_PATH)


# ---- who may


@pytest.mark.parametrize("policy", [RelayPolicy.NEVER, RelayPolicy.ALWAYS])
def test_who_wants_no_relay_or_no_direct_path_gets_no_member_relay(policy: RelayPolicy) -> None:
    scene = Scene("r", policy=policy)
    scene.world.run(30)
    assert scene.pairs("r") == 0
    assert scene.mesh.is_up("a", "b") == (policy is RelayPolicy.ALWAYS)
    assert scene.mesh.path("b", "a").startswith("relay") == (policy is RelayPolicy.ALWAYS)


def test_without_the_certificate_the_file_makes_no_relay() -> None:
    scene = Scene("r", capabilities=[]).settle()
    scene.world.run(30)
    assert scene.relay_of() == "hub0"
    assert not scene.mesh.edges["r"].engine.relays_for_others()
    assert scene.relayed("r") == scene.pairs("r") == 0
    for name in "ab":
        remote = scene.mesh.remote(name, "r")
        assert remote is not None
        assert not remote.relays
        assert not scene.mesh.edges[name].engine.member_channels._near


def test_without_the_file_the_certificate_makes_no_relay() -> None:
    scene = Scene()
    scene.mesh.edge("r", relays=False, capabilities=["relay"])
    scene.settle()
    scene.world.run(30)
    assert scene.relay_of() == "hub0"
    assert scene.pairs("r") == 0
    assert not scene.drops("r").get(DropReason.NOT_A_RELAY), "it was asked though no directory says that it relays"


# ---- hostile members


def say(scene: Scene, one: str, other: str, *messages: Control) -> None:
    """Let the engine of one edge send another what it would not."""
    remote = scene.mesh.remote(one, other)
    assert remote is not None
    for message in messages:
        assert scene.mesh.edges[one].engine.send_control(remote, message, scene.world.now)
    scene.mesh.edges[one].settle()
    scene.world.run(4 * DELAY)


def feed(scene: Scene, name: str, source: tuple[str, int], datagram: bytes) -> list[tuple[str, int]]:
    """Hand an engine a datagram; where it sends something then."""
    engine = scene.mesh.edges[name].engine
    engine.receive_datagrams([(source, memoryview(bytearray(datagram)), len(datagram))], scene.world.now)
    return [address for address, _, _ in engine.take_datagrams()]


def test_a_member_is_no_relay_against_its_will() -> None:
    scene = Scene()
    scene.mesh.edge("c")
    scene.settle()
    say(scene, "a", "c", *[ChannelRequest(scene.mesh.key_of("b"))] * 3)
    assert scene.drops("c")[DropReason.NOT_A_RELAY] == 3
    assert scene.pairs("c") == 0
    source = (scene.sites["a"].address or "", scene.mesh.edges["a"].ports[4])
    assert feed(scene, "c", source, relay_header(b"channel8") + bytes(100)) == []
    assert scene.drops("c")[DropReason.UNKNOWN_CHANNEL] == 1


def test_nobody_gets_a_channel_to_somebody_unknown_or_to_itself_or_to_the_relay() -> None:
    scene = Scene("r").settle()
    keys = [bytes(range(32)), scene.mesh.key_of("a"), scene.mesh.key_of("r")]
    before = scene.pairs("r")
    say(scene, "a", "r", *[ChannelRequest(key) for key in keys])
    assert scene.pairs("r") == before


def test_a_flood_of_requests_is_answered_up_to_a_limit_and_harms_nobody() -> None:
    scene = Scene("r").settle()
    random = Random(1)
    heard: Counter[str] = Counter()
    scene.world.internet.taps.append(lambda at, source, target, datagram, fate: heard.update((target[0],)))
    for _ in range(20):
        requests = [ChannelRequest(random.randbytes(32)) for _ in range(100)]
        say(scene, "a", "r", *requests, *[ChannelRequest(scene.mesh.key_of("b"))] * 100)
    assert scene.pairs("r") == 1
    assert scene.drops("r")[DropReason.RATE_LIMITED] > 1000
    assert heard[scene.address("b")] < CHANNEL_REQUEST_BURST + 1000
    scene.world.run(10)
    assert scene.relay_of("a", "b") == "r"
    assert scene.carries("a", "b") == pytest.approx(2 * DELAY)


def test_a_channel_from_a_member_that_may_not_relay_is_declined() -> None:
    scene = Scene()
    scene.mesh.edge("c")
    scene.settle()
    remote = scene.mesh.remote("a", "b")
    assert remote is not None
    before = dict(remote.paths.by_via)
    say(scene, "c", "a", Channel(scene.mesh.key_of("b"), b"channel8"))
    assert scene.drops("a")[DropReason.CHANNEL_REFUSED] == 1
    assert remote.paths.by_via == before
    source = (scene.address("c"), scene.mesh.edges["c"].ports[4])
    feed(scene, "a", source, relay_header(b"channel8") + bytes(100))
    assert scene.drops("a")[DropReason.UNKNOWN_CHANNEL] == 1


def test_a_relay_that_offers_thousands_of_channels_fills_no_table_and_changes_no_path() -> None:
    scene = Scene("p", "q").settle()
    engine = scene.mesh.edges["a"].engine
    remote = scene.mesh.remote("a", "b")
    assert remote is not None
    selected, random = remote.paths.selected, Random(1)
    assert selected is not None
    hostile = next(name for name in "pq" if engine.relay_name(selected.via) != name)
    known, peers = len(engine.member_channels._by_id), len(engine.edges)
    for _ in range(10):
        offers = [Channel(random.randbytes(32), random.randbytes(8)) for _ in range(50)]
        offers += [Channel(scene.mesh.key_of("b"), random.randbytes(8)) for _ in range(50)]
        offers += [Channel(scene.mesh.key_of(name), random.randbytes(8)) for name in ("a", hostile)]
        offers += [Channel(scene.mesh.key_of("b"), selected.via[1][4:])]
        say(scene, hostile, "a", *offers)
    assert remote.paths.selected is selected
    assert len(engine.member_channels._by_id) <= known + 1
    assert len(remote.paths.by_via) < 10
    assert len(engine.edges) == peers
    assert scene.carries("a", "b") == pytest.approx(2 * DELAY)
    scene.world.run(60)
    assert scene.carries("b", "a") == pytest.approx(2 * DELAY)


def test_a_relay_that_forwards_nothing_is_never_selected_and_makes_room_for_others() -> None:
    scene = Scene("p", "q", "r")
    for name, delay in (("p", 0.011), ("q", 0.012), ("r", 0.030)):
        scene.world.internet.set_link(scene.mesh.edges[name].host, None, Link(delay=delay))
    for name in "pq":
        engine = scene.mesh.edges[name].engine
        engine.member_relay.relay.forward = lambda source, data, size, now, send: len(data)  # type: ignore[method-assign]
    scene.settle()
    assert scene.relay_of() == "hub0"
    scene.world.run(30)
    assert scene.relay_of("a", "b") == scene.relay_of("b", "a") == "r"
    paths = [
        event.new for name in "ab" for event in scene.mesh.edges[name].events if isinstance(event, PathChanged)
    ]
    assert "relay r" in paths, "a member is told by its name"
    assert not {"relay p", "relay q"} & set(paths)


def test_only_the_members_of_a_pair_use_its_channels() -> None:
    scene = Scene("r")
    scene.mesh.edge("c")
    scene.settle()
    remote = scene.mesh.remote("a", "b")
    assert remote is not None
    assert remote.via is not None
    header, port = remote.via[1], scene.mesh.edges["c"].ports[4]
    before = dict(scene.drops("r"))
    for source in (("5.77.0.1", 7), (scene.address("c"), port)):
        assert feed(scene, "r", source, header + bytes(100)) == []
    assert scene.drops("r")[DropReason.NOT_THE_OWNER] == before.get(DropReason.NOT_THE_OWNER, 0) + 2
    assert feed(scene, "a", ("5.77.0.1", 7), header + bytes(100)) == []
    assert scene.drops("a")[DropReason.UNKNOWN_CHANNEL] == 1


def test_forged_and_replayed_datagrams_by_a_relay_are_counted_and_change_nothing() -> None:
    scene = Scene("r")
    captured: list[tuple[tuple[str, int], bytes]] = []

    def capture(at: float, source: tuple[str, int], target: tuple[str, int], datagram: bytes, fate: Fate) -> None:
        if target[0] == scene.address("b") and source[0] == scene.address("r") and fate is Fate.DELIVERED:
            captured.append((source, datagram))

    scene.world.internet.taps.append(capture)
    scene.settle()
    scene.gap("a", "b", 2.0)
    engine, random = scene.mesh.edges["b"].engine, Random(2)
    remote = scene.mesh.remote("b", "a")
    assert remote is not None
    relayed = [(source, data) for source, data in captured if data[0] == Outer.RELAYED]
    assert len(relayed) > 50
    frames = len(scene.mesh.edges["b"].frames)
    state = (remote.via, remote.last_received_at, dict(remote.paths.by_via), remote.paths.selected)
    before = sum(scene.drops("b").values())
    for source, data in relayed:
        bent = bytearray(data)
        bent[random.randrange(12, len(bent))] ^= 1 << random.randrange(8)
        for forged in (data, bytes(bent), data[: random.randrange(12, len(data))]):
            assert feed(scene, "b", source, forged) == []
    assert (remote.via, remote.last_received_at, dict(remote.paths.by_via), remote.paths.selected) == state
    assert sum(scene.drops("b").values()) >= before + 3 * len(relayed)
    assert not engine.take_frames()
    assert len(scene.mesh.edges["b"].frames) == frames


# ---- several supernodes


def test_of_two_supernodes_the_nearer_one_relays_and_the_other_takes_over_at_once() -> None:
    scene = Scene(hubs=2)
    near, far = scene.hubs
    scene.world.internet.set_link(near.host, None, Link(delay=0.020))
    scene.settle()
    scene.world.run(40)
    assert scene.relay_of("a", "b") == scene.relay_of("b", "a") == "hub0"
    remote = scene.mesh.remote("a", "b")
    assert remote is not None
    rtts = sorted(path.rtt or 0 for path in remote.paths.by_via.values() if path.relayed)
    assert rtts == [pytest.approx(0.080), pytest.approx(0.800)]
    scene.gap("a", "b", 2.0)
    near.kill()
    assert scene.gap("a", "b", 8.0) < 1.0 + 2 * FAR.delay
    assert scene.relay_of("a", "b") == scene.relay_of("b", "a") == "hub1"
    near.restart()
    scene.world.run(40)
    assert scene.relay_of("a", "b") == scene.relay_of("b", "a") == "hub0", "the nearer one is back"
    assert far.engine.relay.relayed_datagrams > 0


def test_a_second_relay_that_died_unnoticed_is_not_taken_for_one_that_works() -> None:
    """Both ends reach both supernodes; but one of these forwards nothing between them any more."""
    scene = Scene(hubs=2)
    near, far = scene.hubs
    scene.world.internet.set_link(near.host, None, Link(delay=0.020))
    scene.settle()
    remote = scene.mesh.remote("a", "b")
    assert remote is not None
    by_far = next(path for path in remote.paths.by_via.values() if path.via[0][0] == far.host.addresses[0])
    assert by_far.valid_at is not None
    far.engine.relay.forward = lambda source, data, size, now, send: len(data)  # type: ignore[method-assign]
    scene.world.run(30)
    assert by_far.valid_at is None
    assert remote.paths.selected is not None
    assert remote.paths.selected.path_class is PathClass.RELAY
