"""Carries frames between two interfaces, each a set time later.

    python -m l2mesh.lab.delay ONE OTHER MILLISECONDS

For kernels without netem. Frames keep their virtio header (PACKET_VNET_HDR), so superframes and unfinished
checksums pass as they are.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from collections import deque
from contextlib import suppress

ETH_P_ALL = 3
SOL_PACKET = 263  # linux/if_packet.h
PACKET_VNET_HDR = 15
PACKET_IGNORE_OUTGOING = 23
SO_RCVBUFFORCE = 33
VIRTIO_BYTES = 10
ARP, IPV6 = b"\x08\x06", b"\x86\xdd"
ICMPV6, NEIGHBOUR_TYPES = 58, (135, 136)
FRAME_BYTES = 70_000  # virtio header and a superframe
BUFFER_BYTES = 8 << 20


def open_port(interface: str) -> socket.socket:
    """A packet socket that gets all that arrives there, and can send."""
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    port.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    port.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    with suppress(PermissionError):  # in a user namespace the default must do
        port.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    port.bind((interface, ETH_P_ALL))
    port.setblocking(False)
    return port


def finds_neighbours(frame: bytes) -> bool:
    """ARP and IPv6 neighbour discovery: not delayed, or the first packet would take twice as long."""
    ethernet = frame[VIRTIO_BYTES:]
    kind = ethernet[12:14]
    return kind == ARP or (kind == IPV6 and ethernet[20] == ICMPV6 and ethernet[54] in NEIGHBOUR_TYPES)


class Wire:
    """One direction."""

    def __init__(self, source: socket.socket, target: socket.socket, delay_s: float) -> None:
        self.source, self._target, self._delay_s = source, target, delay_s
        self._waiting: deque[tuple[float, bytes]] = deque()

    def take(self, now: float) -> None:
        """Reads all that has come."""
        with suppress(BlockingIOError):
            while True:
                frame = self.source.recv(FRAME_BYTES)
                if finds_neighbours(frame):
                    self._send(frame)
                else:
                    self._waiting.append((now + self._delay_s, frame))

    def _send(self, frame: bytes) -> None:
        with suppress(OSError):  # a link that is down or full loses it, as links do
            self._target.send(frame)

    def give(self, now: float) -> None:
        """Sends what is due."""
        while self._waiting and self._waiting[0][0] <= now:
            self._send(self._waiting.popleft()[1])

    def due_at(self) -> float | None:
        return self._waiting[0][0] if self._waiting else None


def carry(wires: list[Wire]) -> None:
    """For ever."""
    selector = selectors.SelectSelector()  # waits in microseconds, where epoll rounds up to milliseconds
    for wire in wires:
        selector.register(wire.source, selectors.EVENT_READ, wire)
    while True:
        due = [at for at in (wire.due_at() for wire in wires) if at is not None]
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        ready = selector.select(timeout)
        now = time.monotonic()
        for key, _ in ready:
            key.data.take(now)
        for wire in wires:
            wire.give(now)


def main() -> None:
    one, other = (open_port(interface) for interface in sys.argv[1:3])
    delay_s = float(sys.argv[3]) / 1000
    print("ready", flush=True)
    carry([Wire(one, other, delay_s), Wire(other, one, delay_s)])


if __name__ == "__main__":
    main()
