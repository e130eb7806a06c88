"""The supernode's engine: registrations and their bounds, leases, hints, and what a burst may hold."""

from __future__ import annotations

from collections import Counter

import pytest

from l2mesh.core.drops import DropReason
from l2mesh.core.events import EdgeLeft, EdgeRegistered, SupernodeRefused
from l2mesh.core.supernode import HINT_EVERY_S, LEASE_S, SILENT_AFTER_S, SupernodeEngine, SupernodeSettings
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, Network
from l2mesh.simulator.nat import SYMMETRIC
from l2mesh.simulator.network import Fate
from l2mesh.simulator.node import Node
from l2mesh.wire.outer import Outer, emit_key_request

LINK = Link(delay=0.02)


def mesh_of(*names: str, settings: SupernodeSettings | None = None) -> tuple[Mesh, Node[SupernodeEngine]]:
    mesh = Mesh(3, LINK)
    hub = mesh.supernode("hub", settings)
    for name in names:
        mesh.edge(name)
        mesh.world.run(0.5)
    mesh.world.run(3)
    return mesh, hub


def members(hub: Node[SupernodeEngine]) -> int:
    return sum(len(network.registry.members) for network in hub.engine.networks.values())


def test_a_key_request_is_answered_by_fewer_bytes_and_changes_nothing() -> None:
    _, hub = mesh_of()
    source = ("5.77.0.1", 1)
    hub.engine.receive_datagrams([(source, memoryview(bytearray(emit_key_request(b"12345678"))), 64)], hub.now)
    [(target, reply, size)] = hub.engine.take_datagrams()
    assert (target, size) == (source, 44)
    assert bytes(reply) == b"\xc6\0\0\0" + b"12345678" + hub.engine.identity.static.public
    assert not hub.engine.peers


@pytest.mark.parametrize(
    "datagram", [b"\xc5" + bytes(62), b"\xc5" + bytes(64), b"\xc6" + bytes(43), b"\0", b"\x40" * 20]
)
def test_what_is_nothing_of_ours_gets_no_answer(datagram: bytes) -> None:
    _, hub = mesh_of()
    hub.engine.receive_datagrams([(("5.77.0.1", 1), memoryview(bytearray(datagram)), len(datagram))], hub.now)
    assert not hub.engine.take_datagrams()
    assert sum(hub.engine.drops.as_dict().values()) == 1


def test_a_silent_edge_is_listed_until_its_lease_ends() -> None:
    mesh, hub = mesh_of("a", "b")
    mesh.edges["b"].kill()
    mesh.world.run(LEASE_S - 45)
    assert members(hub) == 2
    mesh.world.run(50)
    assert members(hub) == 1
    assert [event for event in hub.events if isinstance(event, EdgeLeft)] == [
        EdgeLeft(hub.events[0].network, "b", "its lease ran out")  # type: ignore[attr-defined]
    ]
    assert mesh.key_of("b") not in hub.engine.peers


def test_an_edge_that_stops_is_unlisted_at_once() -> None:
    mesh, hub = mesh_of("a", "b")
    mesh.edges["b"].stop()
    mesh.world.run(0.1)
    assert members(hub) == 1
    assert mesh.key_of("b") not in hub.engine.peers


def test_a_session_without_a_registration_is_dropped_soon() -> None:
    settings = SupernodeSettings(networks=frozenset((b"another authority" + bytes(15),)))
    mesh, hub = mesh_of("a", settings=settings)
    assert len(hub.engine.peers) == 1
    mesh.edges["a"].kill()
    mesh.world.run(SILENT_AFTER_S + 1)
    assert not hub.engine.peers
    assert not hub.engine._keypairs


def test_the_last_to_leave_takes_the_network_along() -> None:
    mesh, hub = mesh_of("a", "b")
    for edge in mesh.edges.values():
        edge.stop()
    mesh.world.run(1)
    engine = hub.engine
    assert not engine.networks
    assert not engine.peers
    assert not engine.relay._channels
    assert not engine.relay._networks
    assert not engine._hints
    assert not engine._keypairs


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (SupernodeSettings(members_max=2), DropReason.TOO_MANY_REGISTRATIONS),
        (SupernodeSettings(peers_max=2), DropReason.TOO_MANY_PEERS),
    ],
)
def test_a_full_table_turns_newcomers_away_and_harms_nobody(
    settings: SupernodeSettings, reason: DropReason
) -> None:
    mesh, hub = mesh_of("a", "b", "c", "d", settings=settings)
    mesh.world.run(60)
    assert members(hub) == 2
    assert mesh.is_up("a", "b")
    assert hub.engine.drops.as_dict()[reason] >= 2
    mesh.edges["a"].stop()
    mesh.world.run(130)
    assert members(hub) == 2, "there is room for one of them now"


def test_more_networks_than_it_may_have_are_refused() -> None:
    mesh, hub = mesh_of("a", settings=SupernodeSettings(networks_max=1))
    mesh.edge("x", network=Network("another secret"))
    mesh.world.run(5)
    assert len(hub.engine.networks) == 1
    assert SupernodeRefused("hub", DropReason.TOO_MANY_REGISTRATIONS) in mesh.edges["x"].events


def test_many_changes_at_once_make_few_hints() -> None:
    mesh = Mesh(3, LINK)
    hub = mesh.supernode("hub")
    sizes: Counter[int] = Counter()

    def tap(at: float, source: tuple[str, int], target: tuple[str, int], datagram: bytes, fate: Fate) -> None:
        if source[0] == hub.host.addresses[0] and datagram[0] == Outer.DATA:
            sizes[len(datagram)] += 1

    mesh.world.internet.taps.append(tap)
    for number in range(20):
        mesh.edge(f"e{number}")
    mesh.world.run(HINT_EVERY_S * 3)
    hint = 32 + 1 + 2 + 10 + 1
    assert sizes[hint] <= 20 * 3
    assert len([event for event in hub.events if isinstance(event, EdgeRegistered)]) == 20


def test_an_edge_that_takes_another_network_is_in_one_only() -> None:
    mesh, hub = mesh_of("a", "b")
    other = Network("another secret")
    make = mesh.edges["b"].make

    def elsewhere() -> object:
        engine = make()
        certificate = other.certificate("b", engine.identity.static.public)
        engine.identity = type(engine.identity)(
            engine.identity.role,
            engine.identity.static,
            engine.identity.suites,
            engine.identity.instance,
            engine.identity.network_id,
            engine.identity.psk,
            certificate,
        )
        engine.settings = type(engine.settings)(
            other.authority.public, engine.settings.mac, engine.settings.supernodes
        )
        return engine

    mesh.edges["b"].restart(elsewhere)  # type: ignore[arg-type]
    mesh.world.run(3)
    assert len(hub.engine.networks) == 2
    assert members(hub) == 2


def test_own_datagrams_behind_relayed_ones_in_one_burst_are_opened() -> None:
    """A relayed stream and the edge's own probes to its supernode leave by one socket, and GRO joins them."""
    mesh = Mesh(4, LINK)
    hub = mesh.supernode("hub")
    for name in "ab":
        mesh.edge(name, mesh.world.site(nat=SYMMETRIC))
    mesh.world.run_until(mesh.all_up, within=4)
    mesh.world.run(1)
    engine = mesh.edges["a"].engine
    remote = mesh.remote("a", "b")
    link = engine.rendezvous.links[0]
    assert remote is not None
    assert remote.via is not None
    assert link.peer is not None
    assert link.peer.via is not None
    engine.send(remote, [b"\1" + bytes(60)] * 3, remote.via, mesh.world.now)
    engine.send_probe(link.peer, link.peer.via, mesh.world.now)
    before = hub.engine.peers[mesh.key_of("a")].last_received_at, hub.engine.relay.relayed_datagrams
    mesh.edges["a"].settle()
    mesh.world.run(0.021)
    assert hub.engine.peers[mesh.key_of("a")].last_received_at > before[0]
    assert hub.engine.relay.relayed_datagrams >= before[1] + 3
    assert not hub.engine.drops.as_dict()


def test_goodbye_of_a_supernode_is_heard() -> None:
    mesh, hub = mesh_of("a")
    hub.stop()
    mesh.world.run(0.1)
    assert mesh.edges["a"].engine.rendezvous.links[0].registered_at is None
