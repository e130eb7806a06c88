"""Runs one engine on real descriptors, a real clock and an asyncio loop (uvloop in production).

Every wake-up is: read one bounded batch, hand it to the engine, send what the engine made of it, arm the
timer. A lone frame is on the wire within the wake-up that found it.

    TAP readable ──────> receive_frames ────┐
    UDP readable ──────> receive_datagrams ─┼─> take_datagrams -> UDP     (full: keep, stop reading the TAP)
    timer, API calls ──> handle_timer, … ───┘   take_frames    -> TAP
                                                take_events    -> on_event
                                                next_deadline  -> timer
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from l2mesh.shell.clock import now as boot_time
from l2mesh.shell.errors import ShellError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from l2mesh.shell.statistics import PortStatistics
    from l2mesh.shell.tap import FramePort

    Buffer = bytes | bytearray | memoryview
    Address = tuple[str, int]
    Train = tuple[Address, Buffer, int]
    Burst = tuple[Address, memoryview, int]

log = logging.getLogger(__name__)

# While a socket is full the TAP rests, but peers still ask for answers and relaying: so many bytes may wait.
BACKLOG_BYTES = 1 << 20
# The loop's clock stands still while the machine sleeps, ours does not: look at least so often.
LONGEST_TIMER = 1.0
# Timers of uvloop have whole milliseconds, and one that fires early would fire again at once.
TIMER_TICK = 0.001


class Engine(Protocol):
    """The doors of every engine; an edge's has EdgeEngine's as well."""

    def start(self, now: float) -> None: ...
    def receive_datagrams(self, bursts: list[Burst], now: float) -> None: ...
    def handle_timer(self, now: float) -> None: ...
    def next_deadline(self) -> float | None: ...
    def take_datagrams(self) -> list[Train]: ...
    def take_events(self) -> Sequence[Any]: ...
    def close(self, now: float) -> None: ...


class EdgeEngine(Engine, Protocol):
    def receive_frames(self, frames: list[memoryview], now: float) -> None: ...
    def take_frames(self) -> Sequence[list[Buffer]]: ...


class DatagramPort(Protocol):
    """A UdpSocket, or something of equal rank in a test."""

    @property
    def version(self) -> int: ...
    @property
    def statistics(self) -> PortStatistics: ...
    def fileno(self) -> int: ...
    def receive_batch(self) -> list[Burst]: ...
    def send(self, trains: Sequence[Train]) -> list[Train]: ...


class Outlet:
    """One UDP socket and the trains that wait for room in it."""

    def __init__(self, port: DatagramPort) -> None:
        self.port = port
        self.waiting: list[Train] = []
        self._waiting_bytes = 0

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
        """The socket has room again."""
        waiting, self.waiting = self.waiting, []
        self._keep(self.port.send(waiting))

    def _keep(self, unsent: list[Train]) -> None:
        if unsent or self._waiting_bytes:
            self.waiting = unsent
            self._waiting_bytes = sum(len(buffer) for _, buffer, _ in unsent)


EngineT = TypeVar("EngineT", bound=Engine)
ResultT = TypeVar("ResultT")


class Driver(Generic[EngineT]):
    """Doors: start(), call(door, *arguments), stop(). All else comes from the loop.

    on_event(event)      every event of the engine
    on_failure(error)    the TAP is gone, and with it the purpose; the driver has stopped reading it
    """

    def __init__(
        self,
        engine: EngineT,
        sockets: Sequence[DatagramPort],
        tap: FramePort | None = None,
        *,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = boot_time,
        on_event: Callable[[Any], None] = lambda event: None,
        on_failure: Callable[[ShellError], None] = lambda error: log.error("%s", error),
    ) -> None:
        self.engine = engine
        self.tap = tap
        self.unroutable = 0  # trains to an IP version that we have no socket of
        self._edge: Any = engine  # its two doors for frames are used only where there is a TAP
        self._outlets = {socket.version: Outlet(socket) for socket in sockets}
        self._loop = loop
        self._clock = clock
        self._on_event = on_event
        self._on_failure = on_failure
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._tap_reading = False

    def start(self) -> None:
        for outlet in self._outlets.values():
            self._loop.add_reader(outlet.port.fileno(), self._datagrams_wait, outlet.port)
        self._read_tap(True)
        self.call(self.engine.start)

    def call(self, door: Callable[..., ResultT], *arguments: Any) -> ResultT:
        """Knock at one door of the engine, with `now` as the last argument, and do what follows from it."""
        result = door(*arguments, self._clock())
        self._flush()
        return result

    def stop(self) -> None:
        """Let the engine say goodbye, and leave the loop. Descriptors stay open: they are not ours."""
        self.call(self.engine.close)
        self._read_tap(False)
        for outlet in self._outlets.values():
            self._loop.remove_reader(outlet.port.fileno())
            self._loop.remove_writer(outlet.port.fileno())
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def statistics(self) -> dict[str, PortStatistics]:
        """By "udp4", "udp6" and "tap"."""
        found = {f"udp{version}": outlet.port.statistics for version, outlet in self._outlets.items()}
        return found | ({"tap": self.tap.statistics} if self.tap else {})

    # Wake-ups

    def _datagrams_wait(self, port: DatagramPort) -> None:
        bursts = port.receive_batch()
        if bursts:
            self.engine.receive_datagrams(bursts, self._clock())
            self._flush()

    def _frames_wait(self) -> None:
        assert self.tap
        try:
            frames = self.tap.read_batch()
        except ShellError as error:
            self._read_tap(False)
            self.tap = None
            self._on_failure(error)
            return
        if frames:
            self._edge.receive_frames(frames, self._clock())
            self._flush()

    def _timer_fired(self) -> None:
        self._timer, self._timer_at = None, math.inf
        deadline, now = self.engine.next_deadline(), self._clock()
        if deadline is not None and deadline <= now:
            self.engine.handle_timer(now)
        self._flush()

    def _room_again(self, outlet: Outlet) -> None:
        outlet.drain()
        if not outlet.waiting:
            self._loop.remove_writer(outlet.port.fileno())
            if not any(other.waiting for other in self._outlets.values()):
                self._read_tap(True)

    # What follows every call of the engine

    def _flush(self) -> None:
        engine = self.engine
        trains = engine.take_datagrams()
        if trains:
            self._send(trains)
        if self.tap:
            deliveries = self._edge.take_frames()
            if deliveries:
                self.tap.write(deliveries)
        for event in engine.take_events():
            self._on_event(event)
        deadline = engine.next_deadline()
        if deadline is not None and deadline < self._timer_at:
            self._arm(deadline)

    def _send(self, trains: list[Train]) -> None:
        by_version: dict[int, list[Train]] = {}
        for train in trains:
            by_version.setdefault(6 if ":" in train[0][0] else 4, []).append(train)
        for version, some in by_version.items():
            outlet = self._outlets.get(version)
            if outlet:
                self._send_from(outlet, some)
            else:
                self.unroutable += len(some)

    def _send_from(self, outlet: Outlet, trains: list[Train]) -> None:
        was_full = bool(outlet.waiting)
        outlet.send(trains)
        if outlet.waiting and not was_full:
            # The kernel's queue behind the TAP is the buffer, and TCP above feels it.
            self._loop.add_writer(outlet.port.fileno(), self._room_again, outlet)
            self._read_tap(False)

    def _read_tap(self, reading: bool) -> None:
        if self.tap and reading != self._tap_reading:
            self._tap_reading = reading
            if reading:
                self._loop.add_reader(self.tap.fileno(), self._frames_wait)
            else:
                self._loop.remove_reader(self.tap.fileno())

    def _arm(self, deadline: float) -> None:
        """Only ever earlier: a timer that fires before its time asks again, and most calls need no new
        one.
        """
        if self._timer:
            self._timer.cancel()
        delay = min(max(deadline - self._clock(), 0.0), LONGEST_TIMER)
        self._timer_at = deadline
        self._timer = self._loop.call_later(math.ceil(delay / TIMER_TICK) * TIMER_TICK, self._timer_fired)
