"""Raw Ethernet at the parties' TAPs: frames that no IP stack knows or answers, so what arrives is the switch's.

"hello" goes out of every TAP again and again until all others have it: the first that arrives is the mesh's first
frame. "broadcast" goes out once.
"""

from __future__ import annotations

import secrets
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from l2mesh.app.demo.parties import DEVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from l2mesh.app.demo.parties import Edge
    from l2mesh.app.demo.results import Pair

ETHERTYPE: Final = 0x88B5
"""Local experimental EtherType 1 (IEEE 802, 9.2.3.3)."""
BROADCAST: Final = b"\xff" * 6
HEADER_SIZE: Final = 14
HELLO_INTERVAL_S: Final = 0.02
LARGEST_FRAME: Final = 2048


class Port:
    """A raw socket at one party's TAP. Doors: send(text), received() -> texts, close()."""

    def __init__(self, edge: Edge) -> None:
        """The TAP must be up."""
        self.name = edge.name
        with edge.home.host.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
            self._socket.bind((DEVICE, ETHERTYPE))
        mac: bytes = self._socket.getsockname()[4]
        self._header = BROADCAST + mac + ETHERTYPE.to_bytes(2, "big")

    def send(self, text: str) -> None:
        with suppress(BlockingIOError):
            self._socket.send(self._header + text.encode())

    def received(self) -> list[str]:
        """The texts of the broadcast frames that came out of the TAP; not those that went in."""
        texts = []
        with suppress(BlockingIOError):
            while True:
                frame = self._socket.recv(LARGEST_FRAME)
                if frame.startswith(BROADCAST):
                    texts.append(frame[HEADER_SIZE:].decode(errors="replace"))
        return texts

    def close(self) -> None:
        self._socket.close()


class FirstFrames:
    """Doors: tick(), which sends and looks; done(). Fills in `first_frame_s` of the pairs."""

    def __init__(self, ports: Sequence[Port], pairs: Sequence[Pair], since: Callable[[Pair], float]) -> None:
        """`since`: when both ends of a pair were ready, monotonic seconds."""
        self._ports = ports
        self._pairs = {(pair.source, pair.destination): pair for pair in pairs}
        self._since = since
        self._token = secrets.token_hex(4)
        self._sent_at = float("-inf")

    def done(self) -> bool:
        return all(pair.first_frame_s is not None for pair in self._pairs.values())

    def tick(self) -> None:
        now = time.monotonic()
        for port in self._ports:
            for text in port.received():
                self._take(text, port.name, now)
        if not self.done() and now - self._sent_at >= HELLO_INTERVAL_S:
            self._sent_at = now
            for port in self._ports:
                port.send(f"hello {self._token} {port.name}")

    def _take(self, text: str, receiver: str, now: float) -> None:
        kind, _, rest = text.partition(" ")
        token, _, sender = rest.partition(" ")
        pair = self._pairs.get((sender, receiver))
        if kind == "hello" and token == self._token and pair and pair.first_frame_s is None:
            pair.first_frame_s = round(max(0.0, now - self._since(pair)), 3)
