"""Ways that lead in one direction only: what arrives on one says nothing of the other direction."""

from __future__ import annotations

import pytest

from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, frame, mac_of
from l2mesh.simulator.nat import AD, APD, EI, HOME, Nat

ONE_WAY = [Nat(mapping=AD, filtering=EI), Nat(mapping=APD, filtering=EI), Nat(mapping=APD, filtering=AD)]
"""Lets in a peer that is behind HOME, but answers it from a port that HOME does not let in."""


def mesh_of(seed: int, nat: Nat, link: Link) -> Mesh:
    mesh = Mesh(seed, link)
    mesh.supernode("hub")
    for name, of in (("a", nat), ("b", HOME)):
        mesh.edge(name, mesh.world.site(nat=of))
    return mesh


@pytest.mark.parametrize("nat", ONE_WAY)
@pytest.mark.parametrize("seed", range(12))
def test_a_response_that_is_not_let_in_comes_by_relay_too(seed: int, nat: Nat) -> None:
    """Else each initiation's direct copy overtakes the relayed one, which is a replay then."""
    mesh = mesh_of(seed, nat, Link(delay=0.1, loss=0.1))
    mesh.world.run_until(mesh.all_up, within=15)


@pytest.mark.parametrize("nat", ONE_WAY)
@pytest.mark.parametrize("delay", [0.01, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_what_overtakes_the_end_of_a_handshake_on_such_a_way_proves_no_round_trip(
    seed: int, delay: float, nat: Nat
) -> None:
    mesh = mesh_of(seed, nat, Link(delay=delay))
    hub = mesh.world.nodes["hub"].host
    for edge in mesh.edges.values():
        mesh.world.internet.set_link(edge.host, hub, Link(delay=0.2))
    mesh.world.run_until(mesh.all_up, within=5)
    sent: dict[str, set[bytes]] = {"a": set(), "b": set()}
    for number in range(40):
        for one, other in ("ab", "ba"):
            numbered = frame(mac_of(other), mac_of(one), f"number {number}".encode())
            sent[other].add(numbered)
            mesh.edges[one].send_frames([numbered])
        mesh.world.run(0.1)
    mesh.world.run(1)
    for name in "ab":
        assert not sent[name] - set(mesh.edges[name].frames)
