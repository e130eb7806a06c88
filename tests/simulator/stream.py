"""A TCP in short, to feel what a path does to one: go-back-N, acknowledgements, retransmissions that back off."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from l2mesh.simulator.mesh import frame, mac_of

if TYPE_CHECKING:
    from l2mesh.simulator.mesh import Mesh

WINDOW: Final = 4
RETRANSMIT_AFTER_S: Final = 0.2
TICK_S: Final = 0.01


class Stream:
    """From one edge to another, in frames of `size` bytes. Door: run."""

    def __init__(self, mesh: Mesh, one: str, other: str, size: int = 1400) -> None:
        self.mesh = mesh
        self.ends = (one, other)
        self.size = size
        self.arrived_at: list[float] = []
        """Of each frame, the first time it came in its order."""
        self.sent = self.acknowledged = 0
        """Frames."""
        self._timeout = RETRANSMIT_AFTER_S
        self._progress_at = mesh.world.now
        self._seen = dict.fromkeys(self.ends, 0)

    def run(self, seconds: float) -> None:
        end = self.mesh.world.now + seconds
        while self.mesh.world.now < end:
            self._acknowledge()
            self._send()
            self.mesh.world.run(TICK_S)

    def gap(self, since: float) -> float:
        """The longest time without progress since then."""
        times = [since, *(at for at in self.arrived_at if at >= since), self.mesh.world.now]
        return max(b - a for a, b in pairwise(times))

    def _fresh(self, name: str, kind: bytes) -> list[int]:
        """The numbers in what the stream's frames brought to one end."""
        delivered = self.mesh.edges[name].delivered
        fresh, self._seen[name] = delivered[self._seen[name] :], len(delivered)
        return [int.from_bytes(one[28:36], "big") for one in fresh if one[24:28] == kind]

    def _acknowledge(self) -> None:
        one, other = self.ends
        numbers = self._fresh(other, b"DATA")
        for number in numbers:
            if number == len(self.arrived_at):
                self.arrived_at.append(self.mesh.world.now)
        if numbers:
            self._put(other, one, b"ACK ", [len(self.arrived_at)])

    def _send(self) -> None:
        one, other = self.ends
        now = self.mesh.world.now
        acknowledged = max([self.acknowledged, *self._fresh(one, b"ACK ")])
        if acknowledged > self.acknowledged:
            self.acknowledged, self._timeout, self._progress_at = acknowledged, RETRANSMIT_AFTER_S, now
            self.sent = max(self.sent, acknowledged)
        elif self.sent > self.acknowledged and now - self._progress_at >= self._timeout - TICK_S / 2:
            self._timeout, self._progress_at = 2 * self._timeout, now
            self._put(one, other, b"DATA", [self.acknowledged])
            self.sent = self.acknowledged + 1
        if self._timeout == RETRANSMIT_AFTER_S:
            self._put(one, other, b"DATA", range(self.sent, self.acknowledged + WINDOW))
            self.sent = self.acknowledged + WINDOW

    def _put(self, source: str, target: str, kind: bytes, numbers: range | list[int]) -> None:
        size = self.size if kind == b"DATA" else 60
        frames = [
            frame(mac_of(target), mac_of(source), kind + number.to_bytes(8, "big")).ljust(size, b"\0")
            for number in numbers
        ]
        self.mesh.edges[source].send_frames(frames)
