"""Many engines in one process, each with a UDP socket of its own, on one epoll and one heap of timers.

The driver of the daemons is made for one engine and much traffic: 10 000 of them would be 40 GB of receive arenas.
Here each wake-up reads one datagram into a buffer of its own.

Another process asks and commands by JSON datagrams on a unix socket; each gets one JSON answer.
"""

from __future__ import annotations

import json
import select
import socket
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from l2mesh.core.deadlines import Deadlines
from l2mesh.core.node import Burst
from l2mesh.core.session_node import Train
from l2mesh.shell.clock import now, wall_offset
from l2mesh.wire.address import Address

DATAGRAM_MAX: Final = 65_536
CONTROL_SIZE: Final = 64
EVENTS_PER_POLL: Final = 2048
"""As many as timers are likely to be due meanwhile: who retries must read the answers too."""
LONGEST_WAIT_S: Final = 0.5
SO_TIMESTAMPNS: Final = 35
TIMESPEC: Final = struct.Struct("@ll")

Answer = dict[str, Any]


class Engine(Protocol):
    def receive_datagrams(self, bursts: Iterable[Burst], now: float) -> None: ...
    def handle_timer(self, now: float) -> None: ...
    def next_deadline(self) -> float: ...
    def take_datagrams(self) -> list[Train]: ...


E = TypeVar("E", bound=Engine)


class Member(Generic[E]):
    """An engine and its socket. `arrived_at`: when the kernel had the datagram that was read last."""

    __slots__ = ("arrived_at", "engine", "socket")

    def __init__(self, engine: E, address: Address) -> None:
        self.engine = engine
        self.arrived_at = 0.0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(address)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])


class Swarm(Generic[E]):
    """Doors: add, call, every, run. `after(member)` is called when an engine has done something."""

    def __init__(
        self, control: Path, answer: Callable[[Answer], Answer], after: Callable[[Member[E]], None]
    ) -> None:
        self._answer = answer
        self._after = after
        self._poll = select.epoll()
        self._members: dict[int, Member[E]] = {}
        self._deadlines: Deadlines[Member[E]] = Deadlines()
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._control.bind(str(control))
        self._poll.register(self._control.fileno(), select.EPOLLIN)
        self._tasks: list[Callable[[float], float | None]] = []
        self._wall_offset = wall_offset()
        self.unsent = 0

    def add(self, member: Member[E]) -> None:
        descriptor = member.socket.fileno()
        self._members[descriptor] = member
        self._poll.register(descriptor, select.EPOLLIN)

    def remove(self, member: Member[E]) -> None:
        descriptor = member.socket.fileno()
        self._poll.unregister(descriptor)
        del self._members[descriptor]
        self._deadlines.discard(member)
        member.socket.close()

    def start_task(self, task: Callable[[float], float | None]) -> None:
        """Call `task(now)` in each round; it says when it wants the next call, None when it is done."""
        self._tasks.append(task)

    def run(self) -> None:
        """Until the process is ended."""
        while True:
            moment = now()
            waits = [LONGEST_WAIT_S, *self._run_tasks(moment)]
            waits.append(self._deadlines.first_at - moment)
            for descriptor, _ in self._poll.poll(max(min(waits), 0.0), EVENTS_PER_POLL):
                member = self._members.get(descriptor)
                if member is not None:
                    self._read(member)
            self._serve()
            moment = now()
            for member in self._deadlines.pop_due(moment):
                member.engine.handle_timer(moment)
                self.flush(member)

    def _run_tasks(self, moment: float) -> list[float]:
        waits = []
        for task in list(self._tasks):
            next_at = task(moment)
            if next_at is None:
                self._tasks.remove(task)
            else:
                waits.append(next_at - moment)
        return waits

    def _serve(self) -> None:
        try:
            data, sender = self._control.recvfrom(DATAGRAM_MAX)
        except BlockingIOError:
            return
        self._control.sendto(json.dumps(self._answer(json.loads(data))).encode(), sender)

    def _read(self, member: Member[E]) -> None:
        """One datagram: mostly there is no other, and asking costs as much. epoll tells if there is."""
        try:
            data, ancillary, _, source = member.socket.recvmsg(DATAGRAM_MAX, CONTROL_SIZE)
        except OSError:
            return  # what came back of an earlier send
        if ancillary:
            seconds, nanoseconds = TIMESPEC.unpack(ancillary[0][2])
            member.arrived_at = seconds + nanoseconds / 1e9 - self._wall_offset
        member.engine.receive_datagrams([(source, memoryview(data), len(data))], now())
        self.flush(member)

    def flush(self, member: Member[E]) -> None:
        """Do what follows from a call of a member's engine."""
        for address, data, size in member.engine.take_datagrams():
            for start in range(0, len(data), size):
                try:
                    member.socket.sendto(data[start : start + size], address)
                except OSError:
                    self.unsent += 1
        self._after(member)
        self._deadlines.wake(member, member.engine.next_deadline())
