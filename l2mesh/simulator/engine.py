"""The doors of an engine as the simulator uses them.

After any call the driver takes datagrams, frames and events, and sets its timer to `next_deadline()`.
Arguments are positional only here, so that an engine may name them as it likes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

Address = tuple[str, int]
"""IPv4 or IPv6 literal in its canonical form, and UDP port."""
Buffer = bytes | bytearray | memoryview
Train = tuple[Address, Buffer, int]
"""To send: destination, a run of datagrams in one buffer, size of each (the last may be shorter)."""
Burst = tuple[Address, memoryview, int]
"""Received: source, a run of datagrams in one buffer, size of each (the last may be shorter)."""


class Engine(Protocol):
    """What a supernode's engine does, and an edge's too. `now` is in seconds, monotonic."""

    def start(self, now: float, /) -> object: ...
    def close(self, now: float, /) -> object: ...

    def receive_datagrams(self, bursts: list[Burst], now: float, /) -> object: ...
    def handle_timer(self, now: float, /) -> object: ...
    def set_local_addresses(self, hosts: list[str], ports: dict[int, int], now: float, /) -> object: ...
    def set_wall_clock(self, offset: float, /) -> object: ...

    def next_deadline(self) -> float | None: ...
    def take_datagrams(self) -> Sequence[Train]: ...
    def take_events(self) -> Sequence[object]: ...


class EdgeEngine(Engine, Protocol):
    """An engine with a TAP."""

    def receive_frames(self, frames: list[memoryview], now: float, /) -> object: ...
    def take_frames(self) -> Sequence[Sequence[Buffer]]: ...
    def set_supernode_addresses(self, name: str, addresses: list[Address], now: float, /) -> object: ...
