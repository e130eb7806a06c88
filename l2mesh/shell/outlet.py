"""A UDP socket of the driver, and what waits for room in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from l2mesh.shell.readiness import Readiness
    from l2mesh.shell.statistics import PortStatistics

    Buffer = bytes | bytearray | memoryview
    Address = tuple[str, int]
    Train = tuple[Address, Buffer, int]
    Burst = tuple[Address, memoryview, int]
    SendError = tuple[Address, int, bool]

# While a socket is full the TAP rests, but peers still ask for answers and relaying: so many bytes may wait.
BACKLOG_BYTES = 1 << 20


class DatagramPort(Protocol):
    """A UdpSocket, or something of equal rank in a test."""

    @property
    def version(self) -> int: ...
    @property
    def number(self) -> int: ...
    @property
    def statistics(self) -> PortStatistics: ...
    @property
    def errors(self) -> dict[SendError, None]: ...
    def fileno(self) -> int: ...
    def receive_batch(self) -> list[Burst]: ...
    def send(self, trains: Sequence[Train]) -> list[Train]: ...
    def send_with_ttl(self, address: Address, datagram: Buffer, ttl: int) -> None: ...
    def take_errors(self) -> list[SendError]: ...
    def grow(self) -> None: ...
    def close(self) -> None: ...


class Outlet:
    """One UDP socket and the trains that wait for room in it."""

    def __init__(self, port: DatagramPort, readiness: Readiness) -> None:
        self.port = port
        self.waiting: list[Train] = []
        self.left = False
        self._waiting_bytes = 0
        self._full = False
        self._readiness = readiness
        readiness.add(port.fileno())

    def send(self, trains: Sequence[Train]) -> None:
        """Send, or keep; `waiting` tells which. What exceeds the bound is dropped and counted."""
        if not self.waiting:
            self._keep(self.port.send(trains))
            return
        for address, buffer, size in trains:
            if self._waiting_bytes + len(buffer) > BACKLOG_BYTES:
                self.port.statistics.drops["socket full"] += 1
            else:
                self.waiting.append((address, bytes(buffer), size))
                self._waiting_bytes += len(buffer)

    def drain(self) -> None:
        """The socket may have room again."""
        self._keep(self.port.send(self.waiting))

    def leave(self) -> None:
        """The loop is done with it. What waits is dropped and counted."""
        if self.waiting:
            self.port.statistics.drops["socket full"] += len(self.waiting)
            self.waiting = []
        self.left = True
        self._readiness.remove(self.port.fileno())

    def _keep(self, unsent: list[Train]) -> None:
        if not unsent and not self._full:
            return
        self.waiting = unsent
        self._waiting_bytes = sum(len(buffer) for _, buffer, _ in unsent)
        if self._full != bool(unsent):
            self._full = bool(unsent)
            self._readiness.want_room(self.port.fileno(), self._full)
