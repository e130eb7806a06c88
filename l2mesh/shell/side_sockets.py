"""Sockets beside the main one of each IP version, by their number (wire.address.SideAddress).

A supernode's are given: what it listens on beyond the main ones. An edge's are opened when the first datagram is
to leave by them, each on a random port, and closed when the engine is done with them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from l2mesh.shell.errors import ShellError
from l2mesh.shell.outlet import DatagramPort, Outlet
from l2mesh.shell.readiness import Readiness
from l2mesh.shell.statistics import PortStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from l2mesh.shell.outlet import Burst

    OpenSide = Callable[[int, int, PortStatistics], DatagramPort]

log = logging.getLogger(__name__)

# What a birthday search uses (../shared/design/connectivity.md), so that no engine can use up the descriptors.
SIDE_SOCKETS_MAX = 256
# Of those with something to read, so many are served before the loop turns to others.
READY_MAX = 8
# Probes and handshakes never make such a batch: the socket became the path of somebody's traffic.
BUSY_BATCH_BYTES = 16 * 1024
# Sockets whose receive buffer was made as large as a main socket's, 4 MB of kernel memory for strangers to fill.
GROWN_MAX = 16


class SideSockets:
    """open_side(version, number, statistics to count in)    may raise ShellError; None: nothing is opened."""

    def __init__(self, given: Iterable[DatagramPort], open_side: OpenSide | None) -> None:
        self.statistics = PortStatistics()
        """Of all that were opened here, closed ones too."""
        self.readiness = Readiness()
        self.outlets: dict[tuple[int, int], Outlet] = {}
        """By IP version and number."""
        self._by_descriptor: dict[int, Outlet] = {}
        self._open_side = open_side
        self._opened: set[tuple[int, int]] = set()
        self._grown: set[Outlet] = set()
        self._failed = False
        for port in given:
            self._add(port)

    def outlet(self, version: int, number: int) -> Outlet | None:
        """The socket of this number, opened if need be; None when there is none and can be none."""
        outlet = self.outlets.get((version, number))
        if outlet is None and self._open_side is not None:
            outlet = self._open(version, number)
        return outlet

    def all_statistics(self) -> dict[str, PortStatistics]:
        """By "udp4.1" for those that were given, and "side" for all that were opened."""
        given = {
            f"udp{version}.{number}": outlet.port.statistics
            for (version, number), outlet in self.outlets.items()
            if (version, number) not in self._opened
        }
        opened = {"side": self.statistics} if self.statistics.reads or self.statistics.writes else {}
        return given | opened

    def ready(self) -> list[Outlet]:
        """Some of those that are ready."""
        return [self._by_descriptor[descriptor] for descriptor in self.readiness.ready(READY_MAX)]

    def receive(self, outlet: Outlet) -> list[Burst]:
        """A batch of one that is ready."""
        bursts = outlet.port.receive_batch()
        may_grow = len(self._grown) < GROWN_MAX and outlet not in self._grown
        if may_grow and sum(len(data) for _, data, _ in bursts) >= BUSY_BATCH_BYTES:
            self._grown.add(outlet)
            outlet.port.grow()
        return bursts

    def close(self, number: int) -> None:
        """Close those of this number that were opened here; there need be none."""
        for version in (4, 6):
            if (version, number) in self._opened:
                self._close((version, number))

    def close_all(self) -> None:
        """Leave all, and close those that were opened here."""
        for key in list(self.outlets):
            self._close(key)
        self.readiness.close()

    def _open(self, version: int, number: int) -> Outlet | None:
        assert self._open_side
        try:
            if len(self._opened) >= SIDE_SOCKETS_MAX:
                raise ShellError(f"there are {SIDE_SOCKETS_MAX} of them already")
            outlet = self._add(self._open_side(version, number, self.statistics))
        except (ShellError, OSError) as error:
            if not self._failed:
                log.warning("cannot open one more UDP socket: %s", error)
            self._failed = True
            return None
        self._opened.add((version, number))
        return outlet

    def _add(self, port: DatagramPort) -> Outlet:
        outlet = Outlet(port, self.readiness)
        self.outlets[port.version, port.number] = self._by_descriptor[port.fileno()] = outlet
        return outlet

    def _close(self, key: tuple[int, int]) -> None:
        outlet = self.outlets.pop(key)
        del self._by_descriptor[outlet.port.fileno()]
        self._grown.discard(outlet)
        outlet.leave()
        if key in self._opened:
            self._opened.remove(key)
            outlet.port.close()
