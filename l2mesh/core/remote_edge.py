"""Another edge of the network, as seen from an edge: a remote port of the switch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.packer import Packer
from l2mesh.core.path import Paths
from l2mesh.core.peer import Peer, Role, Via
from l2mesh.core.token_bucket import TokenBucket
from l2mesh.core.unpacker import Unpacker

if TYPE_CHECKING:
    from l2mesh.core.supernode_link import SupernodeLink
    from l2mesh.crypto.certificate import Member
    from l2mesh.wire.control import Candidate
    from l2mesh.wire.outer import Buffer

QUEUE_FRAMES_MAX: Final = 64
QUEUE_BYTES_MAX: Final = 256 * 1024
"""Kept for a peer while the session with it is made: a burst of pings and a TCP's first superframe."""

FLOOD_RATE: Final = 20_000.0
FLOOD_BURST: Final = 2_000.0
"""Group frames a second that one peer may have us deliver: more than any protocol needs, less than a storm."""


class RemoteEdge(Peer):
    """`via` is the selected path's, or the handshake's while no path was checked yet; None: unreachable."""

    def __init__(
        self, public_key: bytes, psk: bytes, drops: Drops, *, uso: bool, first_id: int, now: float
    ) -> None:
        super().__init__(public_key, Role.EDGE, psk)
        self.member: Member | None = None
        self.allowed_macs: frozenset[bytes] = frozenset()
        self.paths = Paths()
        self.packer = Packer(drops, first_id)
        self.unpacker = Unpacker(drops, uso=uso)
        self.channels: dict[SupernodeLink, Via] = {}
        self.listed_by: set[SupernodeLink] = set()
        self.candidates: tuple[Candidate, ...] = ()
        self.flood = TokenBucket(FLOOD_RATE, FLOOD_BURST, now)
        self.up = False
        self.created_at = now
        self.up_since: float | None = None
        self.refused = ""
        self.rx_frames = self.tx_frames = 0
        self._drops = drops
        self._queue: deque[bytes] = deque()
        self._queued = 0

    def enqueue(self, frames: list[memoryview] | list[bytearray]) -> None:
        """Keep copies until there is a session; the oldest go when there are too many."""
        for frame in frames:
            self._queue.append(bytes(frame))
            self._queued += len(frame)
        while len(self._queue) > QUEUE_FRAMES_MAX or self._queued > QUEUE_BYTES_MAX:
            self._queued -= len(self._queue.popleft())
            self._drops.count(DropReason.QUEUE_FULL)

    def take_queue(self) -> list[bytearray]:
        frames = [bytearray(frame) for frame in self._queue]
        self._queue.clear()
        self._queued = 0
        return frames

    def drop_queue(self) -> None:
        self._drops.count(DropReason.NO_PATH, len(self._queue))
        self.take_queue()

    def pack(self, frames: list[memoryview] | list[bytearray]) -> Iterable[Buffer]:
        self.tx_frames += len(frames)
        return self.packer.pack(frames, self.room)
