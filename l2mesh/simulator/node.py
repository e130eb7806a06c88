"""Drives an engine by its doors, as the shell does, on a host of the virtual internet."""

from __future__ import annotations

from enum import Enum
from functools import partial
from itertools import groupby
from math import inf
from random import Random
from typing import TYPE_CHECKING, Generic, TypeVar

from l2mesh.simulator.engine import Address, Burst, EdgeEngine, Engine, SupernodeEngine, Train
from l2mesh.simulator.place import TTL, version_of
from l2mesh.wire.address import SideAddress, socket_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

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
SIDE_SOCKETS_MAX = 256
"""Side sockets that the driver opens for an engine; one that wants more is mistaken."""
SIDE_PORTS = (32768, 60999)
"""First and last of the random ports of side sockets: net.ipv4.ip_local_port_range."""
MAX_TIMER_CALLS = 1000
"""handle_timer() calls at one instant after which the engine is taken to be stuck."""

E = TypeVar("E", bound=Engine)
HubE = TypeVar("HubE", bound=SupernodeEngine)
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
        *,
        random: Random | None = None,
    ) -> None:
        """`random`: of the ports of its side sockets."""
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
        self.side_ports: dict[int, int] = {}
        """Of the side sockets that are open: number -> port."""
        self._random = random or Random(host.name)
        self._sockets: dict[int, Socket] = {}
        """By number; 0 is the main one."""
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
        self._bind()
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
        for socket in self._sockets.values():
            self.host.close(socket)
        self._sockets.clear()
        self.side_ports.clear()
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
            self._receive(0, [(source, memoryview(bytearray(data)), size) for source, data, size in backlog])
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
        if self.state is not State.RUNNING or not self._sockets:
            return
        for address, datagram, ttl in self.engine.take_openers():
            self._send([(address, datagram, len(datagram))], ttl)
        trains = self.engine.take_datagrams()
        if trains:
            self._send(trains)
        for number in self.engine.take_closing():
            self._close_side(number)
        for event in self.engine.take_events():
            self.events.append(event)
            self.events_at.append(self.now)
        self._arm()

    def _receive(self, number: int, bursts: list[Burst]) -> None:
        if number:
            bursts = [(SideAddress(*source, number), buffer, size) for source, buffer, size in bursts]
        if self.state is State.FROZEN:
            self._hold(bursts)
            return
        self.engine.receive_datagrams(bursts, self.now)
        self.settle()
        for _, buffer, _ in bursts:
            _scribble(buffer)

    def receive_send_error(self, address: Address, errno: int, *, local: bool = False) -> None:
        """Tell the engine that a datagram to `address` came to nothing. By hand: a forged ICMP message."""
        if self.state is State.RUNNING:
            self.engine.receive_send_error(address, errno, local, self.now)
            self.settle()

    def _fail(self, number: int, address: Address, errno: int, local: bool) -> None:
        seen = SideAddress(*address, number) if number else address
        self.receive_send_error(seen, errno, local=local)

    def _send(self, trains: Iterable[Train], ttl: int = TTL) -> None:
        for number, some in groupby(trains, key=_number_of):
            self.internet.send(self._sockets.get(number) or self._open_side(number), some, ttl)

    # Sockets

    def _bind(self) -> None:
        self._sockets[0] = self._open(0, self.ports)

    def _open(self, number: int, ports: Mapping[int, int], nth: int | None = None) -> Socket:
        receive, fail = partial(self._receive, number), partial(self._fail, number)
        return self.host.bind(ports, receive, fail, nth=nth)

    def _open_side(self, number: int) -> Socket:
        raise AssertionError(f"{self.name} has no socket {number}")

    def _close_side(self, number: int) -> None:
        raise AssertionError(f"{self.name} closes socket {number}")

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
        if deadline < self._wakes_at and self._wakes_at > self.now:
            self._wakes_at = max(deadline, self.now)
            self.internet.clock.call_at(self._wakes_at, self._wake)

    def _wake(self) -> None:
        if self.state is not State.RUNNING or self._wakes_at != self.now:
            return
        self._wakes_at = inf
        deadline = self.engine.next_deadline()
        if deadline <= self.now:
            self._look_for_a_stuck_timer(deadline)
            self.engine.handle_timer(self.now)
        self.settle()

    def _look_for_a_stuck_timer(self, deadline: float) -> None:
        at, calls = self._timer_calls
        self._timer_calls = (self.now, calls + 1 if at == self.now else 1)
        if calls >= MAX_TIMER_CALLS:
            raise AssertionError(f"{self.name}: handle_timer({self.now}) leaves next_deadline() at {deadline}")


class SupernodeNode(Node[HubE]):
    """A process that may listen on several addresses and ports; `ports` is what its main sockets have."""

    def __init__(
        self,
        internet: Internet,
        host: Host,
        make: Callable[[], HubE],
        ports: Sequence[int],
        wall_offset: float = WALL_OFFSET,
    ) -> None:
        super().__init__(internet, host, make, {4: ports[0], 6: ports[0]}, wall_offset)
        self._listen_ports = list(ports)

    def start(self) -> None:
        self.engine.set_listening(self.listening())
        super().start()

    def main_addresses(self) -> list[Address]:
        """The main socket of each IP version: what DNS says of it."""
        return [address for address in self.listening() if not socket_number(address)]

    def listening(self) -> list[Address]:
        """Every address on every port; plain are the first of each IP version."""
        mains: dict[int, Address] = {}
        others: list[Address] = []
        for host in self.host.addresses:
            for port in self._listen_ports:
                if version_of(host) in mains:
                    others.append(SideAddress(host, port, len(others) + 1))
                else:
                    mains[version_of(host)] = (host, port)
        return [*mains.values(), *others]

    def _bind(self) -> None:
        """A real one does not follow its host to another address; here it does, as if it were started again."""
        for socket in self._sockets.values():
            self.host.close(socket)
        self._sockets = {0: self._open(0, self.ports, nth=0)}
        for address in self.listening():
            number, version = socket_number(address), version_of(address[0])
            if number:
                alike = [host for host in self.host.addresses if version_of(host) == version]
                nth = alike.index(address[0])
                self._sockets[number] = self._open(number, {version: address[1]}, nth=nth)

    def _host_moved(self) -> None:
        if self.state is State.RUNNING:
            self._bind()
            self.engine.set_listening(self.listening())
        super()._host_moved()


class EdgeNode(Node[TapE]):
    """A process with a TAP."""

    def __init__(
        self,
        internet: Internet,
        host: Host,
        make: Callable[[], TapE],
        ports: Mapping[int, int],
        wall_offset: float = WALL_OFFSET,
        *,
        random: Random | None = None,
    ) -> None:
        super().__init__(internet, host, make, ports, wall_offset, random=random)
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

    def _open_side(self, number: int) -> Socket:
        if len(self._sockets) > SIDE_SOCKETS_MAX:
            raise AssertionError(f"{self.name} wants more than {SIDE_SOCKETS_MAX} side sockets")
        while True:
            port = self._random.randint(*SIDE_PORTS)
            if port not in self.ports.values() and port not in self.side_ports.values():
                break
        self.side_ports[number] = port
        self._sockets[number] = self._open(number, {4: port, 6: port})
        return self._sockets[number]

    def _close_side(self, number: int) -> None:
        socket = self._sockets.pop(number, None)
        if socket is not None:
            del self.side_ports[number]
            self.host.close(socket)

    def settle(self) -> None:
        if self.state is State.RUNNING:
            for delivery in self.engine.take_frames():
                self.delivered.append(b"".join(delivery))
                self.delivered_at.append(self.now)
        super().settle()


def _number_of(train: Train) -> int:
    return socket_number(train[0])


def _scribble(buffer: memoryview) -> None:
    """An engine has a buffer during the call only: who keeps it shall find rubbish."""
    buffer[:] = b"\xdb" * len(buffer)
