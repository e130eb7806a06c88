"""The switch: which ports a frame from the local port goes to, and whether a frame from a peer is let in.

After IEEE 802.1Q-2018, 8.6, for one bridge whose ports are the TAP (our own side) and the peers:

    from the TAP    to a station behind a peer         to that peer
                    to a station on our own side       nowhere: it has it already
                    to a group, or an unknown station  flood: a copy to every peer
                    to 01-80-C2-00-00-00 ... 0F        nowhere
    from a peer     always to the TAP, never to another peer: split horizon, the loop rule of a full mesh
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.fdb import ForwardingDatabase, Learned
from l2mesh.wire.outer import Buffer

VIRTIO: Final = 10
"""Bytes of the virtio header in front of every frame (wire/virtio.py)."""
TAG_SIZE: Final = 4
TAG_TYPES: Final = (b"\x81\x00", b"\x88\xa8")
VID_MASK: Final = 0x0FFF
BRIDGE_GROUP: Final = bytes.fromhex("0180c20000")
"""First five bytes of the addresses no bridge forwards (802.1Q, table 8-1); the sixth is 00 to 0F."""


REMEMBERED_S: Final = 1.0
REMEMBERED_MAX: Final = 4096
"""Headers: a peer may send as many as it likes."""


class Port(Enum):
    """What a station's port may be beside a peer's key."""

    LOCAL = auto()
    FLOOD = auto()


Decision = bytes | Port | DropReason
"""A peer's public key, Port.FLOOD, or why the frame goes nowhere."""


def station_key(address: bytes, tag: bytes) -> bytes:
    """The FDB's key of an address, given the four bytes behind the addresses of its frame (type, TCI)."""
    if tag[:2] in TAG_TYPES and len(tag) >= TAG_SIZE:  # a frame may end before its TCI
        vid = (tag[2] << 8 | tag[3]) & VID_MASK
        return address + vid.to_bytes(2, "big") if vid else address  # VID 0: priority-tagged, no VLAN
    return address


def is_link_local_protocol(destination: bytes) -> bool:
    return destination[:5] == BRIDGE_GROUP and destination[5] < 0x10


def decide(fdb: ForwardingDatabase[bytes | Port], header: bytes, now: float) -> Decision:
    """Where a frame from our own side goes. `header`: its first 18 bytes (14 may do for an untagged one).

    Learns the source as a station of our own side.
    """
    destination, source, tag = header[:6], header[6:12], header[12:18]
    if len(header) < 14 or source[0] & 1:
        return DropReason.BAD_SOURCE
    fdb.learn(station_key(source, tag), Port.LOCAL, now)
    if destination[0] & 1:
        return DropReason.LINK_LOCAL_PROTOCOL if is_link_local_protocol(destination) else Port.FLOOD
    port = fdb.lookup(station_key(destination, tag), now)
    if port is None:
        return Port.FLOOD
    return DropReason.SAME_PORT if port is Port.LOCAL else port


class Switch:
    """The FDB and what is asked of it in batches.

    Doors: `sort` for frames from the TAP, `admit` for one frame from a peer.

    Frames are mostly of few flows, so what was decided for an Ethernet header is remembered until the FDB changes,
    and for REMEMBERED_S at most: so long a station's age may be wrong.
    """

    def __init__(
        self,
        fdb: ForwardingDatabase[bytes | Port],
        drops: Drops,
        moved: Callable[[bytes, bytes | Port, bytes | Port], None],
    ) -> None:
        """`moved(station, old port, new port)` is told of every station that moves."""
        self.fdb = fdb
        self._drops = drops
        self._moved = moved
        self._decided: dict[bytes, Decision] = {}
        self._admitted: dict[bytes, bytes] = {}
        self._version = -1
        self._until = 0.0

    def _forget_if_changed(self, now: float) -> None:
        """Hot."""
        if self.fdb.version != self._version or now >= self._until:
            self._version, self._until = self.fdb.version, now + REMEMBERED_S
            self._decided.clear()
            self._admitted.clear()

    def sort(self, frames: list[memoryview], now: float) -> tuple[dict[bytes, list[memoryview]], list[memoryview]]:
        """(frames by peer key, frames to flood) of a batch from the TAP, in order. Hot."""
        self._forget_if_changed(now)
        unicast: dict[bytes, list[memoryview]] = {}
        flood: list[memoryview] = []
        decided = self._decided
        for frame in frames:
            # Type and TCI too: a tag's VID is part of the decision; of an untagged frame these are two bytes
            # of its payload's start, which a flow has in common (IP version, TOS).
            header = bytes(frame[VIRTIO : VIRTIO + 16])
            decision = decided.get(header)
            if decision is None:
                decision = self._decide(header, now)
            if decision is Port.FLOOD:
                flood.append(frame)
            elif isinstance(decision, bytes):
                if decision in unicast:
                    unicast[decision].append(frame)
                else:
                    unicast[decision] = [frame]
            else:
                self._drops.count(decision)  # type: ignore[arg-type]  # Port.LOCAL is never decided
        return unicast, flood

    def _decide(self, header: bytes, now: float) -> Decision:
        decision = decide(self.fdb, header, now)
        if len(self._decided) < REMEMBERED_MAX:
            self._decided[header] = decision
        return decision

    def admit(self, first: Buffer, peer: bytes, allowed: frozenset[bytes], now: float) -> bool:
        """Whether a frame from a peer may go to the TAP; learns its source. Hot.

        `first` begins with the virtio and Ethernet headers. `allowed`: the MACs the peer's certificate names;
        empty means any.
        """
        header = bytes(first[VIRTIO : VIRTIO + 18])
        self._forget_if_changed(now)
        if self._admitted.get(header) == peer:
            return True
        if not self._is_admitted(header, peer, allowed, now):
            return False
        if len(self._admitted) < REMEMBERED_MAX:
            self._admitted[header] = peer
        return True

    def _is_admitted(self, header: bytes, peer: bytes, allowed: frozenset[bytes], now: float) -> bool:
        source = header[6:12]
        if source[0] & 1:
            self._drops.count(DropReason.BAD_SOURCE)
            return False
        if allowed and source not in allowed:
            self._drops.count(DropReason.NOT_ITS_ADDRESS)
            return False
        if header[0] & 1 and is_link_local_protocol(header):
            self._drops.count(DropReason.LINK_LOCAL_PROTOCOL)
            return False
        key = station_key(source, header[12:16])
        if key is not source and self.fdb.is_static(source):  # our own address is ours in every VLAN
            self._drops.count(DropReason.NOT_ITS_ADDRESS)
            return False
        return self._learn(key, peer, now)

    def _learn(self, key: bytes, peer: bytes, now: float) -> bool:
        old = self.fdb.lookup(key, now)
        learned = self.fdb.learn(key, peer, now)
        if learned is Learned.REFUSED_STATIC:
            self._drops.count(DropReason.NOT_ITS_ADDRESS)
            return False
        if learned is Learned.REFUSED_FULL:
            # The frame is good, only its sender is not remembered: as every switch does.
            self._drops.count(DropReason.TOO_MANY_STATIONS)
        elif learned is Learned.MOVED and old is not None:
            self._moved(key, old, peer)
        return True
