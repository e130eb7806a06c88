"""Links on which an answer takes longer than the question's next repetition."""

from __future__ import annotations

from l2mesh.core.supernode_link import REPEAT_AFTER_S, LinkState
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh


def test_an_edge_registers_however_long_the_answer_takes() -> None:
    mesh = Mesh(5, Link(delay=0.7))
    mesh.supernode("hub")
    edge = mesh.edge("a")
    link = edge.engine.rendezvous.links[0]
    mesh.world.run_until(lambda: link.state is LinkState.REGISTERED, within=15)
    assert link.rtt is None or link.rtt > REPEAT_AFTER_S
    began = mesh.world.now
    mesh.world.run(100)
    assert link.registered_at is not None
    assert link.registered_at > began + 60  # renewals are answered too
