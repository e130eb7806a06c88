"""The sender's half of the data plane: frames from the TAP become plaintexts to seal, for one peer.

Small frames share a bundle, superframes are cut into segments, UDP frames that nearly fit are made slim, and what
does not fit is fragmented. Nothing waits: what is given together is packed together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from l2mesh.core.bundle import item_size, write_bundle
from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.fragment import fragment_count, fragments
from l2mesh.core.slim_udp import headers_size_of, slim_plaintexts, slim_run
from l2mesh.core.superframe import Superframe
from l2mesh.core.udp_gather import gather, gathered_segments
from l2mesh.wire import ethernet, virtio
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.plaintext import FRAME_SIZE_MAX, KIND_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from l2mesh.wire.ethernet import Buffer

_SMALLEST: Final = virtio.HEADER_SIZE + ethernet.HEADER_SIZE


class Packer:
    """Packs frames for one peer: it holds the counters of superframes and fragments. Door: pack.

    `first_id` should be random: so the pieces of what a former run of this program sent are not taken for
    ours.
    """

    __slots__ = ("_drops", "_fragment_id", "_superframe_id")

    def __init__(self, drops: Drops, first_id: int = 0) -> None:
        self._drops = drops
        self._superframe_id = first_id & 0xFFFF
        self._fragment_id = first_id & 0xFFFFFFFF

    def pack(self, frames: Iterable[bytearray | memoryview], room: int) -> Iterator[Buffer]:
        """Plaintexts of at most `room` bytes, in the order of `frames`. Hot.

        Each frame begins with its virtio header and is mutable, and little is left of it: to pack it for many
        peers, give all but the last a copy. A plaintext may live in its frame's buffer: it must be used up
        (sealed) before the next is asked for, and the frames must stay until the end.
        """
        batch = frames if isinstance(frames, list) else list(frames)
        at, end = 0, len(batch)
        while at < end:
            frame = batch[at]
            if len(frame) < _SMALLEST:
                self._drops.count(DropReason.BAD_FRAME)
            elif frame[1]:
                yield from self._superframe(memoryview(frame), room)
            elif burst := gather(batch, at, room):
                yield from gathered_segments(burst, batch, room, self._next_superframe_id())
                at = burst.end
                continue
            elif KIND_SIZE + item_size(frame) > room:
                slim = slim_run(batch, at, room)
                if slim is not None:
                    yield from slim_plaintexts(slim[0], slim[1], headers_size_of(frame))
                    at += len(slim[0])
                    continue
                yield from self._fragments(frame, room)
            else:
                bundle, at = write_bundle(batch, at, room)
                yield bundle
                continue
            at += 1

    def _next_superframe_id(self) -> int:
        self._superframe_id = self._superframe_id + 1 & 0xFFFF
        return self._superframe_id

    def _superframe(self, frame: memoryview, room: int) -> Iterable[Buffer]:
        try:
            superframe = Superframe(frame)
        except BadPacket:
            self._drops.count(DropReason.BAD_SUPERFRAME)
            return ()
        sizes = superframe.segment_sizes(room)
        if sizes is None:
            return self.pack(superframe.frames(), room)
        return superframe.segments(sizes, self._next_superframe_id())

    def _fragments(self, frame: Buffer, room: int) -> Iterable[Buffer]:
        if len(frame) - virtio.HEADER_SIZE > FRAME_SIZE_MAX:
            self._drops.count(DropReason.BAD_FRAME)
            return ()
        count = fragment_count(frame, room)
        if not count:
            self._drops.count(DropReason.NO_ROOM)
            return ()
        self._fragment_id = self._fragment_id + 1 & 0xFFFFFFFF
        return fragments(frame, count, self._fragment_id)
