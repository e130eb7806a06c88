"""Drives an engine by its doors, as the shell does, on a host of the virtual internet."""

from __future__ import annotations

from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar

from l2mesh.simulator.engine import Address, Burst, EdgeEngine, Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from l2mesh.simulator.network import Internet
    from l2mesh.simulator.place import Host, Socket

WALL_OFFSET = 1_790_000_000.0
"""Wall clock (Unix seconds) less virtual time, of every node that is not told otherwise: late 2026."""
VIRTIO_HEADER = bytes(10)
"""virtio_net_hdr of an ordinary frame: no checksum to fill in, not to be segmented."""
RECEIVE_BUFFER = 212_992
"""Bytes a socket holds for a process that does not run: net.core.rmem_default."""
DATAGRAM_OVERHEAD = 768
"""Bytes the kernel charges to that buffer for each datagram besides its payload, roughly (skb->truesize)."""
TAP_QUEUE = 500
"""Frames a TAP holds for a process that does not run (TUN_READQ_SIZE)."""
MAX_TIMER_CALLS = 1000
"""handle_timer() calls at one instant after which the engine is taken to be stuck."""

E = TypeVar("E", bound=Engine)
TapE = TypeVar("TapE", bound=EdgeEngine)


class State(Enum):
    RUNNING = "running"
    FROZEN = "frozen"
    STOPPED = "stopped"


class Node(Generic[E]):
    """One process: start, stop, kill, restart, freeze. `make` makes its engine, anew at each restart."""

    def __init__(
        self,
        internet: Internet,
        host: Host,
        make: Callable[[], E],
        ports: Mapping[int, int],
        wall_offset: float = WALL_OFFSET,
    ) -> None:
        self.internet = internet
        self.host = host
        self.name = host.name
        self.make = make
        self.ports = dict(ports)
        self.wall_offset = wall_offset
        self.engine = make()
        self.state = State.STOPPED
        self.events: list[object] = []
        self.events_at: list[float] = []
        """The instant of each of `events`."""
        self.overflowed = 0
        """Datagrams and frames lost because the node was frozen and the kernel's queues were full."""
        self._socket: Socket | None = None
        self._wakes_at = inf
        self._timer_calls = (0.0, 0)
        self._backlog: list[tuple[Address, bytes, int]] = []
        self._backlog_bytes = 0
        self._moved = False
        host.on_move.append(self._host_moved)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, {self.state.value})"

    @property
    def now(self) -> float:
        return self.internet.clock.now

    # The life of the process

    def start(self) -> None:
        """Bind the ports and start the engine."""
        self._socket = self.host.bind(self.ports, self._receive)
        self.state = State.RUNNING
        self.engine.set_wall_clock(self.wall_offset)
        self.engine.start(self.now)
        self.engine.set_local_addresses(list(self.host.addresses), dict(self.ports), self.now)
        self.settle()

    def stop(self) -> None:
        """SIGTERM: the engine says goodbye."""
        self.engine.close(self.now)
        self.settle()
        self.kill()

    def kill(self) -> None:
        """SIGKILL: nothing is said, and the port is closed."""
        if self._socket is not None:
            self.host.close(self._socket)
        self._socket = None
        self.state = State.STOPPED
        self._wakes_at = inf
        self._drop_backlog()

    def restart(self, make: Callable[[], E] | None = None) -> None:
        """Start with a new engine, after a kill if it still runs."""
        if self.state is not State.STOPPED:
            self.kill()
        self.make = make or self.make
        self.engine = self.make()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: the clock goes on, datagrams and frames wait in the kernel as far as there is room."""
        if self.state is not State.RUNNING:
            raise ValueError(f"{self} does not run")
        self.state = State.FROZEN

    def unfreeze(self) -> None:
        """SIGCONT: what waits is read, then the timer is looked at."""
        if self.state is not State.FROZEN:
            raise ValueError(f"{self} is not frozen")
        self.state = State.RUNNING
        backlog = self._drop_backlog()
        if backlog:
            self._receive([(source, memoryview(bytearray(data)), size) for source, data, size in backlog])
        if self._moved:
            self._host_moved()
        self._wakes_at = inf
        self.settle()

    def set_wall_clock(self, offset: float) -> None:
        """Set the wall clock: Unix seconds less virtual time."""
        self.wall_offset = offset
        self.engine.set_wall_clock(offset)
        self.settle()

    # The doors

    def settle(self) -> None:
        """Take what the engine has to give. Call this after calling the engine by hand."""
        if self.state is not State.RUNNING or self._socket is None:
            return
        trains = self.engine.take_datagrams()
        if trains:
            self.internet.send(self._socket, trains)
        for event in self.engine.take_events():
            self.events.append(event)
            self.events_at.append(self.now)
        self._arm()

    def _receive(self, bursts: list[Burst]) -> None:
        if self.state is State.FROZEN:
            self._hold(bursts)
            return
        self.engine.receive_datagrams(bursts, self.now)
        self.settle()
        for _, buffer, _ in bursts:
            _scribble(buffer)

    def _hold(self, bursts: list[Burst]) -> None:
        for source, buffer, size in bursts:
            for start in range(0, len(buffer) or 1, size):
                datagram = bytes(buffer[start : start + size])
                charge = len(datagram) + DATAGRAM_OVERHEAD
                if self._backlog_bytes + charge > RECEIVE_BUFFER:
                    self.overflowed += 1
                    continue
                self._backlog_bytes += charge
                self._backlog.append((source, datagram, max(1, len(datagram))))

    def _drop_backlog(self) -> list[tuple[Address, bytes, int]]:
        backlog, self._backlog, self._backlog_bytes = self._backlog, [], 0
        return backlog

    def _host_moved(self) -> None:
        self._moved = self.state is State.FROZEN
        if self.state is State.RUNNING:
            self.engine.set_local_addresses(list(self.host.addresses), dict(self.ports), self.now)
            self.settle()

    # The timer. Callbacks of the clock cannot be taken back, so one that comes at another instant than
    # `_wakes_at` is a left-over.

    def _arm(self) -> None:
        deadline = self.engine.next_deadline()
        if deadline is not None and deadline < self._wakes_at and self._wakes_at > self.now:
            self._wakes_at = max(deadline, self.now)
            self.internet.clock.call_at(self._wakes_at, self._wake)

    def _wake(self) -> None:
        if self.state is not State.RUNNING or self._wakes_at != self.now:
            return
        self._wakes_at = inf
        deadline = self.engine.next_deadline()
        if deadline is not None and deadline <= self.now:
            self._look_for_a_stuck_timer(deadline)
            self.engine.handle_timer(self.now)
        self.settle()

    def _look_for_a_stuck_timer(self, deadline: float) -> None:
        at, calls = self._timer_calls
        self._timer_calls = (self.now, calls + 1 if at == self.now else 1)
        if calls >= MAX_TIMER_CALLS:
            raise AssertionError(f"{self.name}: handle_timer({self.now}) leaves next_deadline() at {deadline}")


class EdgeNode(Node[TapE]):
    """A process with a TAP."""

    def __init__(
        self,
        internet: Internet,
        host: Host,
        make: Callable[[], TapE],
        ports: Mapping[int, int],
        wall_offset: float = WALL_OFFSET,
    ) -> None:
        super().__init__(internet, host, make, ports, wall_offset)
        self.delivered: list[bytes] = []
        """What was written to the TAP: virtio header and frame or superframe, joined."""
        self.delivered_at: list[float] = []
        """The instant of each of `delivered`."""
        self.supernodes: dict[str, list[Address]] = {}
        """What DNS says; the engine is told at each start."""
        self._held_frames: list[bytes] = []

    @property
    def frames(self) -> list[bytes]:
        """What was delivered, without virtio headers."""
        return [delivery[len(VIRTIO_HEADER) :] for delivery in self.delivered]

    def start(self) -> None:
        super().start()
        for name, addresses in self.supernodes.items():
            self.engine.set_supernode_addresses(name, list(addresses), self.now)
        self.settle()

    def resolve(self, name: str, addresses: list[Address]) -> None:
        """Let DNS say that a supernode has these addresses."""
        self.supernodes[name] = list(addresses)
        if self.state is State.RUNNING:
            self.engine.set_supernode_addresses(name, list(addresses), self.now)
            self.settle()

    def unfreeze(self) -> None:
        super().unfreeze()
        held, self._held_frames = self._held_frames, []
        self.send_raw(held)

    def kill(self) -> None:
        super().kill()
        self._held_frames = []

    def send_frames(self, frames: Iterable[bytes]) -> None:
        """Let the kernel send Ethernet frames into the TAP, all to be read at once."""
        self.send_raw([VIRTIO_HEADER + frame for frame in frames])

    def send_raw(self, frames: Iterable[bytes]) -> None:
        """The same with the virtio header in front of each: superframes, partial checksums."""
        copies = [memoryview(bytearray(frame)) for frame in frames]
        if self.state is State.FROZEN:
            room = TAP_QUEUE - len(self._held_frames)
            self._held_frames += [bytes(frame) for frame in copies[:room]]
            self.overflowed += len(copies[room:])
        elif self.state is State.RUNNING and copies:
            self.engine.receive_frames([*copies], self.now)
            self.settle()
            for frame in copies:
                _scribble(frame)

    def settle(self) -> None:
        if self.state is State.RUNNING:
            for delivery in self.engine.take_frames():
                self.delivered.append(b"".join(delivery))
                self.delivered_at.append(self.now)
        super().settle()


def _scribble(buffer: memoryview) -> None:
    """An engine has a buffer during the call only: who keeps it shall find rubbish."""
    buffer[:] = b"\xdb" * len(buffer)
