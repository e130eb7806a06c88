"""An edge's link to a supernode: how often it asks when nobody answers."""

from __future__ import annotations

from itertools import pairwise

import pytest

from l2mesh.core.supernode_link import ASK_DIRECTORY_AFTER_S
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh

LINK = Link(delay=0.02)


def test_a_request_for_the_directory_is_repeated_ever_less_often_until_a_page_comes() -> None:
    mesh = Mesh(3, LINK)
    hub = mesh.supernode("hub")
    mesh.edge("a")
    mesh.world.run(3)
    answer, victim = hub.engine._answer_directory, mesh.key_of("a")
    asked_at: list[float] = []
    hub.engine._answer_directory = (  # type: ignore[method-assign]
        lambda peer, request, now: asked_at.append(now) if peer.public_key == victim else None
    )
    mesh.edge("b")
    mesh.world.run(20)
    pauses = [later - earlier for earlier, later in pairwise(asked_at)]
    expected = [*ASK_DIRECTORY_AFTER_S, *[ASK_DIRECTORY_AFTER_S[-1]] * 2]
    assert pauses == [pytest.approx(pause) for pause in expected[: len(pauses)]]
    assert len(pauses) > len(ASK_DIRECTORY_AFTER_S)
    hub.engine._answer_directory = answer  # type: ignore[method-assign]
    mesh.world.run(ASK_DIRECTORY_AFTER_S[-1] + 1)
    assert mesh.key_of("b") in mesh.edges["a"].engine.edges
    link = mesh.edges["a"].engine.rendezvous.links[0]
    assert link.directory.request() is None
    assert link._requests == 0, "the next one is repeated soon again"
