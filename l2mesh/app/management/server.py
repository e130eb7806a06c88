"""The management socket of a daemon: a unix socket, and an exchange for each connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from l2mesh.app.errors import CommandError
from l2mesh.app.management.exchange import PATIENCE_S, Exchange
from l2mesh.app.management.probe import is_answering

if TYPE_CHECKING:
    from pathlib import Path

    from l2mesh.app.management.dispatch import Routes

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 32
MODE: Final = 0o660
"""Its owner and group may look; the owner is who the daemon runs as."""
DIRECTORY_MODE: Final = 0o755
HANG_UP_S: Final = 1.0
"""For the rest of an answer to be taken when a connection ends."""


class ManagementServer:
    """Doors: start(), close(). One loop, one socket; `path` is there between the two."""

    def __init__(
        self,
        path: Path,
        routes: Routes,
        *,
        owner: tuple[int, int] | None = None,
        connections_max: int = CONNECTIONS_MAX,
        patience: float = PATIENCE_S,
    ) -> None:
        """`owner`: (uid, gid) that the socket is given to, which takes root; `patience` in seconds."""
        self.path = path
        self._routes = routes
        self._owner = owner
        self._connections_max = connections_max
        self._patience = patience
        self._server: asyncio.Server | None = None
        self._exchanges: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._exchanges)

    async def start(self) -> None:
        """CommandError, with its remedy, when the socket cannot be made."""
        listener = claim(self.path, self._owner)
        try:
            self._server = await asyncio.start_unix_server(self._accept, sock=listener)
        except BaseException:
            listener.close()
            raise

    async def close(self) -> None:
        """End all exchanges and remove the socket, as far as we still may."""
        if self._server is None:
            return
        self._server.close()
        for exchange in self._exchanges:
            exchange.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)
        self._server = None
        # After root is given up a directory that we did not make may refuse: the next start replaces the socket.
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = Exchange(reader, writer, self._routes, self._patience)
        full = len(self._exchanges) >= self._connections_max
        task = asyncio.get_running_loop().create_task(
            _serve(exchange, writer, full=full, patience=min(self._patience, HANG_UP_S))
        )
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)


async def _serve(exchange: Exchange, writer: asyncio.StreamWriter, *, full: bool, patience: float) -> None:
    try:
        if full:
            await exchange.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections at once: try again")
        else:
            await exchange.run()
    except (OSError, TimeoutError) as error:
        log.debug("management: a client left: %r", error)
    except Exception:
        log.exception("management: a fault of l2mesh itself")
    finally:
        await _hang_up(writer, patience)


async def _hang_up(writer: asyncio.StreamWriter, patience: float) -> None:
    """Close; what a client does not take within `patience` seconds is thrown away."""
    writer.close()
    try:
        async with asyncio.timeout(patience):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()
    except asyncio.CancelledError:
        writer.transport.abort()
        raise


def claim(path: Path, owner: tuple[int, int] | None = None) -> socket.socket:
    """A listening socket at `path`, with its directory, in place of a stale one. CommandError."""
    try:
        _make_directory(path.parent, owner)
        _remove_stale(path)
        return _listen(path, owner)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        remedy = "run as root, or set [management] socket to a path of your own"
        raise CommandError(f"cannot make the management socket {path}: {reason}: {remedy}") from None


def _make_directory(directory: Path, owner: tuple[int, int] | None) -> None:
    """Make it, if need be, such that who binds here as root can remove its socket when it is root no more.

    The owner's group may write, and the sticky bit lets each user remove nothing but its own.
    """
    ours = directory.is_dir() and directory.stat().st_mode & stat.S_ISVTX and directory.stat().st_uid == 0
    if not directory.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(DIRECTORY_MODE)  # whatever the umask: others must get through to their own sockets
        ours = True
    if owner is not None and ours:
        os.chown(directory, 0, owner[1])
        directory.chmod(DIRECTORY_MODE | stat.S_ISVTX | stat.S_IWGRP)


def _remove_stale(path: Path) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_socket():
        raise CommandError(f"{path} is there and is no socket: move it away, or set [management] socket")
    if is_answering(path):
        raise CommandError(f"another l2mesh uses {path}: stop it, or set [management] socket to another path")
    path.unlink()


def _listen(path: Path, owner: tuple[int, int] | None) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _bind(listener, path)
        if owner is not None and owner != (os.geteuid(), os.getegid()):
            # The directory may be another user's: what became a link meanwhile must not lead root elsewhere.
            os.chown(path, *owner, follow_symlinks=False)
        listener.listen(CONNECTIONS_MAX)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _bind(listener: socket.socket, path: Path) -> None:
    """Make the socket's file with MODE from the first moment. The umask is the process's: no other thread yet."""
    before = os.umask(0o777 & ~MODE)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
