"""The doors of an engine as the simulator uses them.

After any call the driver takes datagrams, frames and events, and sets its timer to `next_deadline()`.
Arguments are positional only here, so that an engine may name them as it likes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from l2mesh.wire.address import Address as Address

if TYPE_CHECKING:
    from collections.abc import Sequence

Buffer = bytes | bytearray | memoryview
Train = tuple[Address, Buffer, int]
"""To send: destination, a run of datagrams in one buffer, size of each (the last may be shorter)."""
Burst = tuple[Address, memoryview, int]
"""Received: source, a run of datagrams in one buffer, size of each (the last may be shorter)."""
Opener = tuple[Address, bytes, int]
"""To send before the trains: destination, one datagram, TTL."""


class Engine(Protocol):
    """What a supernode's engine does, and an edge's too. `now` is in seconds, monotonic."""

    def start(self, now: float, /) -> object: ...
    def close(self, now: float, /) -> object: ...

    def receive_datagrams(self, bursts: list[Burst], now: float, /) -> object: ...
    def handle_timer(self, now: float, /) -> object: ...
    def set_local_addresses(self, hosts: list[str], ports: dict[int, int], now: float, /) -> object: ...
    def set_wall_clock(self, offset: float, /) -> object: ...
    def receive_send_error(self, address: Address, errno: int, local: bool, now: float, /) -> object: ...

    def next_deadline(self) -> float: ...
    def take_openers(self) -> Sequence[Opener]: ...
    def take_datagrams(self) -> Sequence[Train]: ...
    def take_closing(self) -> Sequence[int]: ...
    def take_events(self) -> Sequence[object]: ...


class SupernodeEngine(Engine, Protocol):
    """An engine that listens on several sockets."""

    def set_listening(self, listening: list[Address], /) -> object: ...


class EdgeEngine(Engine, Protocol):
    """An engine with a TAP."""

    def receive_frames(self, frames: list[memoryview], now: float, /) -> object: ...
    def take_frames(self) -> Sequence[Sequence[Buffer]]: ...
    def set_supernode_addresses(self, name: str, addresses: list[Address], now: float, /) -> object: ...
