"""The four ways in which the lab touches the kernel: `ip -batch`, `nft -f`, setns(2) and mounts.

Why not pyroute2: measured for 8 namespaces and 7 veth pairs, its import costs 220 ms and its NetNS objects 90
ms (a server process each); one `ip -batch` does it in 14 ms. Entering a namespace by setns(2) for the instant
of a fork or a socket() costs 10 us, where `ip netns exec` costs 4 ms and a mount namespace.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from l2mesh.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

NETNS_DIRECTORY = Path("/run/netns")  # where `ip netns` keeps its names
TOOL_SECONDS = 20.0  # ip and nft answer in milliseconds; this only ends a hang

CLONE_NEWNET = 0x40000000
MNT_DETACH = 2
SIOCGIFFLAGS, IFF_RUNNING = 0x8913, 0x40

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, with the sbin directories (not in every PATH), and Python programs unbuffered for their logs."""
    base = {**os.environ, "PYTHONUNBUFFERED": "1"}
    base["PATH"] = base.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin"
    return {**base, **(extra or {})}


@contextmanager
def network_namespace(descriptor: int) -> Iterator[None]:
    """Inside the block this *thread* is in that network namespace, as are its new sockets and children."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        # Entered inside the try: a signal's exception may come right behind the call.
        _checked(_libc.setns(descriptor, CLONE_NEWNET), "entering a network namespace")
        yield
    finally:
        _checked(_libc.setns(home, CLONE_NEWNET), "leaving a network namespace")
        os.close(home)


def is_running(interface: str) -> bool:
    """Whether a link is up at both ends and in use by the kernel, in the namespace of this thread."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sh22x", interface.encode(), 0))
    return bool(struct.unpack_from("16xh", answer)[0] & IFF_RUNNING)


def mount(source: str, target: Path, kind: str, flags: int = 0) -> None:
    """mount(2)."""
    _checked(
        _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), None),
        f"mounting {source} on {target}",
    )


def delete_namespace(name: str) -> None:
    """As `ip netns del`, but also for a name that an interrupted `ip netns add` left without its mount."""
    path = NETNS_DIRECTORY / name
    _libc.umount2(os.fsencode(path), MNT_DETACH)
    path.unlink(missing_ok=True)


def names_with(prefix: str) -> list[str]:
    """Names of network namespaces that begin so."""
    if not NETNS_DIRECTORY.is_dir():
        return []
    return sorted(path.name for path in NETNS_DIRECTORY.iterdir() if path.name.startswith(prefix))


def processes_in(names: Iterable[str]) -> list[int]:
    """Ids of the processes that live in the namespaces of these names."""
    inodes = set()
    for name in names:
        try:
            inodes.add((NETNS_DIRECTORY / name).stat().st_ino)
        except OSError:
            continue  # deleted meanwhile
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if (process / "ns/net").stat().st_ino in inodes:
                found.append(int(process.name))
        except OSError:
            continue  # it ended, or is not ours to look at
    return found


def tool(command: Sequence[str], text: str = "") -> str:
    """Runs a tool that is to succeed; returns what it printed. LabError with its complaint otherwise."""
    try:
        # Its own session: a Ctrl-C at the terminal must not cut an `ip netns add` in half.
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=TOOL_SECONDS,
            env=environment(),
            start_new_session=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"the command {command[0]} is missing") from error
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}\n{text}")
    return done.stdout


def ip_batch(lines: Iterable[str]) -> None:
    """Runs `ip` commands, one a line, in the namespace of this thread."""
    text = "\n".join(lines)
    if text:
        tool(["ip", "-batch", "-"], text + "\n")


def nft(text: str) -> str:
    """Loads rules, all or nothing, in the namespace of this thread; prints rules with their handles."""
    return tool(["nft", "--echo", "--handle", "--file", "-"], text)
