"""--keep and --down: a demo that stays up, how to enter it, and how it goes."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from l2mesh.lab import inside_user_namespace, sweep
from l2mesh.lab.user_namespace import MARK

if TYPE_CHECKING:
    from l2mesh.app.demo.parties import Edge

PREFIX: Final = "l2demo"
"""Of the names of its namespaces."""


def take_down() -> list[str]:
    """Removes all demos that were kept, and what dead ones left. Returns the tags of those that are gone."""
    if os.geteuid() == 0:
        return sweep(kept=True, prefix=PREFIX)
    return [tag for process in _user_namespaces() for tag in _take_down_inside(process)]


def shell_command(edge: Edge) -> str:
    """What a person types to get a shell at a party."""
    if inside_user_namespace():
        return f"{_nsenter(edge.process.pid)} --net bash"
    return f"{_sudo()}{edge.home.host.shell_command}"


def program(verb: str = "demo") -> str:
    """What a person types to run a verb of this program, as they ran this one."""
    if verb == "demo" and (tool := os.environ.get("L2MESH_DEMO_COMMAND")):  # tools/demo
        return f"{_sudo()}{tool}"
    started = Path(sys.argv[0])
    if started.name != "l2mesh":
        return f"{_sudo()}{sys.executable} -m l2mesh {verb}"
    found = shutil.which("l2mesh")
    is_found = found and Path(found).resolve() == started.resolve()
    return f"{_sudo()}{'l2mesh' if is_found else shlex.quote(str(started))} {verb}"


def _sudo() -> str:
    return "sudo " if "SUDO_USER" in os.environ and not inside_user_namespace() else ""


def _nsenter(process: int) -> str:
    return f"nsenter --target {process} --user --mount --preserve-credentials"


def _user_namespaces() -> list[int]:
    """A process in each user namespace that a demo of ours made."""
    found: dict[str, int] = {}
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and f"{MARK}=1".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.setdefault(str((process / "ns/user").readlink()), int(process.name))
        except OSError:
            continue  # it ended, or is not ours
    return list(found.values())


def _take_down_inside(process: int) -> list[str]:
    command = f"{_nsenter(process)} {shlex.quote(sys.executable)} -m l2mesh demo --down"
    done = subprocess.run(
        shlex.split(command),
        env={**os.environ, MARK: "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("took down ")]
