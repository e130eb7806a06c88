"""Who is no member gets no session and, from an edge, no answer at all; each for a reason that is counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from l2mesh.core.drops import DropReason
from l2mesh.core.edge import EdgeEngine
from l2mesh.core.events import PeerRefused, SupernodeRefused
from l2mesh.core.supernode import SupernodeSettings
from l2mesh.crypto.certificate import issue
from l2mesh.crypto.keys import AuthorityKey
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import WALL_OFFSET, Mesh, Network, frame, mac_of
from l2mesh.simulator.network import Fate
from l2mesh.simulator.node import EdgeNode

LINK = Link(delay=0.02)
YEAR = 31_536_000
Certify = Callable[[Mesh, bytes], bytes]


def certify(
    mesh: Mesh, key: bytes, *, begins: float = -YEAR, ends: float = YEAR, by: AuthorityKey | None = None
) -> bytes:
    now = mesh.world.now + WALL_OFFSET
    authority = by or mesh.network.authority
    return issue(authority, key, "x", not_before=int(now + begins), not_after=int(now + ends), serial=1)


def expired(mesh: Mesh, key: bytes) -> bytes:
    return certify(mesh, key, ends=-60)


def not_yet_valid(mesh: Mesh, key: bytes) -> bytes:
    return certify(mesh, key, begins=3600)


def by_another_authority(mesh: Mesh, key: bytes) -> bytes:
    return certify(mesh, key, by=Network("another secret").authority)


def over_another_key(mesh: Mesh, key: bytes) -> bytes:
    return certify(mesh, mesh.key_of("b"))


def rubbish(mesh: Mesh, key: bytes) -> bytes:
    return b"\x30\x82 no certificate"


BAD = [
    (expired, DropReason.CERTIFICATE_EXPIRED),
    (not_yet_valid, DropReason.CERTIFICATE_NOT_YET_VALID),
    (by_another_authority, DropReason.WRONG_AUTHORITY),
    (over_another_key, DropReason.NOT_A_MEMBER),
    (rubbish, DropReason.BAD_CERTIFICATE),
]


def mesh_with_two(seed: int = 7) -> Mesh:
    mesh = Mesh(seed, LINK)
    mesh.supernode("hub")
    for name in "ab":
        mesh.edge(name)
    mesh.world.run_until(mesh.all_direct, within=3)
    return mesh


def intruder(
    mesh: Mesh, network: Network | None = None, certificate: Certify | None = None
) -> EdgeNode[EdgeEngine]:
    """An edge that knows where `a` is, and its key, from elsewhere."""
    edge = mesh.edge("x", network=network)
    if certificate is not None:
        show(edge, certificate(mesh, mesh.key_of("x")))
    approach(mesh, edge, "a")
    return edge


def show(edge: EdgeNode[EdgeEngine], certificate: bytes) -> None:
    """Start an edge again, with this certificate."""
    make = edge.make

    def with_certificate() -> EdgeEngine:
        engine = make()
        engine.identity = replace(engine.identity, certificate=certificate)
        return engine

    edge.restart(with_certificate)


def approach(mesh: Mesh, edge: EdgeNode[EdgeEngine], target: str) -> None:
    """Let an edge begin handshakes with `target`, as if a directory listed it."""
    node = mesh.edges[target]
    remote = edge.engine.edge_for(mesh.key_of(target), mesh.world.now)
    assert remote is not None
    edge.engine.punching.add_candidates(remote, node.engine.punching.candidates(), mesh.world.now)
    remote.wanted_at = mesh.world.now
    edge.engine.wake_peer(remote, mesh.world.now)
    edge.settle()


def answers(mesh: Mesh, target: str, stranger: str) -> list[bytes]:
    """Datagrams from `target` to `stranger` from now on."""
    seen: list[bytes] = []
    ours, theirs = mesh.edges[target].host.addresses, mesh.edges[stranger].host.addresses

    def tap(at: float, source: tuple[str, int], to: tuple[str, int], datagram: bytes, fate: Fate) -> None:
        if source[0] in ours and to[0] in theirs:
            seen.append(datagram)

    mesh.world.internet.taps.append(tap)
    return seen


@pytest.mark.parametrize(("certificate", "reason"), BAD)
def test_a_bad_certificate_gets_no_answer_and_a_counted_reason(certificate: Certify, reason: DropReason) -> None:
    mesh = mesh_with_two()
    intruder(mesh, certificate=certificate)
    heard = answers(mesh, "a", "x")
    mesh.world.run(60)
    engine = mesh.edges["a"].engine
    assert not heard
    assert engine.drops.as_dict()[reason] > 5
    assert mesh.key_of("x") not in engine.edges
    assert not mesh.is_up("x", "a")


@pytest.mark.parametrize("network", ["a wrong secret", "another network's secret"])
def test_a_wrong_secret_gets_no_answer_before_any_public_key_operation(network: str) -> None:
    mesh = mesh_with_two()
    engine = mesh.edges["a"].engine
    intruder(mesh, network=Network(network))
    mesh.world.run(5)  # a and b met: their initiations crossed
    before = engine.drops.as_dict()
    heard = answers(mesh, "a", "x")
    mesh.world.run(60)
    assert not heard
    after = engine.drops.as_dict()
    assert after.pop(DropReason.WRONG_MAC1) > 5
    before.pop(DropReason.WRONG_MAC1)
    assert after == before
    assert mesh.key_of("x") not in engine.edges


@pytest.mark.parametrize(("certificate", "reason"), BAD)
def test_a_responder_with_a_bad_certificate_becomes_no_peer(certificate: Certify, reason: DropReason) -> None:
    """The intruder's engine answers: it is ours that has to refuse."""
    mesh = mesh_with_two(seed=8)  # by which ours has the smaller key: it is answered when initiations cross
    intruder(mesh, certificate=certificate)
    mesh.world.run(1)
    approach(mesh, mesh.edges["a"], "x")
    mesh.world.run(60)
    assert not mesh.is_up("a", "x")
    engine = mesh.edges["a"].engine
    assert engine.drops.as_dict()[DropReason.NOT_A_MEMBER] > 3
    refused = [event for event in mesh.edges["a"].events if isinstance(event, PeerRefused)]
    assert [event.reason for event in refused] == [reason]
    remote = mesh.remote("a", "x")
    assert remote is None or remote.session.current is None
    sent = frame(mac_of("a"), mac_of("x"), b"let me in")
    mesh.edges["x"].send_frames([sent])
    mesh.world.run(1)
    assert sent not in mesh.edges["a"].frames


@pytest.mark.parametrize(("certificate", "reason"), BAD)
def test_a_supernode_lists_nobody_without_a_certificate(certificate: Certify, reason: DropReason) -> None:
    mesh = mesh_with_two()
    intruder(mesh, certificate=certificate)
    mesh.world.run(10)
    hub = mesh.world.nodes["hub"].engine
    [network] = hub.networks.values()
    assert set(network.registry.members) == {mesh.key_of("a"), mesh.key_of("b")}
    assert hub.drops.as_dict()[reason] >= 1
    assert SupernodeRefused("hub", reason) in mesh.edges["x"].events


def test_a_refused_edge_tries_again_after_a_minute_and_is_let_in_when_its_time_has_come() -> None:
    mesh = Mesh(7, LINK)
    mesh.supernode("hub")
    mesh.edge("a")
    early = mesh.edge("x")
    show(early, certify(mesh, mesh.key_of("x"), begins=30))
    mesh.world.run(40)
    [link] = early.engine.rendezvous.links
    assert link.registered_at is None
    mesh.world.run_until(lambda: link.registered_at is not None, within=30, what="registration")
    mesh.world.run_until(lambda: mesh.is_up("a", "x"), within=3)


def test_a_certificate_that_expires_ends_the_sessions_made_with_it() -> None:
    mesh = mesh_with_two()
    edge = intruder(mesh, certificate=lambda mesh, key: certify(mesh, key, ends=100))
    mesh.world.run_until(lambda: mesh.is_up("a", "x"), within=10)
    mesh.world.run(100 + 300)
    assert not mesh.is_up("a", "x")
    sent = frame(mac_of("a"), mac_of("x"), b"still here")
    edge.send_frames([sent])
    mesh.world.run(1)
    assert sent not in mesh.edges["a"].frames


def test_a_supernode_that_serves_other_networks_only_refuses_ours() -> None:
    mesh = Mesh(1, LINK)
    hub = mesh.supernode("hub", SupernodeSettings(networks=frozenset((bytes(32),))))
    mesh.edge("a")
    mesh.world.run(10)
    assert not hub.engine.networks
    assert SupernodeRefused("hub", DropReason.NETWORK_NOT_SERVED) in mesh.edges["a"].events


def test_a_pinned_mac_is_the_only_one_its_holder_may_use() -> None:
    mesh = mesh_with_two()
    pinned = bytes.fromhex("02c0ffee0001")
    edge = mesh.edge("p")
    key = mesh.key_of("p")
    show(edge, mesh.network.certificate("p", key, macs=(pinned,)))
    mesh.world.run_until(mesh.all_up, within=4)
    good, bad = frame(mac_of("a"), pinned, b"mine"), frame(mac_of("a"), mac_of("b"), b"not mine")
    edge.send_frames([good, bad])
    mesh.world.run(1)
    assert mesh.edges["a"].frames == [good]
    assert mesh.edges["a"].engine.drops.as_dict()[DropReason.NOT_ITS_ADDRESS] == 1
