"""A running TCP stream of iperf3 through the mesh, and when it got on.

It gets on when the receiver's kernel acknowledges more: then the bytes are there, in order, for the program to
read. So a packet socket at the receiver's TAP follows the acknowledgements that leave it, by the kernel's clock.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

from benchmark.iperf import is_listening

from l2mesh.lab import Host, LabError, Process, wait_until
from traversal.daemons import DEVICE, Edge

PORT: Final = 5201
BYTES_PER_SECOND: Final = 2_500_000
"""Far from what the mesh carries, so that no queue adds to the gaps."""
BLOCK: Final = "8K"
"""What iperf3 writes at a time: a few milliseconds of that rate."""
SECONDS_MAX: Final = 300
READY_S: Final = 5.0
WINDOW_S: Final = 0.5
"""A stream is well that got on by half of its rate at least in this time."""
LOOK_S: Final = 0.5
"""So long `recvmsg` waits before it looks whether it is to end."""

ETH_P_ALL: Final = 3
SO_TIMESTAMPNS: Final = 35  # asm-generic/socket.h
TIMESPEC: Final = struct.Struct("qq")
HEADERS: Final = 14 + 60 + 20
"""Bytes of a frame that are looked at: Ethernet, IPv4 with all options, TCP."""
IPV4: Final = b"\x08\x00"
HALF: Final = 1 << 31
"""Sequence numbers (RFC 9293) are compared modulo 2^32."""

Advance = tuple[float, int]
"""When it got on, in Unix seconds, and by how many bytes."""


def acknowledgement(frame: bytes, port: int) -> tuple[int, int] | None:
    """(the other's port, acknowledgement number) of a TCP segment over IPv4 that comes from `port`."""
    if len(frame) < 34 or frame[12:14] != IPV4 or frame[23] != socket.IPPROTO_TCP:
        return None
    tcp = 14 + 4 * (frame[14] & 15)
    if len(frame) < tcp + 12:
        return None
    source, destination, _, number = struct.unpack_from("!HHII", frame, tcp)
    return (destination, number) if source == port else None


class Progress:
    """The acknowledgements of all connections from one port. Doors: take; advances, bytes_since."""

    def __init__(self) -> None:
        self._reached: dict[int, int] = {}
        self._advances: defaultdict[int, list[Advance]] = defaultdict(list)
        """By the other's port."""

    def take(self, connection: int, number: int, at: float) -> None:
        reached = self._reached.get(connection)
        if reached is None:
            self._reached[connection] = number
        elif 0 < (size := (number - reached) % (2 * HALF)) < HALF:
            self._reached[connection] = number
            self._advances[connection].append((at, size))

    def advances(self) -> list[Advance]:
        """Of the connection that got on most often: iperf3 has one more, to talk about the test."""
        return max(self._advances.values(), key=len, default=[])

    def bytes_since(self, begin: float) -> int:
        advances = self.advances()
        return sum(size for _, size in advances[bisect_left(advances, (begin, 0)) :])


def largest_gap_s(instants: Sequence[float], begin: float, end: float) -> float:
    """The longest time between two of them, from the last before `begin` to the first after `end`."""
    first = max(0, bisect_right(instants, begin) - 1)
    last = bisect_left(instants, end)
    edges = [begin, *instants[first : last + 1], *([end] if last == len(instants) else [])]
    return max((later - earlier for earlier, later in pairwise(sorted(edges))), default=0.0)


def slow_s(advances: Sequence[Advance], begin: float, end: float, bytes_per_second: float) -> float:
    """How long after `begin` the last window ended in which less than half of the rate came through."""
    windows = max(1, int((end - begin) / WINDOW_S))
    sums = [0] * windows
    for at, size in advances[bisect_left(advances, (begin, 0)) :]:
        window = int((at - begin) / WINDOW_S)
        if window < windows:
            sums[window] += size
    slow = [i for i, size in enumerate(sums) if size < bytes_per_second * WINDOW_S / 2]
    return (slow[-1] + 1) * WINDOW_S if slow else 0.0


class Stream:
    """From one edge's host to another's, until `close`. Doors: well, died, got_on, gap_s, slow_s, close."""

    def __init__(self, sender: Edge, receiver: Edge) -> None:
        self.progress = Progress()
        self._sender = sender
        self._socket = self._open(receiver.host)
        self._ends = False
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        self._server = receiver.host.popen(["iperf3", "-s", "-1", "-p", str(PORT)], name="iperf3-server")
        wait_until(lambda: _listens(receiver.host), READY_S, "the iperf3 server listens")
        self._client = self._start_client(receiver.address)

    @staticmethod
    def _open(host: Host) -> socket.socket:
        """What leaves the TAP is seen by sockets for all protocols only."""
        with host.entered():
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        made.bind((DEVICE, ETH_P_ALL))
        made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        made.settimeout(LOOK_S)
        return made

    def _start_client(self, address: str) -> Process:
        rate = ["-b", str(8 * BYTES_PER_SECOND), "-l", BLOCK]
        command = ["iperf3", "-c", address, "-p", str(PORT), "-t", str(SECONDS_MAX), *rate, "--forceflush"]
        client = self._sender.host.popen(command, name="iperf3")
        wait_until(self.well, READY_S, "the TCP stream flows")
        return client

    def _follow(self) -> None:
        with suppress(OSError):  # closed
            while not self._ends:
                with suppress(TimeoutError):
                    frame, ancillary, _, address = self._socket.recvmsg(HEADERS, socket.CMSG_SPACE(TIMESPEC.size))
                    if address[2] == socket.PACKET_OUTGOING and (found := acknowledgement(frame, PORT)):
                        seconds, nanoseconds = TIMESPEC.unpack(ancillary[0][2])
                        self.progress.take(*found, seconds + nanoseconds / 1e9)

    def well(self) -> bool:
        return self.progress.bytes_since(time.time() - WINDOW_S) >= BYTES_PER_SECOND * WINDOW_S / 2

    def died(self) -> bool:
        """Whether one of its ends gave up."""
        return self._client.poll() is not None or self._server.poll() is not None

    def got_on(self, since: float) -> bool:
        return self.progress.bytes_since(since) > 0

    def gap_s(self, begin: float, end: float) -> float:
        """The longest time in which it did not get on, between two instants of Unix time."""
        return largest_gap_s([at for at, _ in self.progress.advances()], begin, end)

    def slow_s(self, begin: float, end: float) -> float:
        """How long after `begin` it was well again, and stayed so to the end."""
        return slow_s(self.progress.advances(), begin, end, BYTES_PER_SECOND)

    def close(self) -> None:
        self._ends = True
        for process in (self._client, self._server):
            with suppress(LabError):
                process.kill()
        self._thread.join()
        self._socket.close()


def _listens(host: Host) -> bool:
    """iperf3 listens on IPv6 for both."""
    with host.entered():
        tables = [Path(f"/proc/thread-self/net/{name}").read_text() for name in ("tcp", "tcp6")]
    return any(is_listening(table, PORT) for table in tables)
