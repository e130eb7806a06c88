"""The forwarding database: behind which peer a station (a MAC address in a VLAN) was heard last.

After IEEE 802.1Q-2018, 8.8, and Linux's net/bridge/br_fdb.c. An entry names the *identity* of a peer and never
an address: a peer that moves, or changes from relay to direct, keeps its stations. Stations on our own side of
the TAP are entries too (LOCAL), so a frame between two of them is not sent out, and a peer that
shows a station that was ours is seen as a move.

A station's key is its 6 MAC bytes, and for a tagged frame the 2 bytes of the VLAN tag's TCI masked to the VID
behind them. Entries are checked for age at look-up and swept by timer. Nothing a peer sends makes the table
grow beyond its limits; a station beyond them is not learned, and frames to it are flooded.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from enum import Enum
from typing import Final, Generic, TypeVar

T = TypeVar("T", bound=Hashable)

AGEING_TIME_S: Final = 300.0
"""IEEE 802.1Q's default."""
STATIONS_MAX: Final = 16384
STATIONS_PER_PORT_MAX: Final = 1024


class Learned(Enum):
    NEW = "new"
    KNOWN = "known"
    MOVED = "moved"
    REFUSED_STATIC = "the station is our own"
    REFUSED_FULL = "the table, or this port's share of it, is full"


class Station(Generic[T]):
    """One entry. A static one does not age and does not move."""

    __slots__ = ("port", "seen_at", "static")

    def __init__(self, port: T, seen_at: float, *, static: bool = False) -> None:
        self.port = port
        self.seen_at = seen_at
        self.static = static


class ForwardingDatabase(Generic[T]):
    """Stations by key. `T` is a bridge port: a peer, or what stands for our own side."""

    def __init__(
        self,
        *,
        ageing_time: float = AGEING_TIME_S,
        limit: int = STATIONS_MAX,
        limit_per_port: int = STATIONS_PER_PORT_MAX,
    ) -> None:
        self.ageing_time = ageing_time
        self.limit = limit
        self.limit_per_port = limit_per_port
        self.version = 0
        """Changes whenever another port would be the answer for some station."""
        self._stations: dict[bytes, Station[T]] = {}
        self._count: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._stations)

    def count_of(self, port: T) -> int:
        return self._count.get(port, 0)

    def items(self) -> Iterator[tuple[bytes, Station[T]]]:
        return iter(self._stations.items())

    def add_static(self, key: bytes, port: T) -> None:
        self.remove(key)
        self._insert(key, Station(port, 0.0, static=True))

    def is_static(self, key: bytes) -> bool:
        station = self._stations.get(key)
        return station is not None and station.static

    def lookup(self, key: bytes, now: float) -> T | None:
        """The port of a station, None when it is unknown or too old. Hot."""
        station = self._stations.get(key)
        if station is None:
            return None
        if now - station.seen_at >= self.ageing_time and not station.static:
            self.remove(key)
            return None
        return station.port

    def learn(self, key: bytes, port: T, now: float) -> Learned:
        """A frame with this source came in by `port`. Hot."""
        station = self._stations.get(key)
        if station is None:
            return self._learn_new(key, port, now)
        if station.static:
            return Learned.KNOWN if station.port == port else Learned.REFUSED_STATIC
        if station.port is port:
            station.seen_at = now
            return Learned.KNOWN
        return self._move(key, station, port, now)

    def _learn_new(self, key: bytes, port: T, now: float) -> Learned:
        if len(self._stations) >= self.limit or self.count_of(port) >= self.limit_per_port:
            return Learned.REFUSED_FULL
        self._insert(key, Station(port, now))
        return Learned.NEW

    def _move(self, key: bytes, station: Station[T], port: T, now: float) -> Learned:
        expired = now - station.seen_at >= self.ageing_time
        if self.count_of(port) >= self.limit_per_port:
            return Learned.REFUSED_FULL
        self.remove(key)
        self._insert(key, Station(port, now))
        return Learned.NEW if expired else Learned.MOVED

    def remove(self, key: bytes) -> None:
        station = self._stations.pop(key, None)
        if station is not None:
            self.version += 1
            self._count[station.port] -= 1
            if not self._count[station.port]:
                del self._count[station.port]

    def remove_port(self, port: T) -> None:
        """Forget all stations behind a port."""
        if port in self._count:
            for key in [key for key, station in self._stations.items() if station.port == port]:
                self.remove(key)

    def sweep(self, now: float) -> None:
        """Forget what is too old."""
        oldest = now - self.ageing_time
        old = [key for key, station in self._stations.items() if station.seen_at <= oldest and not station.static]
        for key in old:
            self.remove(key)

    def _insert(self, key: bytes, station: Station[T]) -> None:
        self.version += 1
        self._stations[key] = station
        self._count[station.port] = self._count.get(station.port, 0) + 1
