"""Runs a port mapper: its socket to the router, an ear for what routers announce, its timer, its UPnP jobs."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from l2mesh.shell.clock import now as boot_time
from l2mesh.shell.gateway import FAMILIES
from l2mesh.wire.pcp import CLIENT_PORT, SERVER_PORT, SIZE_MAX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from l2mesh.core.mapping_protocols import Gateway, Outcome, UpnpJob
    from l2mesh.core.mapping_values import MappingStatus, Verdict
    from l2mesh.core.port_mapping import PortMapper

    RunJob = Callable[[UpnpJob], Awaitable[Outcome]]

# The loop's clock stands still while the machine sleeps, ours does not, and a lease runs out: look so often.
LONGEST_TIMER = 60.0
# At the end: for a deletion by PCP or NAT-PMP milliseconds would do, UPnP has to find its router first.
CLOSE_SECONDS = 2.5


class MappingPort:
    """`on_change()` when the mapper has something new to say: another state, address or reason, or a new lease."""

    def __init__(
        self,
        mapper: PortMapper,
        version: int,
        loop: asyncio.AbstractEventLoop,
        on_change: Callable[[], None],
        run_job: RunJob,
        *,
        clock: Callable[[], float] = boot_time,
    ) -> None:
        self.mapper = mapper
        self._version = version
        self._loop = loop
        self._on_change = on_change
        self._clock = clock
        self._run_job = run_job
        self._gateway: Gateway | None = None
        self._socket: socket.socket | None = None
        self._ear: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._working: asyncio.Task[None] | None = None
        self._seen: tuple[MappingStatus, int] | None = None
        self._closed = asyncio.Event()

    # ---- doors

    def begin(self, gateway: Gateway) -> None:
        """Ask this router; or the same again, when the network changed."""
        if gateway != self._gateway or self._socket is None:
            self._connect(gateway)
        self.mapper.begin(gateway, self._clock())
        self._flush()

    def end(self, reason: str) -> None:
        self._disconnect()
        self.mapper.end(reason)
        self._flush()

    def checked(self, address: tuple[str, int], verdict: Verdict, reason: str) -> None:
        self.mapper.checked(address, verdict, reason, self._clock())
        self._flush()

    async def close(self) -> None:
        """Give the mapping back, in CLOSE_SECONDS at most."""
        if self._socket is None:  # there is no router any more, or no way to it
            self.mapper.end("")
        self.mapper.close(self._clock())
        self._flush()
        if not self.mapper.closed:
            try:
                await asyncio.wait_for(self._closed.wait(), CLOSE_SECONDS)
            except TimeoutError:
                self.mapper.end("")
        if self._working:
            self._working.cancel()
        if self._timer:
            self._timer.cancel()
        self._disconnect()

    # ---- sockets

    def _connect(self, gateway: Gateway) -> None:
        self._disconnect()
        self._gateway = gateway
        made = _open(self._version)
        try:
            made.bind((gateway.own_host, 0))
            made.connect(_resolved(gateway.host, SERVER_PORT))
        except OSError:  # the address is gone again: netlink will tell
            made.close()
            return
        self._socket = made
        self._loop.add_reader(made.fileno(), self._answers_wait)
        self._listen()

    def _listen(self) -> None:
        """Announcements go to all hosts of the LAN, who are in these groups by themselves."""
        ear = _open(self._version)
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # others on this host listen, too
        try:
            ear.bind(("::" if self._version == 6 else "0.0.0.0", CLIENT_PORT))
        except OSError:
            ear.close()
            return
        self._ear = ear
        self._loop.add_reader(ear.fileno(), self._announcements_wait)

    def _disconnect(self) -> None:
        for one in (self._socket, self._ear):
            if one is not None:
                self._loop.remove_reader(one.fileno())
                one.close()
        self._socket = self._ear = None

    def _answers_wait(self) -> None:
        assert self._socket
        try:
            self.mapper.receive(self._socket.recv(SIZE_MAX + 1), self._clock())
        except ConnectionRefusedError:
            self.mapper.refused(self._clock())
        except OSError:
            return
        self._flush()

    def _announcements_wait(self) -> None:
        assert self._ear
        try:
            datagram, source = self._ear.recvfrom(SIZE_MAX + 1)
        except OSError:
            return
        router = self._gateway.host.partition("%")[0] if self._gateway else ""
        if (source[0].partition("%")[0], source[1]) == (router, SERVER_PORT):
            self.mapper.receive_announcement(datagram, self._clock())
            self._flush()

    # ---- what follows from every call of the mapper

    def _flush(self) -> None:
        refusals = [self._send(datagram) for datagram in self.mapper.take_datagrams()]
        if any(refusals):
            self.mapper.refused(self._clock())
            self._flush()
            return
        job = self.mapper.take_job() if self._working is None else None
        if job is not None:
            self._working = self._loop.create_task(self._work(job))
        self._arm()
        if self.mapper.closed:
            self._closed.set()
        seen = (self.mapper.status, self.mapper.grants)
        if seen != self._seen:
            self._seen = seen
            self._on_change()

    def _send(self, datagram: bytes) -> bool:
        """Whether an earlier one was refused. What cannot be sent is as good as lost."""
        try:
            if self._socket:
                self._socket.send(datagram)
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
        return False

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
        delay = self.mapper.next_deadline() - self._clock()
        self._timer = self._loop.call_later(min(max(delay, 0.001), LONGEST_TIMER), self._timer_fired)

    def _timer_fired(self) -> None:
        self.mapper.handle_timer(self._clock())
        self._flush()

    async def _work(self, job: UpnpJob) -> None:
        outcome = await self._run_job(job)
        self._working = None
        self.mapper.job_done(job, outcome, self._clock())
        self._flush()


def _open(version: int) -> socket.socket:
    made = socket.socket(FAMILIES[version], socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    if version == 6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def _resolved(host: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """With the number of its device, for a link-local address."""
    address, _, device = host.partition("%")
    return (address, port, 0, socket.if_nametoindex(device)) if device else (address, port)
