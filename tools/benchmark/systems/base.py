"""What every system is to the benchmark."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmark.rig import Rig
from l2mesh.lab import Host, Process, system

READY_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Overlay:
    """The addresses of the two ends inside the system."""

    a: str
    b: str

    def of(self, rig: Rig, host: Host) -> str:
        return self.a if host is rig.a else self.b


OVERLAY = Overlay("10.77.0.1", "10.77.0.2")
OVERLAY_PREFIX = 24


class System(Protocol):
    """One that carries packets between rig.a and rig.b. Made anew for each cell."""

    name: str
    """As --only and the JSON have it."""
    title: str
    """As tables have it."""
    measures: frozenset[str] | None
    """Those that it is there for; None for all."""

    def available(self) -> str | None:
        """Why it cannot run here; None if it can."""

    def overlay(self, rig: Rig) -> Overlay: ...

    def prepare(self, rig: Rig) -> None:
        """What is there before anybody starts it: keys, files, a supernode."""

    def start(self, rig: Rig) -> None:
        """Both ends. From here on time is taken, until a ping is answered."""

    def settle(self, rig: Rig) -> None:
        """Wait until it is as fast as it gets: its path is found, and the path's MTU."""

    def stop(self) -> None: ...

    def pids(self) -> list[int]:
        """All processes that are its own, for CPU time."""

    def end_pids(self) -> list[int]:
        """Those of the two ends, for memory."""


class Kernel:
    """Base of systems without a process."""

    name = ""
    title = ""
    measures: frozenset[str] | None = None

    def available(self) -> str | None:
        return None

    def overlay(self, rig: Rig) -> Overlay:
        return OVERLAY

    def prepare(self, rig: Rig) -> None:
        pass

    def settle(self, rig: Rig) -> None:
        pass

    def stop(self) -> None:
        pass

    def pids(self) -> list[int]:
        return []

    def end_pids(self) -> list[int]:
        return []


class Daemons(Kernel):
    """Base of systems that are programs: `programs` have to be there, `end` and `helper` start processes."""

    programs: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._ends: list[Process] = []
        self._helpers: list[Process] = []

    def available(self) -> str | None:
        path = system.environment()["PATH"]
        missing = [program for program in self.programs if shutil.which(program, path=path) is None]
        return f"{' and '.join(missing)} not found" if missing else None

    def end(self, host: Host, command: Sequence[str], env: dict[str, str] | None = None) -> Process:
        started = host.popen(command, env=env)
        self._ends.append(started)
        return started

    def helper(self, host: Host, command: Sequence[str]) -> Process:
        started = host.popen(command)
        self._helpers.append(started)
        return started

    def stop(self) -> None:
        for process in (*self._ends, *self._helpers):
            process.kill()
        self._ends, self._helpers = [], []

    def pids(self) -> list[int]:
        return [process.pid for process in (*self._ends, *self._helpers)]

    def end_pids(self) -> list[int]:
        return [process.pid for process in self._ends]


def directory_of(rig: Rig, name: str) -> Path:
    """A directory for one party's files."""
    made = rig.directory / name
    made.mkdir(mode=0o755)
    return made


def bring_up(host: Host, device: str, address: str, mtu: int | None = None) -> None:
    """`address` on a device that exists."""
    lines = [f"address add {address}/{OVERLAY_PREFIX} dev {device}"]
    if mtu:
        lines.append(f"link set dev {device} mtu {mtu}")
    host.ip([*lines, f"link set dev {device} up"])


def device_exists(host: Host, device: str) -> bool:
    return host.run(["ip", "link", "show", "dev", device], check=False).returncode == 0
