"""The process that speaks UPnP for an edge (upnp.py): started for each job, and gone with it.

An edge gives up root before that. Where its user then may not read Python's files (installed in root's home
directory, by pipx or uv say), the process has to be started while he may, and stays, unless there is no router to
ask: that costs 12 MB, of which 6 are shared.
"""

from __future__ import annotations

import asyncio
import encodings
import ipaddress
import json
import os
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

import l2mesh
from l2mesh.core.mapping_protocols import Deleted, Denied, Granted, Silent

if TYPE_CHECKING:
    from l2mesh.core.mapping_protocols import Outcome, UpnpJob

# Eight to find out that there is no router (upnp.py), or one to find it; the rest is for slow answers.
JOB_SECONDS = 20.0
# Of an answer: an address, a port, a number, or one of miniupnpc's texts.
LONGEST_LINE = 1000
ENDED = "its process ended without an answer"


class UpnpProcess:
    """`run(job)` is an asyncio coroutine; one at a time. Make it while still root, if ever, and close it."""

    def __init__(self, user: str) -> None:
        """`user`: who the edge becomes if it is root now."""
        self._user = user if os.geteuid() == 0 else ""
        self._stays = bool(self._user) and not readable_by_all(
            Path(sys.executable), Path(encodings.__file__), Path(msgspec.__file__), Path(l2mesh.__file__)
        )
        self._popen: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        if self._stays:
            with suppress(OSError):  # a job will tell
                self._start()

    async def run(self, job: UpnpJob) -> Outcome:
        try:
            if self._socket is None:
                self._start()
            async with asyncio.timeout(JOB_SECONDS):
                line = await self._ask(json.dumps(asdict(job)).encode() + b"\n")
        except TimeoutError:
            self.close()
            return Silent(f"not done after {JOB_SECONDS:.0f} s")
        except PermissionError:
            self.close()
            return Silent(
                f"the user of this edge may not run {sys.executable}: install l2mesh where all may read it"
            )
        except ConnectionError:  # it ended, and did not even read the job
            self.close()
            return Silent(ENDED)
        except OSError as error:
            self.close()
            return Silent(f"its process does not work: {error.strerror}")
        except asyncio.CancelledError:
            self.close()
            raise
        if not line or not self._stays:
            self.close()
        return outcome_of(line, job) if line else Silent(ENDED)

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        if self._popen:
            with suppress(PermissionError):  # just begun, and root still: it ends by itself, with its socket
                self._popen.kill()
            self._popen.wait()
        self._socket = self._popen = None

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._socket = ours
        with theirs:
            command = [sys.executable, "-m", "l2mesh.shell.upnp", self._user]
            end = theirs.fileno()
            self._popen = subprocess.Popen(command, stdin=end, stdout=end, stderr=subprocess.DEVNULL)

    async def _ask(self, line: bytes) -> bytes:
        """b"": the process ended."""
        loop = asyncio.get_running_loop()
        assert self._socket
        await loop.sock_sendall(self._socket, line)
        answer = b""
        while not answer.endswith(b"\n") and len(answer) < LONGEST_LINE:
            more = await loop.sock_recv(self._socket, LONGEST_LINE)
            if not more:
                return b""
            answer += more
        return answer


def readable_by_all(*files: Path) -> bool:
    """Whether any user may read these files: the rights of all others, on each and on the directories above, also
    on those above a link (a virtual environment's Python is one).
    """
    for file in files:
        resolved = file.resolve()
        above = {*file.absolute().parents, *resolved.parents}
        if not resolved.stat().st_mode & 0o004 or not all(one.stat().st_mode & 0o001 for one in above):
            return False
    return True


class Answer(msgspec.Struct):
    """What upnp.py prints."""

    external: tuple[str, int] | None = None
    lifetime: int = 0
    deleted: bool = False
    denied: str = ""
    silent: str = ""


def outcome_of(line: bytes, job: UpnpJob) -> Outcome:
    """What the process printed; whatever that is, for it talked to strangers."""
    try:
        answer = msgspec.json.decode(line, type=Answer)
        if answer.external is not None:
            host, port = answer.external
            lifetime = answer.lifetime or job.lifetime  # one without an end is renewed all the same
            return Granted((str(ipaddress.IPv4Address(host)), port & 0xFFFF), lifetime)
    except (msgspec.DecodeError, ValueError):
        return Silent("no usable answer")
    if answer.deleted:
        return Deleted()
    return Denied(answer.denied) if answer.denied else Silent(answer.silent or "no usable answer")
