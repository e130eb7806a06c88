"""Whose lab is whose, so that labs run side by side and a dead one is swept.

A lab is a tag, `l2m-3f0a`, that begins the names of all its namespaces, and a file /run/l2mesh-lab/<tag> that
its owner holds locked (flock) while it lives. The kernel unlocks it however the owner ends; a process id
would be reused, and means nothing across pid namespaces.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
from contextlib import suppress
from pathlib import Path

from l2mesh.lab.system import delete_namespace, names_with, processes_in
from l2mesh.lab.waiting import wait_until

RUN_DIRECTORY = Path("/run/l2mesh-lab")
KILLED_SECONDS = 2.0


class Claim:
    """A tag that is ours until `release`. `directory`: the temporary directory that goes with it, if any."""

    def __init__(self, prefix: str, directory: Path | None) -> None:
        RUN_DIRECTORY.mkdir(mode=0o755, exist_ok=True)
        while not self._take(f"{prefix}-{secrets.token_hex(2)}"):
            pass
        self._note(directory, kept=False)

    def _take(self, tag: str) -> bool:
        """Whether the tag was free."""
        self.tag, self._path = tag, RUN_DIRECTORY / tag
        try:
            self._lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # a sweep saw the new file before we locked it, and will remove it
            os.close(self._lock)
            return False
        return True

    def _note(self, directory: Path | None, kept: bool) -> None:
        note = {"pid": os.getpid(), "directory": str(directory) if directory else None, "kept": kept}
        os.pwrite(self._lock, json.dumps(note).encode().ljust(4096), 0)

    def keep(self, directory: Path | None) -> None:
        """Lets the lab outlive us: only `sweep(kept=True)` removes it."""
        self._note(directory, kept=True)
        os.close(self._lock)

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._lock)


def remove_namespaces(tag: str) -> None:
    """Deletes the namespaces of a lab, and ends what still runs there (daemons that left their group).

    Not ourselves: a signal's exception may have kept us from leaving the one that we had entered.
    """
    names = names_with(f"{tag}-")

    def others() -> list[int]:
        return [pid for pid in processes_in(names) if pid != os.getpid()]

    strays = others()
    for pid in strays:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if strays:
        # A killed process leaves its namespace a moment later; that it takes its time is no reason to fail.
        with suppress(TimeoutError):
            wait_until(lambda: not others(), KILLED_SECONDS, "the last processes of a lab end")
    for name in names:
        delete_namespace(name)


def _sweep_one(path: Path, kept: bool) -> bool:
    lock = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            note = json.loads(path.read_text())
        except ValueError:
            note = {}  # its owner died between making the file and filling it
        if note.get("kept") and not kept:
            return False
        remove_namespaces(path.name)
        if note.get("directory"):
            shutil.rmtree(note["directory"], ignore_errors=True)
        path.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False  # its owner lives
    finally:
        os.close(lock)


def sweep(kept: bool = False, prefix: str = "") -> list[str]:
    """Removes labs whose owner is dead (and, with `kept`, those left up on purpose), all or those of a prefix.

    Returns their tags.
    """
    if not RUN_DIRECTORY.is_dir():
        return []
    swept = []
    for path in sorted(RUN_DIRECTORY.glob(f"{prefix}*")):
        with suppress(FileNotFoundError, PermissionError):  # another sweep was faster; not ours to sweep
            if _sweep_one(path, kept):
                swept.append(path.name)
    return swept
