"""The first program inside a new user namespace; it prepares /run and becomes another.

unshare … python -m l2mesh.lab.enter_user_namespace PROGRAM ARGUMENT…       (l2mesh.lab.user_namespace)
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from l2mesh.lab import ownership, system
from l2mesh.lab.user_namespace import MARK

MS_BIND, MS_MOVE, MS_REC = 4096, 8192, 16384  # linux/mount.h


def make_run_writable() -> None:
    """Puts in place of /run a tmpfs with all that was in it, and room for `ip netns` and for us."""
    stage = Path(tempfile.mkdtemp(prefix="l2mesh-run-"))
    system.mount("tmpfs", stage, "tmpfs")
    own = {system.NETNS_DIRECTORY.name, ownership.RUN_DIRECTORY.name}
    for entry in Path("/run").iterdir():
        copy = stage / entry.name
        if entry.name in own:
            continue
        if entry.is_symlink():
            copy.symlink_to(entry.readlink())
            continue
        if entry.is_dir():
            copy.mkdir()
        else:
            copy.touch()
        system.mount(str(entry), copy, "", MS_BIND | MS_REC)
    for name in own:
        (stage / name).mkdir()
    system.mount(str(stage), Path("/run"), "", MS_MOVE)
    stage.rmdir()


if __name__ == "__main__":
    make_run_writable()
    os.execvpe(sys.argv[1], sys.argv[1:], {**os.environ, MARK: "1"})
