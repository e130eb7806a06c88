"""The receiver's half of the data plane: opened plaintexts of one peer become frames for the TAP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2mesh.core.bundle import read_bundles, read_lone_bundle
from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.fragment import Reassembler
from l2mesh.core.join_run import join_run
from l2mesh.core.plain_run import PlainRun
from l2mesh.core.slim_udp import join_slim, join_slim_run
from l2mesh.core.superframe import join
from l2mesh.wire.plaintext import BUNDLE, FRAGMENT, SEGMENT, UDP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from l2mesh.core.run_headers import Delivery
    from l2mesh.wire.ethernet import Buffer


class Unpacker:
    """Unpacks what one peer sent: it holds the frames of which some fragments have come. Door: unpack.

    `uso`: the TAP takes UDP superframes (TUN_F_USO4, Linux 6.2). Without it there are only UDP frames.
    """

    __slots__ = ("_drops", "_reassembler", "_uso")

    def __init__(self, drops: Drops, *, uso: bool) -> None:
        self._drops = drops
        self._uso = uso
        self._reassembler = Reassembler(drops)

    def unpack(self, plaintexts: Sequence[Buffer | PlainRun], now: float) -> list[Delivery]:
        """Frames and superframes of bundles, segments and fragments, in the order of `plaintexts`. Hot.

        The plaintexts are authentic, and yet untrusted: whatever they are, nothing is raised, and what is
        delivered is within bounds. Each delivery's first buffer holds the virtio header and the Ethernet
        header at least. Other kinds are the caller's affair: here they count as unknown. Nothing of the
        plaintexts is kept except in copies.
        """
        # Bytes are the fastest to search and to slice, and what decrypt() returns anyway.
        if len(plaintexts) == 1:
            lone = read_lone_bundle(plaintexts[0])
            if lone is not None:
                return [lone]
        deliveries: list[Delivery] = []
        singles: list[bytes] = []
        run: PlainRun | None = None
        for one in plaintexts:
            if type(one) is PlainRun:
                self._unpack_all(run, singles, deliveries, now)
                run, singles = one, []
            else:
                singles.append(one if type(one) is bytes else bytes(one))  # type: ignore[arg-type]
        self._unpack_all(run, singles, deliveries, now)
        return deliveries

    def _unpack_all(
        self, run: PlainRun | None, singles: list[bytes], deliveries: list[Delivery], now: float
    ) -> None:
        """A run, if there is one, and what came behind it: its last superframe may end there."""
        if run is not None and run.kind == UDP:
            singles = join_slim_run(run, singles, self._uso, deliveries)
        elif run is not None:
            singles = join_run(run, singles, self._uso, deliveries, self._drops)
        if singles:
            self._unpack_singles(singles, deliveries, now)

    def _unpack_singles(self, batch: list[bytes], deliveries: list[Delivery], now: float) -> None:
        uso, drops = self._uso, self._drops
        at = 0
        while at < len(batch):
            kind = batch[at][0] if batch[at] else None
            if kind == SEGMENT:
                at = join(batch, at, uso, deliveries, drops)
            elif kind == BUNDLE:
                at = read_bundles(batch, at, uso, deliveries, drops)
            elif kind == UDP:
                at = join_slim(batch, at, uso, deliveries, drops)
            elif kind == FRAGMENT:
                # At once for the rest, so that the frames can be merged.
                batch = self._reassembler.receive(batch[at:], now)
                at = 0
            else:
                at += 1
                if kind is not None:
                    drops.count(DropReason.UNKNOWN_KIND)
