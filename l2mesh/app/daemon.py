"""What both daemons do around their engine: signals, state, clock, management socket, privileges, readiness.

The order matters: everything that needs root first, then privileges go, then the first thread may start
(the resolver's), then the engine.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from l2mesh.app import directories
from l2mesh.app.errors import CommandError
from l2mesh.app.narrator import narrate
from l2mesh.app.state_file import StateFile
from l2mesh.shell.clock import wall_offset
from l2mesh.shell.driver import Driver
from l2mesh.shell.errors import ShellError
from l2mesh.shell.limits import allow_descriptors
from l2mesh.shell.notify import Notifier, watchdog_interval
from l2mesh.shell.privileges import drop_privileges
from l2mesh.shell.udp import UdpSocket, open_side_socket
from l2mesh.wire.address import ip_version

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from l2mesh.app.directories import RunAs
    from l2mesh.app.management.server import ManagementServer
    from l2mesh.core.node import Node
    from l2mesh.shell.tap import Tap

log = logging.getLogger("l2mesh")

UPKEEP_S = 5.0
"""Seconds between two looks at the wall clock and at what is to be saved."""


def open_state(directory: Path, user: RunAs) -> StateFile:
    """The state file in its own directory, which belongs to the user that the daemon will run as."""
    directory.parent.mkdir(mode=0o755, parents=True, exist_ok=True)  # others' directories are in it too
    directories.make_private(directory)
    if os.geteuid() == 0:
        os.chown(directory, user.uid, user.gid)
        with suppress(FileNotFoundError):
            os.chown(directory / "state.json", user.uid, user.gid)
    return StateFile(directory / "state.json")


def open_sockets(listen: Iterable[tuple[str, int]], state: StateFile) -> list[UdpSocket]:
    """Bind each address; port 0 is the last run's port, or a random one. Raises ShellError.

    The first of each IP version is the main one, the others are numbered 1, 2, … (wire.address.SideAddress).

    An unspecified IPv6 address with port 0 is what everybody has by default, so it may fail: on a
    host without IPv6 the IPv4 socket does.
    """
    sockets: list[UdpSocket] = []
    failure: ShellError | None = None
    versions: set[int] = set()
    for host, port in listen:
        version = ip_version(host)
        number = 1 + len(sockets) - len(versions) if version in versions else 0
        try:
            socket = UdpSocket(host, port or state.port(version, number), any_port=port == 0, number=number)
        except ShellError as error:
            if (host, port) != ("::", 0):
                raise
            log.info("no IPv6: %s", error)
            failure = error
            continue
        sockets.append(socket)
        versions.add(version)
        if port == 0:
            state.remember_port(version, number, socket.port)
    if not sockets and failure:
        raise failure
    return sockets


class Daemon:
    """Runs one engine until a signal ends it. Subclasses say what is theirs in the hooks at the end."""

    def __init__(
        self,
        engine: Node[Any],
        sockets: list[UdpSocket],
        tap: Tap | None,
        *,
        state: StateFile,
        user: RunAs,
        file: Path | None,
        keep_net_admin: bool,
    ) -> None:
        self.engine = engine
        self.state = state
        self.driver: Driver[Any]
        self._sockets = sockets
        self._tap = tap
        self._user = user
        self.file = file
        self._keep_net_admin = keep_net_admin
        self._notifier = Notifier()
        self._ended: asyncio.Event
        self._failure: Exception | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Returns when a signal ended it. Raises ShellError when the TAP was taken away."""
        loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self.driver = Driver(
            self.engine,
            self._sockets,
            self._tap,
            loop=loop,
            open_side=partial(open_side_socket, self._sockets) if self._tap else None,
            on_event=self._on_event,
            on_failure=self._fail,
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._ended.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self.engine.set_wall_clock(wall_offset())
        management = self.make_management(self._user if os.geteuid() == 0 else None)
        await management.start()
        try:
            drop_privileges(self._user.name, self._keep_net_admin)
            self.state.save(self.engine.timestamps, self.engine.guard)
            self.driver.start()
            self.started(loop)
            self.start_task(self._upkeep())
            ready = self.ready_line()
            log.info("ready: %s", ready)
            self._notifier.ready(ready)
            await self._ended.wait()
        finally:
            self._notifier.stopping()
            for task in self._tasks:
                task.cancel()
            self.driver.stop()
            await self.ending()
            self.state.save(self.engine.timestamps, self.engine.guard)
            await management.close()
        if self._failure:
            raise self._failure
        log.info("stopped")

    def start_task(self, work: Any) -> None:
        """Run a coroutine as long as the daemon. A fault in it ends the daemon, with its reason."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._ended.set()

    async def _upkeep(self) -> None:
        interval = min(watchdog_interval() or UPKEEP_S, UPKEEP_S)
        while True:
            await asyncio.sleep(interval)
            self.engine.set_wall_clock(wall_offset())
            self.state.save(self.engine.timestamps, self.engine.guard)
            self._notifier.watchdog()

    def _on_event(self, event: Any) -> None:
        narrate(log, event)
        self.on_event(event)

    def _reload(self) -> None:
        try:
            if self.file is not None and not os.access(self.file, os.R_OK):
                user, file = self._user.name, self.file
                raise CommandError(
                    f"{file}: user {user}, which this daemon is since its start, may not read it: "
                    f"chown {user} {file}, or restart"
                )
            self.reload()
        except Exception as error:
            log.error("cannot reload: %s: nothing was changed", error)

    # ---- hooks

    def make_management(self, owner: RunAs | None) -> ManagementServer:
        raise NotImplementedError

    def ready_line(self) -> str:
        raise NotImplementedError

    def started(self, loop: asyncio.AbstractEventLoop) -> None:
        """The engine runs and privileges are gone."""

    async def ending(self) -> None:
        """The engine has said goodbye; the loop still runs, for a short time."""

    def on_event(self, event: Any) -> None:
        """An event that was logged already."""

    def reload(self) -> None:
        """SIGHUP. Whatever it raises is logged, and nothing may have changed then."""


def run_until_done(daemon: Daemon) -> None:
    """Run on uvloop. It is imported here: no other verb needs it."""
    import uvloop

    allow_descriptors()
    uvloop.run(daemon.run())
