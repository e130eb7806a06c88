"""The edge's engine: queues, bounds, pings, and what lies about its own time."""

from __future__ import annotations

import pytest

from l2mesh.core.candidates import Origin, make_candidate
from l2mesh.core.drops import DropReason
from l2mesh.core.edge import DEAD_AFTER_S, PINGS_MAX, EdgeSettings
from l2mesh.core.events import PathChanged, PeerDown, ProbeAnswered, SupernodeRefused
from l2mesh.core.node import ASLEEP_S
from l2mesh.core.path_trust import FAIL_AFTER_S
from l2mesh.core.paths import PROBE_IDLE_JITTER_S, PROBE_IDLE_S
from l2mesh.core.remote_edge import FLOOD_BURST, QUEUE_BYTES_MAX, QUEUE_FRAMES_MAX
from l2mesh.core.session import REJECT_AFTER_S
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, frame, mac_of

LINK = Link(delay=0.02)
EVERYBODY = b"\xff" * 6


def mesh_of(*names: str, settings: EdgeSettings | None = None) -> Mesh:
    mesh = Mesh(3, LINK)
    mesh.supernode("hub")
    for name in names:
        mesh.edge(name, settings=settings)
    mesh.world.run_until(mesh.all_up, within=4)
    mesh.world.run(2)
    return mesh


@pytest.mark.parametrize(("size", "kept"), [(60, QUEUE_FRAMES_MAX), (9000, QUEUE_BYTES_MAX // 9010)])
def test_a_peer_without_a_session_has_a_bounded_queue_and_the_newest_frames_stay(size: int, kept: int) -> None:
    mesh = Mesh(3, LINK)
    mesh.supernode("hub")
    mesh.edge("a")
    mesh.edge("b")
    mesh.world.run_until(lambda: mesh.remote("a", "b") is not None, within=1)
    mesh.world.run_until(lambda: mesh.remote("a", "b").wanted_at is not None, within=1)  # type: ignore[union-attr]
    assert not mesh.is_up("a", "b")
    sent = [frame(EVERYBODY, mac_of("a"), number.to_bytes(2, "big")).ljust(size, b"\0") for number in range(200)]
    mesh.edges["a"].send_frames(sent)
    mesh.world.run(3)
    assert mesh.edges["b"].frames == sent[-kept:]
    assert mesh.edges["a"].engine.drops.as_dict()[DropReason.QUEUE_FULL] == 200 - kept


def test_more_peers_than_may_be_are_not_taken_in() -> None:
    settings = EdgeSettings(Mesh(3).network.authority.public, mac_of("a"), peers_max=3)
    mesh = Mesh(3, LINK)
    mesh.supernode("hub")
    mesh.edge("a", settings=settings)
    for name in "bcdefg":
        mesh.edge(name)
    mesh.world.run(20)
    engine = mesh.edges["a"].engine
    assert len(engine.edges) == 3
    assert all(edge.up for edge in engine.edges.values())
    assert engine.drops.as_dict()[DropReason.TOO_MANY_PEERS] >= 3


def test_a_ping_is_answered_with_its_round_trip_time() -> None:
    mesh = mesh_of("a", "b")
    edge = mesh.edges["a"]
    transaction = edge.engine.probe_peer(mesh.key_of("b"), mesh.world.now)
    assert transaction is not None
    edge.settle()
    mesh.world.run(0.1)
    [answer] = [event for event in edge.events if isinstance(event, ProbeAnswered)]
    assert answer.transaction == transaction
    assert answer.rtt == pytest.approx(0.04)
    assert edge.engine.probe_peer(b"nobody" + bytes(26), mesh.world.now) is None


def test_pings_that_are_never_answered_are_bounded() -> None:
    mesh = mesh_of("a", "b")
    for _ in range(500):
        assert mesh.edges["a"].engine.probe_peer(mesh.key_of("b"), mesh.world.now)
    assert len(mesh.edges["a"].engine._pings) == PINGS_MAX


def test_one_peer_cannot_flood_without_a_limit() -> None:
    mesh = mesh_of("a", "b")
    sent = [frame(EVERYBODY, mac_of("b"), number.to_bytes(3, "big"), 0x0806) for number in range(5000)]
    for start in range(0, 5000, 500):
        mesh.edges["b"].send_frames(sent[start : start + 500])
    mesh.world.run(1)
    assert len(mesh.edges["a"].frames) == FLOOD_BURST
    assert mesh.edges["a"].engine.drops.as_dict()[DropReason.FLOOD_LIMIT] == 5000 - FLOOD_BURST
    unicast = frame(mac_of("a"), mac_of("b"), b"not a flood")
    mesh.edges["b"].send_frames([unicast])
    mesh.world.run(0.1)
    assert mesh.edges["a"].frames[-1] == unicast


def test_a_peer_cannot_fill_the_forwarding_database() -> None:
    mesh = mesh_of("a", "b", "c")
    forged = [frame(mac_of("a"), b"\x02\xff" + number.to_bytes(4, "big"), b"x") for number in range(3000)]
    for start in range(0, 3000, 100):
        mesh.edges["b"].send_frames(forged[start : start + 100])
        mesh.world.run(0.01)
    mesh.world.run(1)
    fdb = mesh.edges["a"].engine.switch.fdb
    assert fdb.count_of(mesh.key_of("b")) <= 1024
    mesh.edges["c"].send_frames([frame(mac_of("a"), b"\x02\xcc\0\0\0\1", b"x")])
    mesh.world.run(0.1)
    assert fdb.lookup(b"\x02\xcc\0\0\0\1", mesh.world.now) == mesh.key_of("c")


def test_an_edge_with_nothing_to_do_is_not_taken_to_have_slept() -> None:
    """Without a supernode its paths rest for longer than ASLEEP_S."""
    mesh = mesh_of("a", "b")
    mesh.world.nodes["hub"].kill()
    mesh.world.run(600)
    engine = mesh.edges["a"].engine
    before, resumed = mesh.world.now, []
    engine._resumed = lambda gap, now: resumed.append(gap)  # type: ignore[method-assign]
    mesh.world.run(300)
    assert mesh.world.now - before > 10 * ASLEEP_S
    assert not resumed
    for edge in mesh.edges.values():
        assert not [event for event in edge.events if isinstance(event, PeerDown)]
        assert len([event for event in edge.events if isinstance(event, PathChanged)]) <= 1


def test_a_peer_that_vanishes_is_down_within_half_a_minute_and_let_go_in_the_end() -> None:
    mesh = mesh_of("a", "b")
    gone = mesh.key_of("b")
    mesh.edges["b"].send_frames([frame(EVERYBODY, mac_of("b"))])
    mesh.world.run(1)
    mesh.edges["b"].kill()
    engine = mesh.edges["a"].engine
    mesh.world.run(35)
    assert not mesh.is_up("a", "b")
    assert engine.switch.fdb.count_of(gone) == 0
    mesh.world.run(REJECT_AFTER_S + 120)
    assert gone not in engine.edges
    assert gone not in engine.peers
    assert not [keypair for keypair in engine._keypairs.values() if keypair.peer.public_key == gone]


def test_under_traffic_a_peer_that_vanishes_is_down_sooner() -> None:
    mesh = mesh_of("a", "b")
    mesh.edges["b"].kill()
    for _ in range(40):
        mesh.edges["a"].send_frames([frame(mac_of("b"), mac_of("a"))])
        mesh.world.run(0.5)
    assert not mesh.is_up("a", "b")


def test_status_counts_frames_and_bytes_both_ways() -> None:
    mesh = mesh_of("a", "b")
    here, there = mesh.remote("a", "b"), mesh.remote("b", "a")
    assert here
    assert there
    before = here.tx_frames, there.rx_frames
    mesh.edges["a"].send_frames([frame(mac_of("b"), mac_of("a"), bytes((number,))) for number in range(10)])
    mesh.world.run(0.1)
    assert (here.tx_frames - before[0], there.rx_frames - before[1]) == (10, 10)
    assert here.tx_bytes > 600
    assert there.rx_bytes > 600


def test_no_path_leads_through_the_mesh_itself() -> None:
    """Another edge of the same host may name its overlay address: datagrams to it would come to our own TAP."""
    mesh = mesh_of("a", "b")
    engine = mesh.edges["a"].engine
    remote = mesh.remote("a", "b")
    assert remote is not None
    engine.set_overlay(["10.77.0.0/24", "fd77::/64"])
    overlay = ("10.77.0.2", 40001)
    engine.punching.add_candidates(remote, (make_candidate(overlay, Origin.HOST),), mesh.world.now)
    engine.care.heard_elsewhere(remote, (overlay, b""), mesh.world.now)
    assert (overlay, b"") not in remote.paths.by_via
    elsewhere = ("10.78.0.2", 40001)
    engine.care.heard_elsewhere(remote, (elsewhere, b""), mesh.world.now)
    assert (elsewhere, b"") in remote.paths.by_via


SILENT_MAX_S = PROBE_IDLE_S + PROBE_IDLE_JITTER_S + 2 * FAIL_AFTER_S + 2


@pytest.mark.parametrize("idle", [0.0, 3.0, 6.0, 9.0, 12.0, 15.0])
def test_a_peer_that_falls_silent_is_down_after_its_time_whatever_became_of_its_paths(idle: float) -> None:
    mesh = mesh_of("a", "b")
    mesh.world.run(idle)
    mesh.edges["b"].freeze()
    remote = mesh.remote("a", "b")
    assert remote is not None
    mesh.world.run_until(lambda: not mesh.is_up("a", "b"), within=SILENT_MAX_S)
    assert DEAD_AFTER_S <= mesh.world.now - remote.last_received_at <= SILENT_MAX_S


@pytest.mark.parametrize("phase", [0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8])
def test_a_peer_that_falls_silent_under_traffic_is_down_after_15_seconds(phase: float) -> None:
    """All paths have failed and have been checked again before that: nothing of theirs wakes the engine."""
    mesh = mesh_of("a", "b")
    remote = mesh.remote("a", "b")
    assert remote is not None
    greeting = frame(mac_of("b"), mac_of("a"))
    for _ in range(20):
        mesh.edges["a"].send_frames([greeting])
        mesh.world.run(0.5)
    mesh.world.run(phase)
    mesh.edges["b"].send_frames([frame(mac_of("a"), mac_of("b"))])
    mesh.world.run(0.05)
    mesh.edges["b"].freeze()
    mesh.world.run_until(lambda: not mesh.is_up("a", "b"), within=DEAD_AFTER_S + 1)
    assert mesh.world.now - remote.last_received_at >= DEAD_AFTER_S


def test_a_second_name_for_the_same_supernode_is_said_and_harms_nothing() -> None:
    mesh = Mesh(3, LINK)
    hub = mesh.supernode("hub")
    mesh.world.names["also-hub"] = mesh.world.names["hub"]
    mesh.edge("a")
    mesh.edge("b")
    mesh.world.run_until(mesh.all_up, within=4)
    mesh.world.run(130)
    refused = [event for event in mesh.edges["a"].events if isinstance(event, SupernodeRefused)]
    assert [event.supernode for event in refused] == ["also-hub"]
    assert len(hub.engine.peers) == 2
    assert mesh.all_up()
