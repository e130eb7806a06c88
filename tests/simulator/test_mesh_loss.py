"""A mesh on bad links: loss, reordering, duplication, lost responses, two handshakes at once, rekeys."""

from __future__ import annotations

from collections import Counter

import pytest

from l2mesh.core.session import REKEY_AFTER_S
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, frame, mac_of
from l2mesh.simulator.nat import HOME, SYMMETRIC, Nat
from l2mesh.simulator.network import Fate
from l2mesh.wire.outer import Outer

BAD = Link(delay=0.02, jitter=0.005, loss=0.2, duplicate=0.1, reorder=0.2)


def homes(mesh: Mesh, *names: str, nat: Nat | None = HOME) -> None:
    for name in names:
        mesh.edge(name, mesh.world.site(nat=nat) if nat else None)


def numbered(one: str, other: str, count: int) -> list[bytes]:
    return [frame(mac_of(other), mac_of(one), f"{one} {other} {number}".encode()) for number in range(count)]


def assert_one_session(mesh: Mesh, one: str, other: str) -> None:
    """Both ends seal with the keys that the other opens with, and neither holds on to a handshake."""
    here, there = mesh.remote(one, other), mesh.remote(other, one)
    assert here is not None
    assert there is not None
    ours, theirs = here.session.current, there.session.current
    assert ours is not None
    assert theirs is not None
    assert (ours.local_index, ours.remote_index) == (theirs.remote_index, theirs.local_index)
    assert ours.initiator is not theirs.initiator
    assert here.session.next is None
    assert there.session.next is None
    assert here.initiation is None
    assert there.initiation is None


@pytest.mark.parametrize("seed", range(6))
def test_loss_reordering_and_duplication_cost_frames_but_never_double_them(seed: int) -> None:
    mesh = Mesh(seed, BAD)
    mesh.supernode("hub")
    homes(mesh, "a", "b", "c")
    mesh.world.run_until(mesh.all_up, within=30)
    sent = numbered("a", "b", 400)
    for one in sent:
        mesh.edges["a"].send_frames([one])
        mesh.world.run(0.01)
    mesh.world.run(5)
    counts = Counter(mesh.edges["b"].frames)
    arrived = [counts[one] for one in sent]
    assert max(arrived) == 1
    assert 200 < sum(arrived) < 380


@pytest.mark.parametrize("nat", [HOME, SYMMETRIC, None])
@pytest.mark.parametrize("seed", range(2))
def test_a_mesh_on_bad_links_stays_up_for_an_hour(seed: int, nat: Nat | None) -> None:
    mesh = Mesh(seed, BAD)
    mesh.supernode("hub")
    homes(mesh, "a", "b", nat=nat)
    mesh.world.run_until(mesh.all_up, within=30)
    down = 0
    for _ in range(720):
        mesh.world.run(5)
        down += not mesh.all_up()
    assert down <= 2


@pytest.mark.parametrize("seed", range(10))
def test_simultaneous_initiation_ends_in_one_session(seed: int) -> None:
    """Both edges are new, so both begin at once; the seeds give both orders of their keys."""
    mesh = Mesh(seed, Link(delay=0.05))
    mesh.supernode("hub")
    homes(mesh, "a", "b", nat=None)
    mesh.world.run_until(mesh.all_up, within=3)
    mesh.world.run(3)
    assert_one_session(mesh, "a", "b")
    mesh.world.run(600)
    assert_one_session(mesh, "a", "b")


def test_the_seeds_above_have_both_orders_of_keys() -> None:
    def order(seed: int) -> bool:
        mesh = Mesh(seed)
        homes(mesh, "a", "b", nat=None)
        return mesh.key_of("a") < mesh.key_of("b")

    assert {order(seed) for seed in range(10)} == {True, False}


@pytest.mark.parametrize("lost", [0.25, 0.45])
@pytest.mark.parametrize("seed", range(8))
def test_lost_initiations_and_responses_end_in_one_session_too(seed: int, lost: float) -> None:
    mesh = Mesh(seed, Link(delay=0.05, jitter=0.1, loss=lost))
    mesh.supernode("hub")
    homes(mesh, "a", "b", nat=None)
    mesh.world.run_until(mesh.all_up, within=120)
    mesh.world.internet.root.link = Link(delay=0.05)
    mesh.world.run_until(mesh.all_up, within=20)
    mesh.world.run(20)
    assert_one_session(mesh, "a", "b")


@pytest.mark.parametrize("nat", [HOME, SYMMETRIC])
@pytest.mark.parametrize("seed", range(2))
def test_no_frame_is_lost_over_three_rekeys(seed: int, nat: Nat) -> None:
    mesh = Mesh(seed, Link(delay=0.03, jitter=0.01))
    mesh.supernode("hub")
    homes(mesh, "a", "b", nat=nat)
    mesh.world.run_until(mesh.all_up, within=3)
    mesh.world.run(5)
    keys = set()
    there, back = numbered("a", "b", 4000), numbered("b", "a", 4000)
    for one, other in zip(there, back, strict=True):
        mesh.edges["a"].send_frames([one])
        mesh.edges["b"].send_frames([other])
        mesh.world.run(0.1)
        remote = mesh.remote("a", "b")
        assert remote is not None
        keys |= {keypair.local_index for keypair in remote.session.keypairs()}
    mesh.world.run(1)
    assert len(keys) >= 4
    assert 3 * REKEY_AFTER_S < 400
    assert Counter(mesh.edges["b"].frames) == Counter(there)
    assert Counter(mesh.edges["a"].frames) == Counter(back)


@pytest.mark.parametrize("at", [119.9, 120.0, 120.1])
def test_no_frame_of_a_millisecond_stream_is_lost_over_a_rekey(at: float) -> None:
    mesh = Mesh(1, Link(delay=0.02))
    mesh.supernode("hub")
    homes(mesh, "a", "b")
    mesh.world.run_until(mesh.all_direct, within=3)
    remote = mesh.remote("a", "b")
    assert remote is not None
    keypair = remote.session.current
    assert keypair is not None
    mesh.world.run(keypair.created_at + at - 0.1 - mesh.world.now)
    sent = numbered("a", "b", 600)
    for one in sent:
        mesh.edges["a"].send_frames([one])
        mesh.world.run(0.001)
    mesh.world.run(1)
    assert remote.session.current is not keypair
    assert mesh.edges["b"].frames == sent


@pytest.mark.parametrize("seed", range(3))
def test_a_rekey_whose_responses_are_lost_goes_on_until_one_arrives(seed: int) -> None:
    mesh = Mesh(seed, Link(delay=0.02))
    mesh.supernode("hub")
    homes(mesh, "a", "b", nat=None)
    mesh.world.run_until(mesh.all_direct, within=3)
    a, b = mesh.edges["a"].host, mesh.edges["b"].host
    mesh.world.run(110)
    lost = Link(delay=0.02, loss=1.0)
    sent = numbered("a", "b", 80)
    for number, one in enumerate(sent):
        if number == 5:
            mesh.world.internet.set_link(b, a, lost, both=False)
        if number == 30:
            mesh.world.internet.set_link(b, a, Link(delay=0.02), both=False)
        mesh.edges["a"].send_frames([one])
        mesh.world.run(1)
    mesh.world.run(10)
    assert_one_session(mesh, "a", "b")
    assert Counter(mesh.edges["b"].frames) == Counter(sent)


def test_trains_of_a_superframe_survive_reordering_without_doubles() -> None:
    """64 datagrams at once, some late, some twice: the window takes each once."""
    mesh = Mesh(4, Link(delay=0.02, duplicate=0.5, reorder=0.5))
    mesh.supernode("hub")
    homes(mesh, "a", "b", nat=None)
    mesh.world.run_until(mesh.all_direct, within=5)
    sent = [frame(mac_of("b"), mac_of("a"), f"{number:05}".encode() * 220) for number in range(128)]
    mesh.edges["a"].send_frames(sent)
    mesh.world.run(2)
    assert Counter(mesh.edges["b"].frames) == Counter(sent)


@pytest.mark.parametrize("seed", range(3))
def test_handshakes_are_few_on_a_good_link(seed: int) -> None:
    """Two edges that begin at once take one round of initiations; an hour takes one handshake in two minutes."""
    mesh = Mesh(seed, Link(delay=0.02))
    mesh.supernode("hub")
    homes(mesh, "a", "b", nat=None)
    counts: Counter[int] = Counter()

    def tap(at: float, source: tuple[str, int], target: tuple[str, int], datagram: bytes, fate: Fate) -> None:
        kind = datagram[12] if datagram[0] == Outer.RELAYED else datagram[0]
        counts[kind] += 1

    mesh.world.internet.taps.append(tap)
    mesh.world.run_until(mesh.all_direct, within=3)
    mesh.world.run(10)
    assert counts[Outer.INITIATION] <= 2 + 2 * 2 * 2
    counts.clear()
    mesh.world.run(3600)
    # One every two minutes for the pair and for each edge and its supernode; the pair's goes by the relay too,
    # which is two datagrams.
    assert counts[Outer.INITIATION] <= (2 + 1 + 2) * 31
    assert 3 * 29 <= counts[Outer.RESPONSE] <= (2 + 1 + 2) * 31
