"""Who sees whom, by which path and since when: asked of each edge's management socket, again and again."""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import permutations
from typing import TYPE_CHECKING, Final

from l2mesh.app.demo.results import Pair
from l2mesh.app.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from l2mesh.app.demo.parties import Edge
    from l2mesh.app.management.documents import EdgePeer

FAST_S: Final = 0.04
"""Between two looks until all is direct: how exact `direct_s` is."""
SLOW_S: Final = 0.5


class Pairs:
    """All directions, in order. Doors: tick(), all_direct(), since(pair)."""

    def __init__(self, edges: Sequence[Edge]) -> None:
        """The edges are ready."""
        self._edges = edges
        self._ready_at = {edge.name: edge.ready_at or time.monotonic() for edge in edges}
        self.all = [Pair(source=one, destination=other) for one, other in permutations(self._ready_at, 2)]
        self._looked_at = float("-inf")

    def since(self, pair: Pair) -> float:
        """When both of its edges were ready."""
        return max(self._ready_at[pair.source], self._ready_at[pair.destination])

    def all_direct(self) -> bool:
        return all(pair.path == "direct" for pair in self.all)

    def tick(self) -> bool:
        """Whether it looked."""
        now = time.monotonic()
        if now - self._looked_at < (SLOW_S if self.all_direct() else FAST_S):
            return False
        self._looked_at = now
        for edge in self._edges:
            edge.look()
            # One that is busy is asked again; one that is dead, look() has told of.
            with suppress(CommandError):
                self._note(edge.name, edge.peers())
        return True

    def _note(self, source: str, peers: list[EdgePeer]) -> None:
        now = time.monotonic()
        known = {peer.name: peer for peer in peers}
        for pair in self.all:
            if pair.source == source and (peer := known.get(pair.destination)):
                note(pair, peer, now - self.since(pair))


def note(pair: Pair, peer: EdgePeer, elapsed: float) -> None:
    """What an edge says of a peer, `elapsed` seconds after both were ready."""
    pair.path, pair.endpoint, pair.rtt_ms = peer.path, peer.endpoint, peer.rtt_ms
    pair.cipher = peer.cipher or pair.cipher
    # A relay that answers carried frames before there was a direct path, be it for less than we look.
    answered = any(path.path == "relay" and path.fate in {"valid", "selected"} for path in peer.paths)
    pair.began_by_relay |= peer.path == "relay" or (pair.direct_s is None and answered)
    if peer.path == "direct" and pair.direct_s is None:
        pair.direct_s = round(elapsed, 3)
