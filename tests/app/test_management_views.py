"""What the documents say of real engines: a simulated mesh, looked at while things happen to it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import msgspec
import pytest

from l2mesh.app.config import EdgeConfig, load_edge
from l2mesh.app.management import dispatch, documents, views
from l2mesh.app.management.ping import PingBoard
from l2mesh.app.management.routes import edge_routes, supernode_routes
from l2mesh.app.management.supernode_views import supernode_peers, supernode_status
from l2mesh.core.candidates import Origin
from l2mesh.core.edge import EdgeEngine
from l2mesh.core.events import ProbeAnswered
from l2mesh.core.mapping_protocols import MappingProtocol
from l2mesh.core.mapping_values import MappingState, MappingStatus
from l2mesh.core.path import Path as NetworkPath
from l2mesh.core.paths import Paths
from l2mesh.core.reach import RelayPolicy
from l2mesh.core.supernode import SupernodeEngine
from l2mesh.crypto.keys import encode_key
from l2mesh.shell.statistics import PortStatistics
from l2mesh.simulator.mesh import Mesh, frame, mac_of
from l2mesh.simulator.node import EdgeNode, Node


@pytest.fixture
def config(examples: Path) -> EdgeConfig:
    return load_edge(examples / "edge.toml")


class SimulatedDriver:
    """A driver whose network is the simulator's: what the routes need of one."""

    def __init__(self, node: Node[Any]) -> None:
        self.node = node
        self.unroutable = 3

    def call(self, door: Callable[..., None], *arguments: Any) -> None:
        door(*arguments, self.node.now)
        self.node.settle()

    def statistics(self) -> dict[str, PortStatistics]:
        return {
            "tap": PortStatistics(1, 100, 2, 250),
            "udp4": PortStatistics(5, 500, 6, 600, Counter({"socket full": 4})),
        }


class Bench:
    """A supernode, and alice and bob behind home NATs."""

    def __init__(self, **options: Any) -> None:
        self.mesh = Mesh(seed=3)
        self.hub = self.mesh.supernode("hub")
        self.alice = self.mesh.edge("alice", self.mesh.world.site(), **options)
        self.bob = self.mesh.edge("bob", self.mesh.world.site())
        self.board = PingBoard()

    def settle(self) -> None:
        self.mesh.world.run_until(self.mesh.all_up, within=10)
        self.mesh.world.run(10)

    def key(self, node: Node[Any]) -> str:
        return encode_key(node.engine.identity.static.public)

    def ask(
        self, config: EdgeConfig, method: str, path: str, body: object = None, *, meanwhile: float = 0.0
    ) -> tuple[int, Any]:
        """Status and document of alice's answer, with virtual time running while it is awaited."""

        async def asking() -> dispatch.Answer:
            driver = SimulatedDriver(self.alice)
            routes = edge_routes(self.alice.engine, driver, config, self.board, 0.0, lambda: self.alice.now)
            content = body if isinstance(body, bytes) else msgspec.json.encode(body)
            task = asyncio.create_task(dispatch.answer(routes, method, path, content))
            await asyncio.sleep(0)
            before = len(self.alice.events)
            self.mesh.world.run(meanwhile)
            for event in self.alice.events[before:]:
                if isinstance(event, ProbeAnswered):
                    self.board.answered(event)
            return await task

        answer = asyncio.run(asking())
        return answer.status, json.loads(answer.body)


NO_MAPPING = {"state": "off", "protocol": None, "external": None, "reason": None, "double_nat": False}


@pytest.fixture(scope="module")
def settled() -> Bench:
    """Alice and bob on a direct path; tests only look, and ping."""
    bench = Bench()
    bench.settle()
    bench.alice.send_frames([frame(mac_of("bob"), b"\x02alice", b"x" * 100)])
    tagged = frame(b"\xff" * 6, b"\x02bridg", b"\x00\x2a\x08\x00", 0x8100)
    bench.bob.send_frames([frame(b"\xff" * 6, mac_of("bob")), tagged])
    bench.mesh.world.run(1)
    return bench


def test_status_tells_what_the_router_maps(settled: Bench, config: EdgeConfig) -> None:
    mapped = MappingStatus(MappingState.OPEN, MappingProtocol.NAT_PMP, ("198.51.100.1", 50000))
    none = MappingStatus(reason="there is no router for IPv6", double_nat=True)
    status = views.edge_status(
        settled.alice.engine,
        config,
        {},
        unroutable=0,
        uptime=1.0,
        now=settled.alice.now,
        port_mapping={4: mapped, 6: none}.__getitem__,
    )
    assert status.port_mapping == documents.PortMapping(
        state="open", protocol="NAT-PMP", external="198.51.100.1:50000", reason=None, double_nat=False
    )
    assert status.ipv6_firewall == documents.PortMapping(
        state="off", protocol=None, external=None, reason="there is no router for IPv6", double_nat=True
    )


def peers_of(node: EdgeNode[EdgeEngine], config: EdgeConfig) -> dict[str, documents.EdgePeer]:
    return {one.name: one for one in views.edge_peers(node.engine, config, node.now).peers}


def test_status_tells_who_and_where_an_edge_is(settled: Bench, config: EdgeConfig) -> None:
    status, said = settled.ask(config, "GET", "/v1/status")
    assert status == 200
    [supernode] = said["supernodes"]
    assert said == {
        "role": "edge",
        "name": "alice",
        "network": "mpc",
        "public_key": settled.key(settled.alice),
        "version": said["version"],
        "uptime_s": pytest.approx(settled.alice.now),
        "device": "l2m0",
        "mac": mac_of("alice").hex(":"),
        "mtu": 1500,
        "relay": "auto",
        "relays_for_others": False,
        "port_mapping": NO_MAPPING,
        "ipv6_firewall": NO_MAPPING,
        "listen": [f"0.0.0.0:{settled.alice.ports[4]}", f"[::]:{settled.alice.ports[6]}"],
        "nat": said["nat"],  # test_nat_views.py
        "nat_ipv6": said["nat_ipv6"],
        "supernodes": [supernode],
        "peers_up": 1,
        "peers_known": 1,
        "fdb_stations": 3,
        "rx_frames": 2,
        "tx_frames": 1,
        "rx_bytes": 250,
        "tx_bytes": 100,
        "relay_pairs": 0,
        "relayed_bytes": 0,
        "relayed_datagrams": 0,
        "drops": said["drops"],
        "unroutable": 3,
        "ports": {
            "tap": {"reads": 1, "read_bytes": 100, "writes": 2, "write_bytes": 250, "drops": {}},
            "udp4": {"reads": 5, "read_bytes": 500, "writes": 6, "write_bytes": 600, "drops": {"socket full": 4}},
        },
    }
    assert (supernode["name"], supernode["state"], supernode["members"]) == ("hub", "registered", 2)
    assert supernode["public_key"] == settled.key(settled.hub)
    assert supernode["observed"].split(":")[0] != settled.alice.host.addresses[0]
    assert 0 < supernode["rtt_ms"] < 1000
    assert 0 <= supernode["last_registered_s"] < 60
    assert supernode["refusal"] is None


def test_a_peer_on_a_direct_path_has_all_its_facts(settled: Bench, config: EdgeConfig) -> None:
    status, said = settled.ask(config, "GET", "/v1/peers")
    assert (status, said["role"], said["network"]) == (200, "edge", "mpc")
    [bob] = said["peers"]
    assert (bob["name"], bob["state"], bob["path"]) == ("bob", "up", "direct")
    assert (bob["relay"], bob["relays"]) == (None, False)
    assert bob["public_key"] == settled.key(settled.bob)
    assert bob["cipher"] == "AES-256-GCM"
    assert bob["refusal"] is None
    assert 0 < bob["rtt_ms"] < 1000
    assert bob["datagram_bytes"] == 1472
    assert bob["rx_bytes"] > 0
    assert bob["tx_bytes"] > 0
    assert (bob["rx_frames"], bob["tx_frames"], bob["stations"]) == (2, 1, 2)
    assert 0 <= bob["last_received_s"] <= bob["up_for_s"] <= bob["last_handshake_s"] + 1
    assert {one["origin"] for one in bob["candidates"]} == {"host", "server-reflexive"}
    fates = {one["endpoint"]: one["fate"] for one in bob["paths"]}
    assert fates[bob["endpoint"]] == "selected"
    assert [one["fate"] for one in bob["paths"] if one["path"] == "relay"] == ["valid"]
    assert f"{settled.bob.host.addresses[0]}:{settled.bob.ports[4]}" in fates


def test_the_fdb_names_peers_and_vlans(settled: Bench, config: EdgeConfig) -> None:
    status, said = settled.ask(config, "GET", "/v1/fdb")
    assert (status, said["ageing_time_s"]) == (200, 300.0)
    bob = settled.key(settled.bob)
    assert {
        (one["mac"], one["vlan"], one["port"], one["public_key"], one["static"]) for one in said["stations"]
    } == {
        (mac_of("alice").hex(":"), None, "local", None, True),
        (mac_of("bob").hex(":"), None, "bob", bob, False),
        (b"\x02bridg".hex(":"), 42, "bob", bob, False),
    }
    ages = [one["age_s"] for one in said["stations"] if not one["static"]]
    assert all(0 <= age < 2 for age in ages)


def test_stations_that_aged_out_are_not_shown(settled: Bench, config: EdgeConfig) -> None:
    later = views.edge_fdb(settled.alice.engine, config, settled.alice.now + 300)
    assert [one.static for one in later.stations] == [True]


@pytest.mark.parametrize("by", ["name", "key"])
def test_ping_measures_the_selected_path(settled: Bench, config: EdgeConfig, by: str) -> None:
    name = "bob" if by == "name" else settled.key(settled.bob)
    status, said = settled.ask(config, "POST", "/v1/ping", {"peer": name}, meanwhile=0.5)
    [bob] = peers_of(settled.alice, config).values()
    assert status == 200
    assert (said["peer"], said["path"], said["endpoint"]) == ("bob", "direct", bob.endpoint)
    assert 0 < said["rtt_ms"] < 500
    assert len(settled.board) == 0


def test_ping_of_a_stranger_names_those_who_are_known(settled: Bench, config: EdgeConfig) -> None:
    assert settled.ask(config, "POST", "/v1/ping", {"peer": "eve"}) == (
        404,
        {"error": "no peer 'eve': known are bob"},
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"peer": 7}', b"\xff"])
def test_ping_without_a_proper_body_is_told(settled: Bench, config: EdgeConfig, body: bytes) -> None:
    status, said = settled.ask(config, "POST", "/v1/ping", body)
    assert status == 400
    assert said["error"].startswith("the body: ")


def test_ping_times_out_when_the_peer_is_gone(config: EdgeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l2mesh.app.management.routes.PING_TIMEOUT_S", 0.01)
    bench = Bench()
    bench.settle()
    bench.bob.kill()
    assert bench.ask(config, "POST", "/v1/ping", {"peer": "bob"}, meanwhile=0.1) == (
        504,
        {"error": "bob did not answer within 0.01 s"},
    )
    assert len(bench.board) == 0


def test_a_peer_that_is_gone_for_long_is_down_and_its_ping_has_no_path(config: EdgeConfig) -> None:
    bench = Bench()
    bench.settle()
    bench.hub.kill()  # or it would unlist him when his lease is out
    bench.bob.kill()
    bench.mesh.world.run(60)
    assert peers_of(bench.alice, config)["bob"].state == "connecting"
    bench.mesh.world.run(60)
    bob = peers_of(bench.alice, config)["bob"]
    assert (bob.state, bob.path, bob.endpoint, bob.rtt_ms, bob.up_for_s) == ("down", None, None, None, None)
    status, said = bench.ask(config, "POST", "/v1/ping", {"peer": "bob"})
    assert (status, said["error"].split(":")[0]) == (503, "no path to bob now")


def test_a_relayed_peer_shows_its_relay(config: EdgeConfig) -> None:
    bench = Bench(relay=RelayPolicy.ALWAYS)
    bench.settle()
    bob = peers_of(bench.alice, config)["bob"]
    [supernode] = views.edge_status(
        bench.alice.engine, config, {}, unroutable=0, uptime=1.0, now=bench.alice.now
    ).supernodes
    assert (bob.state, bob.path, bob.endpoint) == ("up", "relay", supernode.endpoint)
    assert bob.relay == supernode.name
    assert [(one.origin, one.relay) for one in bob.paths] == [("relay", supernode.name)]


def test_an_edge_that_reaches_nobody_has_documents_too(config: EdgeConfig) -> None:
    bench = Bench()
    bench.hub.kill()
    bench.mesh.world.run(1)
    _, said = bench.ask(config, "GET", "/v1/status")
    [supernode] = said["supernodes"]
    assert (supernode["state"], supernode["observed"]) == ("asking for its key", None)
    assert bench.ask(config, "GET", "/v1/peers")[1]["peers"] == []
    assert bench.ask(config, "POST", "/v1/ping", {"peer": "bob"})[1] == {
        "error": "no peer 'bob': no peer is known yet"
    }


def test_a_supernode_tells_whom_it_serves(settled: Bench, config: EdgeConfig) -> None:
    engine: SupernodeEngine = settled.hub.engine
    driver = SimulatedDriver(settled.hub)
    status = supernode_status(engine, driver.statistics(), unroutable=0, uptime=5.0)
    [network] = status.networks
    assert (network.members, status.sessions, status.relay_pairs) == (2, 2, 1)
    assert status.relayed_bytes > 0
    assert status.relayed_datagrams > 0
    assert network.authority.startswith(network.network)
    assert status.listen == [f"{settled.hub.host.addresses[0]}:7777"]
    peers = {one.name: one for one in supernode_peers(engine, settled.hub.now).peers}
    assert list(peers) == ["alice", "bob"]
    [ours] = views.edge_status(settled.alice.engine, config, {}, unroutable=0, uptime=0.0, now=0.0).supernodes
    assert peers["alice"].endpoint == ours.observed
    assert peers["alice"].public_key == settled.key(settled.alice)
    assert 0 < peers["alice"].lease_s <= 120
    assert {one.origin for one in peers["alice"].candidates} == {"host", "server-reflexive"}


def test_a_supernode_has_no_fdb_and_says_whom_to_ask(settled: Bench) -> None:
    routes = supernode_routes(settled.hub.engine, SimulatedDriver(settled.hub), 0.0, lambda: 9.0)
    answer = asyncio.run(dispatch.answer(routes, "GET", "/v1/fdb", b""))
    assert (answer.status, json.loads(answer.body)) == (
        404,
        {"error": "this is a supernode, which is no part of the switch: ask an edge"},
    )
    status = json.loads(asyncio.run(dispatch.answer(routes, "GET", "/v1/status", b"")).body)
    assert (status["role"], status["uptime_s"], status["unroutable"]) == ("supernode", 9.0, 3)


def test_documents_are_read_by_the_types_that_made_them(settled: Bench, config: EdgeConfig) -> None:
    made = views.edge_peers(settled.alice.engine, config, settled.alice.now)
    read: documents.Peers = msgspec.json.decode(msgspec.json.encode(made), type=documents.Peers)
    assert read == made


@pytest.mark.parametrize(
    ("up", "wanted", "attempts", "trying_for", "state"),
    [
        (True, True, 0, 0.0, "up"),
        (False, True, 0, 1e6, "connecting"),
        (False, True, 3, 12.0, "connecting"),
        (False, True, 30, 91.0, "down"),
        (False, False, 0, 0.0, "down"),
    ],
)
def test_peer_states(up: bool, wanted: bool, attempts: int, trying_for: float, state: str) -> None:
    assert views.peer_state(up=up, wanted=wanted, attempts=attempts, trying_for=trying_for) == state


def test_path_fates() -> None:
    paths = Paths()
    path = paths.add_direct(("192.0.2.1", 7), Origin.HOST, 0.0)
    assert isinstance(path, NetworkPath)
    assert views.path_fate(path, paths) == "untried"
    paths.check(path, 1.0)
    assert views.path_fate(path, paths) == "checking"
    path.checks_from, path.probes_sent = None, 11
    assert views.path_fate(path, paths) == "unanswered"
    path.valid_at = 2.0
    assert views.path_fate(path, paths) == "valid"
    paths.choose(2.0)
    assert views.path_fate(path, paths) == "selected"


def test_what_never_was_is_null() -> None:
    assert views.since(None, 1.0) is None
    assert views.since(-inf, 1.0) is None
    assert views.since(0.5, 1.0) == 0.5
