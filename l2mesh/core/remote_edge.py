"""Another edge of the network, as seen from an edge: a remote port of the switch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from l2mesh.core.attempt import Punch
from l2mesh.core.bundle import lone_bundle
from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.packer import Packer
from l2mesh.core.paths import Paths
from l2mesh.core.peer import Peer, Role, Via
from l2mesh.core.token_bucket import TokenBucket
from l2mesh.core.unpacker import Unpacker
from l2mesh.crypto.certificate import Capability

if TYPE_CHECKING:
    from l2mesh.core.member_channels import Ask, MemberChannel
    from l2mesh.core.supernode_link import SupernodeLink
    from l2mesh.crypto.certificate import Member
    from l2mesh.wire.address import Address
    from l2mesh.wire.control import Candidate
    from l2mesh.wire.outer import Buffer

QUEUE_FRAMES_MAX: Final = 64
QUEUE_BYTES_MAX: Final = 256 * 1024
"""Kept for a peer while the session with it is made: a burst of pings and a TCP's first superframe."""

FLOOD_RATE: Final = 20_000.0
FLOOD_BURST: Final = 2_000.0
"""Group frames a second that one peer may have us deliver: more than any protocol needs, less than a storm."""


CHANNEL_REQUEST_RATE: Final = 20.0
CHANNEL_REQUEST_BURST: Final = 2048.0
"""Relay channels that one peer may ask us for: one to each of a thousand others, at once and once again."""

NEW_PLACES_PER_SECOND: Final = 1.0
NEW_PLACES_BURST: Final = 40.0
"""Addresses that we learn from a peer's datagrams, as many as there may be paths. Where each answer leaves its NAT
by another port, and ours too, the two would chase each other for ever, by ever more datagrams."""


class RemoteEdge(Peer):
    """`via` is the selected path's, or the handshake's while no path was checked yet; None: unreachable."""

    def __init__(
        self, public_key: bytes, psk: bytes, drops: Drops, *, uso: bool, first_id: int, now: float
    ) -> None:
        super().__init__(public_key, Role.EDGE, psk)
        self.member: Member | None = None
        self.allowed_macs: frozenset[bytes] = frozenset()
        self.paths = Paths()
        self.beside: Via | None = None
        """Another way, by which frames go as well while there is doubt about `via`."""
        self.packer = Packer(drops, first_id)
        self.unpacker = Unpacker(drops, uso=uso)
        self.channels: dict[SupernodeLink, Via] = {}
        self.leg: Via | None = None
        """The direct way to it, as the parts that relay last heard of it (EdgeEngine.path_chosen)."""
        self.says_it_relays = False
        """By a directory: a hint, which its certificate is to bear out."""
        self.member_channels: dict[RemoteEdge, MemberChannel] = {}
        """To it, by the member that relays."""
        self.channel_asks: dict[RemoteEdge, Ask] = {}
        self.without_leg_since: float | None = None
        self.channel_requests = TokenBucket(CHANNEL_REQUEST_RATE, CHANNEL_REQUEST_BURST, now)
        self.listed_by: set[SupernodeLink] = set()
        self.candidates: tuple[Candidate, ...] = ()
        self.punch = Punch(now)
        self.flood = TokenBucket(FLOOD_RATE, FLOOD_BURST, now)
        self.new_places = TokenBucket(NEW_PLACES_PER_SECOND, NEW_PLACES_BURST, now)
        self.up = False
        self.created_at = now
        self.up_since: float | None = None
        self.refused = ""
        self.rx_frames = self.tx_frames = 0
        self._drops = drops
        self._queue: deque[bytes] = deque()
        self._queued = 0

    @property
    def direct_via(self) -> Via | None:
        """The way of its selected path, if that is a direct one."""
        selected = self.paths.selected
        return selected.via if self.up and selected is not None and not selected.relayed else None

    @property
    def relays(self) -> bool:
        """Whether it relays for others, and may."""
        return self.says_it_relays and self.may_relay

    @property
    def may_relay(self) -> bool:
        return self.member is not None and Capability.RELAY in self.member.capabilities

    def is_at(self, address: Address) -> bool:
        path = self.paths.by_via.get((address, b""))
        return path is not None and path.heard_at > float("-inf")

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
        if len(frames) == 1:
            lone = lone_bundle(frames[0], self.room)
            if lone is not None:
                return (lone,)
        return self.packer.pack(frames, self.room)
