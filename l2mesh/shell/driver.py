"""Runs one engine on real descriptors, a real clock and an asyncio loop (uvloop in production).

Every wake-up is: read one bounded batch, hand it to the engine, send what the engine made of it, arm the
timer. A lone frame is on the wire within the wake-up that found it.

    TAP readable ──────> receive_frames ────┐
    UDP readable ──────> receive_datagrams ─┼─> take_openers   -> UDP, each with its TTL
    UDP in error ──────> receive_send_error ┤   take_datagrams -> UDP     (full: keep, stop reading the TAP)
    timer, API calls ──> handle_timer, … ───┘   take_closing   -> side sockets
                                                take_frames    -> TAP
                                                take_events    -> on_event
                                                next_deadline  -> timer
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from l2mesh.shell.clock import now as boot_time
from l2mesh.shell.errors import ShellError
from l2mesh.shell.outlet import DatagramPort, Outlet
from l2mesh.shell.readiness import Readiness
from l2mesh.shell.side_sockets import SideSockets
from l2mesh.wire.address import SideAddress, ip_version

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from l2mesh.shell.outlet import Address, Buffer, Burst, Train
    from l2mesh.shell.side_sockets import OpenSide
    from l2mesh.shell.statistics import PortStatistics
    from l2mesh.shell.tap import FramePort

log = logging.getLogger(__name__)

# The loop's clock stands still while the machine sleeps, ours does not: look at least so often.
LONGEST_TIMER = 1.0
# Timers of uvloop have whole milliseconds, and one that fires early would fire again at once.
TIMER_TICK = 0.001
# Between two times that the engine is told of errors: what it sends because of one may cause the next, and anybody
# can forge ICMP. The first is told at once.
ERRORS_REST = 0.01


class Engine(Protocol):
    """The doors of every engine; an edge's has EdgeEngine's as well."""

    def start(self, now: float) -> None: ...
    def receive_datagrams(self, bursts: list[Burst], now: float) -> None: ...
    def handle_timer(self, now: float) -> None: ...
    def next_deadline(self) -> float: ...
    def receive_send_error(self, address: Address, errno: int, local: bool, now: float) -> None: ...
    def take_openers(self) -> list[tuple[Address, bytes, int]]: ...
    def take_datagrams(self) -> list[Train]: ...
    def take_closing(self) -> list[int]: ...
    def take_events(self) -> Sequence[Any]: ...
    def close(self, now: float) -> None: ...


class EdgeEngine(Engine, Protocol):
    def receive_frames(self, frames: list[memoryview], now: float) -> None: ...
    def take_frames(self) -> Sequence[list[Buffer]]: ...


EngineT = TypeVar("EngineT", bound=Engine)
ResultT = TypeVar("ResultT")


class Driver(Generic[EngineT]):
    """Doors: start(), call(door, *arguments), stop(). All else comes from the loop.

    sockets              the main ones, at most one of each IP version, and numbered ones beside them
    open_side            opens another one when the engine first sends by it (side_sockets.py); None: it cannot
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
        open_side: OpenSide | None = None,
        on_event: Callable[[Any], None] = lambda event: None,
        on_failure: Callable[[ShellError], None] = lambda error: log.error("%s", error),
    ) -> None:
        self.engine = engine
        self.tap = tap
        self.unroutable = 0  # trains and openers for which we have no socket
        self._edge: Any = engine  # its two doors for frames are used only where there is a TAP
        self._mains: dict[int, Outlet] = {}
        self._readiness: dict[int, Readiness] = {}  # of the main ones: each has its own, which needs no asking
        self._sides = SideSockets((socket for socket in sockets if socket.number), open_side)
        for socket in sockets:
            if not socket.number:
                self._readiness[socket.version] = Readiness()
                self._mains[socket.version] = Outlet(socket, self._readiness[socket.version])
        self._loop = loop
        self._clock = clock
        self._on_event = on_event
        self._on_failure = on_failure
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._tap_reading = False
        self._erring: dict[DatagramPort, None] = {}
        self._errors_timer: asyncio.TimerHandle | None = None
        self._errors_at = -math.inf
        self._stopped = False

    def start(self) -> None:
        for version, readiness in self._readiness.items():
            self._loop.add_reader(readiness.fileno(), self._main_ready, self._mains[version])
        self._loop.add_reader(self._sides.readiness.fileno(), self._sides_ready)
        self._read_tap(True)
        self.call(self.engine.start)

    def call(self, door: Callable[..., ResultT], *arguments: Any) -> ResultT:
        """Knock at one door of the engine, with `now` as the last argument, and do what follows from it.

        After stop() nothing follows.
        """
        result = door(*arguments, self._clock())
        if not self._stopped:
            self._flush()
        return result

    def stop(self) -> None:
        """Let the engine say goodbye, and leave the loop. The given descriptors stay open: they are not ours."""
        if self._stopped:
            return
        self.call(self.engine.close)
        self._stopped = True
        self._read_tap(False)
        for version, readiness in self._readiness.items():
            self._loop.remove_reader(readiness.fileno())
            self._mains[version].leave()
            readiness.close()
        self._loop.remove_reader(self._sides.readiness.fileno())
        self._sides.close_all()
        for timer in (self._timer, self._errors_timer):
            if timer:
                timer.cancel()
        self._timer = self._errors_timer = None

    def statistics(self) -> dict[str, PortStatistics]:
        """By "udp4", "udp6", "udp4.1" (one that was given), "side" (those that were opened) and "tap"."""
        found = {f"udp{version}": outlet.port.statistics for version, outlet in self._mains.items()}
        return found | self._sides.all_statistics() | ({"tap": self.tap.statistics} if self.tap else {})

    # Wake-ups

    def _main_ready(self, outlet: Outlet) -> None:
        if outlet.waiting:
            self._room_again(outlet)
        self._receive(outlet, outlet.port.receive_batch())

    def _sides_ready(self) -> None:
        for outlet in self._sides.ready():
            if outlet.left:
                continue  # what came by the ones before it made the engine close it
            if outlet.waiting:
                self._room_again(outlet)
            self._receive(outlet, self._sides.receive(outlet))

    def _receive(self, outlet: Outlet, bursts: list[Burst]) -> None:
        """Hot. What is written to the TAP this host's kernel often answers at once, by an acknowledgement of
        TCP or the reply to a ping: looking there costs 0.4 us, one wake-up more 10.
        """
        if outlet.port.errors:
            self._plan_errors(outlet.port)
        if bursts:
            self.engine.receive_datagrams(bursts, self._clock())
            if self._flush() and self._tap_reading:
                self._frames_wait()

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
        if deadline <= now:
            self.engine.handle_timer(now)
        self._flush()

    def _room_again(self, outlet: Outlet) -> None:
        outlet.drain()
        if outlet.port.errors:
            self._plan_errors(outlet.port)
        if not outlet.waiting:
            self._read_tap_if_there_is_room()

    def _errors_wait(self) -> None:
        self._errors_timer, self._errors_at = None, self._loop.time()
        erring, self._erring = self._erring, {}
        now = self._clock()
        for port in erring:
            for address, number, local in port.take_errors():
                self.engine.receive_send_error(address, number, local, now)
        self._flush()

    # What follows every call of the engine

    def _flush(self) -> bool:
        """Whether frames went to the TAP. Hot."""
        engine = self.engine
        openers = engine.take_openers()
        if openers:
            self._send_openers(openers)
        trains = engine.take_datagrams()
        if trains:
            self._send(trains)
        closing = engine.take_closing()
        if closing:
            self._close_sides(closing)
        deliveries = self._edge.take_frames() if self.tap else None
        if deliveries:
            self.tap.write(deliveries)  # type: ignore[union-attr]  # there is one
        for event in engine.take_events():
            self._on_event(event)
        deadline = engine.next_deadline()
        if deadline < self._timer_at:
            self._arm(deadline)
        return bool(deliveries)

    def _send(self, trains: list[Train]) -> None:
        """Hot."""
        four: list[Train] = []
        six: list[Train] = []
        for train in trains:
            address = train[0]
            if isinstance(address, SideAddress):
                self._send_from(self._outlet_to(address), [train])
            elif ":" in address[0]:
                six.append(train)
            else:
                four.append(train)
        if four:
            self._send_from(self._mains.get(4), four)
        if six:
            self._send_from(self._mains.get(6), six)

    def _send_from(self, outlet: Outlet | None, trains: list[Train]) -> None:
        if outlet is None:
            self.unroutable += len(trains)
            return
        outlet.send(trains)
        if outlet.waiting:
            # The kernel's queue behind the TAP is the buffer, and TCP above feels it.
            self._read_tap(False)
        if outlet.port.errors:
            self._plan_errors(outlet.port)

    def _send_openers(self, openers: list[tuple[Address, bytes, int]]) -> None:
        for address, datagram, ttl in openers:
            outlet = self._outlet_to(address)
            if outlet is None:
                self.unroutable += 1
                continue
            outlet.port.send_with_ttl(address, datagram, ttl)
            if outlet.port.errors:
                self._plan_errors(outlet.port)

    def _outlet_to(self, address: Address) -> Outlet | None:
        version = ip_version(address[0])
        if isinstance(address, SideAddress):
            return self._sides.outlet(version, address.number)
        return self._mains.get(version)

    def _close_sides(self, numbers: list[int]) -> None:
        for number in numbers:
            self._sides.close(number)
        self._read_tap_if_there_is_room()

    def _plan_errors(self, port: DatagramPort) -> None:
        """Tell the engine of this port's errors, in a turn of their own."""
        self._erring[port] = None
        if self._errors_timer is None:
            delay = max(0.0, self._errors_at + ERRORS_REST - self._loop.time())
            self._errors_timer = self._loop.call_later(delay, self._errors_wait)

    def _read_tap_if_there_is_room(self) -> None:
        outlets = (*self._mains.values(), *self._sides.outlets.values())
        if not any(outlet.waiting for outlet in outlets):
            self._read_tap(True)

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
