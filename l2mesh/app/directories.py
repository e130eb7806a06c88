"""Where a daemon keeps its socket and its state, by who runs it and how it was started."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunAs:
    """The user a daemon becomes once its devices are open."""

    name: str
    uid: int
    gid: int


def runtime_directory() -> Path:
    """Where the management sockets are: systemd's choice, /run/l2mesh for root, else the user's own."""
    return runtime_directories()[0]


def runtime_directories() -> tuple[Path, ...]:
    """Where a command looks for management sockets, the likeliest first."""
    system = Path("/run/l2mesh")
    if given := os.environ.get("RUNTIME_DIRECTORY"):
        return (Path(given.split(":")[0]),)
    return (system,) if os.geteuid() == 0 else (_user_runtime(), system)


def state_directory() -> Path:
    """Where what outlives a restart is: systemd's choice, /var/lib/l2mesh for root, else the user's own."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/l2mesh")
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else _home() / ".local/state") / "l2mesh"


def make_private(directory: Path) -> None:
    """Make a directory for keys and state, with its parents, unless it is there; OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def user_named(name: str) -> RunAs:
    """KeyError if there is no such user."""
    entry = pwd.getpwnam(name)
    return RunAs(name, entry.pw_uid, entry.pw_gid)


def owner_of(status: os.stat_result | None) -> RunAs:
    """The owner of a file. `nobody` if there is no file, if this host does not know its owner, or if that is root:
    the user that a daemon is to cease to be."""
    if status is None or status.st_uid == 0:
        return _nobody()
    try:
        entry = pwd.getpwuid(status.st_uid)
    except KeyError:
        return _nobody()
    return RunAs(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _nobody() -> RunAs:
    try:
        return user_named("nobody")
    except KeyError:  # a container without /etc/passwd
        return RunAs("nobody", 65534, 65534)


def _user_runtime() -> Path:
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base:
        return Path(base) / "l2mesh"
    session = Path(f"/run/user/{os.geteuid()}")
    return (session if session.is_dir() else _home() / ".cache") / "l2mesh"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # neither $HOME nor an entry in passwd
        return Path("/tmp") / f"l2mesh-{os.geteuid()}"
