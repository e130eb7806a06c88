"""A program that runs in a namespace, with everything it prints in a log file."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from l2mesh.lab.errors import LabError
from l2mesh.lab.system import environment, network_namespace
from l2mesh.lab.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

TAIL_LINES = 20
ENDING_SECONDS = 1.0  # how long programs may take over SIGTERM when the lab ends, all together


class Process:
    """Started by `Namespace.popen`. Leads its own process group, which gets every signal sent from here."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self.pid = popen.pid
        self._popen = popen

    def text(self) -> str:
        """All it printed so far, stdout and stderr."""
        return self.log.read_text(errors="replace")

    def tail(self, lines: int = TAIL_LINES) -> str:
        return "\n".join(self.text().splitlines()[-lines:])

    def mark(self) -> int:
        """The end of the log now: `wait_for_line(..., after=mark)` looks only at what comes later."""
        return len(self.text())

    def wait_for_line(self, regex: str, deadline_s: float = 5.0, after: int = 0) -> re.Match[str]:
        """The first complete line that `regex` is found in. LabError, with the log's end, if none comes."""
        pattern = re.compile(regex)

        def look() -> re.Match[str] | bool | None:
            ended = self.poll() is not None  # asked first: its last lines are then in the log
            for line in self.text()[after:].splitlines(keepends=True):
                match = pattern.search(line.rstrip("\n"))
                if match and (ended or line.endswith("\n")):
                    return match
            return ended or None

        try:
            found = wait_until(look, deadline_s, f"a line like {regex!r}")
        except TimeoutError as error:
            raise LabError(f"{self.name}: {error}; its log ends:\n{self.tail()}") from None
        if not isinstance(found, re.Match):
            raise LabError(f"{self.name} ended ({self.poll()}) without a line like {regex!r}:\n{self.tail()}")
        return found

    def poll(self) -> int | None:
        """Its exit status (negative: the signal), None while it runs."""
        return self._popen.poll()

    def wait(self, deadline_s: float = 5.0) -> int:
        """Its exit status. LabError when it still runs after `deadline_s`."""
        try:
            return self._popen.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise LabError(
                f"{self.name} still runs after {deadline_s:g} s; its log ends:\n{self.tail()}"
            ) from None

    def signal(self, number: int) -> None:
        """To its process group; nothing when it has ended (its id may be someone else's by now)."""
        if self.poll() is None:
            os.killpg(self.pid, number)

    def stop(self) -> None:
        """SIGSTOP: as a suspended laptop. `cont` wakes it."""
        self.signal(signal.SIGSTOP)

    def cont(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> int:
        """SIGKILL, and waits for its end. Returns the exit status."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def terminate(self, deadline_s: float = 5.0) -> int:
        """SIGTERM, and waits for its end. Returns the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline_s)


def start(
    command: Sequence[str],
    namespace: int,
    name: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Process:
    """Starts `command` in the network namespace of that descriptor."""
    with log.open("wb") as output, network_namespace(namespace):
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(env),
            cwd=cwd,
            start_new_session=True,
        )
    return Process(name, popen, log)


def end_all(processes: Iterable[Process]) -> None:
    """SIGTERM to all that still run (stopped ones too), SIGKILL to those that take too long."""
    alive = [process for process in processes if process.poll() is None]
    for process in alive:
        process.signal(signal.SIGTERM)
        process.cont()
    end = time.monotonic() + ENDING_SECONDS
    for process in alive:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except LabError:
            process.kill()
