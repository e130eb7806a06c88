"""What edges and supernodes share: one UDP port on which handshakes and sessions with many peers meet.

Doors, for the driver (the real loop, the simulator, a test):

    in    receive_datagrams(bursts, now)       out   take_openers() -> datagrams with a TTL, before the trains
          handle_timer(now)                          take_datagrams() -> trains
          receive_send_error(...)                    take_closing() -> side sockets done with, after the trains
          set_local_addresses, set_wall_clock        next_deadline() -> instant
          start(now), close(now)                     take_events() -> events

A side socket is one more UDP socket beside the main one of each IP version. Its number is part of the addresses
seen from it (wire.address.SideAddress). An edge's is opened by the first datagram to such an address and closed by
take_closing; a supernode's are those it listens on beyond the first of each IP version.

`now` is in seconds on a clock that counts sleep (CLOCK_BOOTTIME). Buffers that come in are valid during the call,
buffers that go out until the next call.

Its lower half, handshakes and sessions with their timers, is session_node.py.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Final

from l2mesh.core.drops import DropReason
from l2mesh.core.events import Event
from l2mesh.core.peer import Identity, Via
from l2mesh.core.plain_run import PlainArea
from l2mesh.core.session import REJECT_AFTER_S, Plain
from l2mesh.core.session_node import P, SessionNode, Surroundings, Train
from l2mesh.wire.address import Address
from l2mesh.wire.control import Control, parse_control
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.outer import (
    RELAY_HEADER_SIZE,
    Outer,
    data_header,
)

Burst = tuple[Address, memoryview, int]
"""In: source, contiguous datagrams, size of each (the last may be shorter)."""

Opener = tuple[Address, bytes, int]
"""Out: destination, one datagram, the TTL (IPv6: hop limit) it is to be sent with."""

ASLEEP_S: Final = 10.0
"""No engine rests this long between two turns while it has peers: the host was suspended, or we were stopped."""


class Node(SessionNode[P]):
    """The doors, and the way of what comes in by them. What to do with plaintexts is the subclass's."""

    def __init__(
        self, identity: Identity, surroundings: Surroundings, now: float, *, initiations_per_second: float
    ) -> None:
        super().__init__(identity, surroundings, now, initiations_per_second=initiations_per_second)
        self.local_hosts: list[str] = []
        self.local_ports: dict[int, int] = {}
        self._plain_area: PlainArea | None = None
        """A subclass that takes runs of segments makes one."""
        self._taken = True
        self._events: list[Event] = []
        self._openers: list[Opener] = []
        self._closing: list[int] = []
        self._turned_at = now

    # ---- doors

    def receive_datagrams(self, bursts: Iterable[Burst], now: float) -> None:
        """A batch of what UDP brought: (source, datagrams, size of each)."""
        self._begin(now)
        if self._plain_area is not None:
            self._plain_area.reset()
        for source, data, size in bursts:
            if len(data):
                self._receive_burst(source, data, size, now)
        self._end_of_batch(now)

    def handle_timer(self, now: float) -> None:
        self._begin(now)
        for peer in self._deadlines.pop_due(now):
            self._turn(peer, now)
        self._end_of_batch(now)

    def next_deadline(self) -> float:
        """The instant to call handle_timer at; infinity: there is none."""
        return self._deadlines.first_at

    def take_datagrams(self) -> list[Train]:
        """Datagrams to send now, in order. Valid until the next call of a door that takes something in."""
        self._taken = True
        trains, self._trains = self._trains, []
        return trains

    def take_openers(self) -> list[Opener]:
        """Datagrams to send before those of take_datagrams, each with its own TTL."""
        openers, self._openers = self._openers, []
        return openers

    def take_closing(self) -> list[int]:
        """Numbers of side sockets to close once the datagrams are sent; one that is used again opens anew."""
        closing, self._closing = self._closing, []
        return closing

    def receive_send_error(self, address: Address, errno: int, local: bool, now: float) -> None:
        """A datagram to `address` did not get there. `local`: this host refused to send it (no route, link down).
        Else an ICMP error came back, which anybody can forge: it may raise doubt, and no more.

        `errno` is Linux's (ECONNREFUSED, EHOSTUNREACH, EMSGSIZE ...). Nothing is done about it here: a subclass
        that does begins by calling this.
        """
        self._begin(now)

    def take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def set_wall_clock(self, offset: float) -> None:
        """Wall time in Unix seconds is `now + offset`."""
        self._wall_offset = offset

    def set_local_addresses(self, hosts: list[str], ports: dict[int, int], now: float) -> None:
        """This host's addresses, and the UDP port bound by IP version (4, 6)."""
        self.local_hosts = hosts
        self.local_ports = ports

    @abstractmethod
    def start(self, now: float) -> None: ...

    @abstractmethod
    def close(self, now: float) -> None: ...

    # ---- what a subclass decides

    @abstractmethod
    def _receive_plaintexts(self, peer: P, plaintexts: list[Plain], via: Via, now: float) -> None:
        """Genuine plaintexts of a peer, in order, none empty. Hot."""

    @abstractmethod
    def _receive_control(self, peer: P, message: Control, via: Via, now: float) -> None: ...

    def _unwrap(self, source: Address, header: bytes) -> Via | None:
        """The way by which a relayed datagram with this header came from this source; None: it is not for us to
        open."""
        return None

    def _receive_relayed(self, source: Address, data: memoryview, size: int, now: float) -> int:
        """A burst that begins with relayed datagrams that are not for us to open; how many bytes they are."""
        self.drops.count(DropReason.UNKNOWN_CHANNEL)
        return size

    def _receive_other(self, source: Address, datagram: bytes, now: float) -> None:
        """A datagram of a type that is not every node's."""
        self.drops.count(DropReason.UNKNOWN_TYPE)

    def _resumed(self, gap: float, now: float) -> None:
        """No turn for `gap` seconds: the host slept. Timers and paths are to be looked at anew."""

    def _end_of_batch(self, now: float) -> None:
        """All of a batch came in: hand on what was kept until now."""

    # ---- receiving

    def _begin(self, now: float) -> None:
        if self._taken:
            self._arena.reset()
            self._taken = False
        gap = now - self._turned_at
        self._turned_at = now
        if gap > ASLEEP_S:
            self._resumed(gap, now)

    def _receive_burst(self, source: Address, data: memoryview, size: int, now: float) -> None:
        """Split a burst in runs for one keypair, and single datagrams of other types. Hot."""
        size = size or len(data)
        offset, length = 0, len(data)
        while offset < length:
            kind = data[offset]
            if kind == Outer.DATA:
                offset = self._receive_data(data, offset, size, (source, b""), now)
            elif kind == Outer.RELAYED:
                header = bytes(data[offset : offset + RELAY_HEADER_SIZE])
                end = min(offset + size, length)
                via = self._unwrap(source, header)
                if via is None:
                    offset += self._receive_relayed(source, data[offset:], size, now)
                    continue
                inner = offset + RELAY_HEADER_SIZE
                if inner < end and data[inner] == Outer.DATA:
                    offset = self._receive_data(data, offset, size, via, now)
                else:
                    self._receive_single(bytes(data[inner:end]), via, now)
                    offset = end
            else:
                end = min(offset + size, length)
                self._receive_single(bytes(data[offset:end]), (source, b""), now)
                offset = end

    def _receive_data(self, data: memoryview, offset: int, size: int, via: Via, now: float) -> int:
        """Open a run of data datagrams that begins at `offset`; the offset behind it. Hot."""
        skip = len(via[1])
        end = min(offset + size, len(data))
        if end - offset - skip < data_header.size:
            self.drops.count(DropReason.MALFORMED)
            return end
        index = data_header.unpack_from(data, offset + skip)[1]
        keypair = self._keypairs.get(index)
        if keypair is None:
            self.drops.count(DropReason.UNKNOWN_INDEX)
            return end
        if now - keypair.created_at >= REJECT_AFTER_S:
            self.drops.count(DropReason.EXPIRED_KEY)
            return end
        plaintexts, next_offset = keypair.open(data, offset, size, skip, self.drops, self._plain_area)
        if plaintexts:
            peer: P = keypair.peer  # type: ignore[assignment]  # made by us, for our peers
            peer.last_received_at = now
            peer.rx_bytes += next_offset - offset
            if keypair is peer.session.next:
                self._confirm(peer, keypair, via, now)
            self._receive_plaintexts(peer, [plain for plain in plaintexts if plain], via, now)
        return next_offset

    def _receive_single(self, datagram: bytes, via: Via, now: float) -> None:
        kind = datagram[0] if datagram else 0
        try:
            if kind == Outer.INITIATION:
                self._receive_initiation(datagram, via, now)
            elif kind == Outer.RESPONSE:
                self._receive_response(datagram, via, now)
            elif kind == Outer.COOKIE_REPLY:
                self._receive_cookie_reply(datagram, now)
            elif via[1]:
                self.drops.count(DropReason.UNKNOWN_TYPE)
            else:
                self._receive_other(via[0], datagram, now)
        except BadPacket:
            self.drops.count(DropReason.MALFORMED)

    def _dispatch_control(self, peer: P, plaintext: bytes, via: Via, now: float) -> None:
        try:
            message = parse_control(memoryview(plaintext)[1:])
        except BadPacket:
            self.drops.count(DropReason.MALFORMED)
            return
        self._receive_control(peer, message, via, now)
