"""Raw Ethernet at both TAPs: numbered broadcast frames that no IP stack answers, so what arrives is the mesh's."""

from __future__ import annotations

import secrets
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from l2mesh.lab import Host
from traversal.daemons import DEVICE

ETHERTYPE: Final = 0x88B5
"""Local experimental EtherType 1 (IEEE 802, 9.2.3.3)."""
BROADCAST: Final = b"\xff" * 6
HEADER_SIZE: Final = 14
INTERVAL_S: Final = 0.02
"""Between two frames of one direction."""
LARGEST_FRAME: Final = 2048
TOKEN_SIZE: Final = 8
PAYLOAD: Final = struct.Struct("!8sI")
STRAGGLERS_S: Final = 0.5
"""So long after it was sent a frame may still arrive."""


@dataclass
class Direction:
    """Frames of one edge to the other. Instants are monotonic seconds."""

    token: bytes = field(default_factory=lambda: secrets.token_bytes(TOKEN_SIZE))
    sent_at: list[float] = field(default_factory=list)
    arrived_at: dict[int, float] = field(default_factory=dict)
    """By number. The first arrival counts."""
    repeated: int = 0

    @property
    def first_at(self) -> float | None:
        """When the first frame arrived, whichever it was."""
        return min(self.arrived_at.values(), default=None)

    def since_first(self, until: float) -> range:
        """Numbers of the frames that were sent after the first arrival, and long enough before `until`."""
        first_at = self.first_at
        if first_at is None:
            return range(0)
        numbers = [number for number, at in enumerate(self.sent_at) if first_at <= at < until - STRAGGLERS_S]
        return range(numbers[0], numbers[-1] + 1) if numbers else range(0)

    def lost(self, until: float) -> int:
        """Frames that never came, of those sent after the first arrival."""
        return sum(number not in self.arrived_at for number in self.since_first(until))

    def outage_s(self, until: float) -> float:
        """The longest time in which whatever was sent got lost."""
        longest, begun_at = 0.0, None
        for number in self.since_first(until):
            if number in self.arrived_at:
                begun_at = None
                continue
            begun_at = self.sent_at[number] if begun_at is None else begun_at
            longest = max(longest, self.sent_at[number] + INTERVAL_S - begun_at)
        return longest


class Port:
    """A raw socket at the TAP of a host, which is up. Doors: send, take, close."""

    def __init__(self, host: Host, sending: Direction, receiving: Direction) -> None:
        with host.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
            self._socket.bind((DEVICE, ETHERTYPE))
        mac: bytes = self._socket.getsockname()[4]
        self._header = BROADCAST + mac + ETHERTYPE.to_bytes(2, "big")
        self._sending, self._receiving = sending, receiving

    def send(self, now: float) -> None:
        direction = self._sending
        with suppress(BlockingIOError):
            self._socket.send(self._header + PAYLOAD.pack(direction.token, len(direction.sent_at)))
            direction.sent_at.append(now)

    def take(self, now: float) -> None:
        """All that came out of the TAP."""
        with suppress(BlockingIOError):
            while True:
                self._receive(self._socket.recv(LARGEST_FRAME), now)

    def _receive(self, frame: bytes, now: float) -> None:
        if len(frame) < HEADER_SIZE + PAYLOAD.size:
            return
        token, number = PAYLOAD.unpack_from(frame, HEADER_SIZE)
        direction = self._receiving
        if token == direction.token:
            direction.repeated += number in direction.arrived_at
            direction.arrived_at.setdefault(number, now)

    def close(self) -> None:
        self._socket.close()


class Stream:
    """Frames both ways, every 20 ms. Doors: tick, as often as there is time; close."""

    def __init__(self, a: Host, b: Host) -> None:
        self.to_b, self.to_a = Direction(), Direction()
        self._ports = (Port(a, self.to_b, self.to_a), Port(b, self.to_a, self.to_b))
        self._send_at = time.monotonic()

    def tick(self) -> None:
        now = time.monotonic()
        for port in self._ports:
            port.take(now)
        if now >= self._send_at:
            self._send_at = now + INTERVAL_S
            for port in self._ports:
                port.send(now)

    def close(self) -> None:
        for port in self._ports:
            port.close()
