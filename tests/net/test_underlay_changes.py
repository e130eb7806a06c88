"""What a TCP stream (iperf3) through the mesh notices of changes below it: part of tools/nat-matrix --changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from traversal.changes import BLOCK, STORIES, Story, play

pytestmark = pytest.mark.root

Measured = Callable[[str, float], None]

BRIEF_S = 9.0  # that a blocked pair is watched: until the relay carries it

TOLD = {story.name: story for story in STORIES}
TOLD["block"] = Story("block", (replace(BLOCK, watch_s=BRIEF_S),))


@pytest.mark.parametrize(
    "name",
    [
        "address_of_sender",
        "address_of_receiver",
        "reboot_at_sender",
        "reboot_at_receiver",
        "new_outside_at_sender",
        "new_outside_at_receiver",
        "block",
        "supernode_killed",
        "relay_killed",
        "black_hole",
        "black_hole_from_start",
    ],
)
def test_a_tcp_stream_outlives(name: str, measured: Measured) -> None:
    for gap in play(TOLD[name]):
        measured(f"gap: {gap.title}", gap.gap_s)
        measured("until it had half of its rate again", gap.slow_s)
        assert not gap.failure, gap.failure
        assert gap.survived, gap
        assert gap.measured_s <= gap.bound_s, gap
