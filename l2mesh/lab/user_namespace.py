"""What a lab needs of this machine, and how a user without root may get it: a user namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from l2mesh.lab import system
from l2mesh.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

TUN = Path("/dev/net/tun")
TOOLS = {"ip": "iproute2", "nft": "nftables", "unshare": "util-linux", "conntrack": "conntrack"}
PROBE_SECONDS = 10.0

# In a scratch network namespace: what building a lab does, in small.
PROBE = """
ip link add l2m-a type veth peer name l2m-b &&
echo 1 > /proc/sys/net/ipv4/ip_forward &&
nft -f - <<'RULES'
table ip probe {
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname "wan" masquerade
    }
}
RULES
"""
MARK = "L2MESH_LAB_USER_NAMESPACE"  # set inside, so that nobody goes in twice


def _missing_tools() -> list[str]:
    path = system.environment()["PATH"]
    return [
        f"the command `{tool}` is missing: install the package {package}"
        for tool, package in TOOLS.items()
        if shutil.which(tool, path=path) is None
    ]


def _tun_fault() -> str | None:
    if not TUN.exists():
        return f"{TUN} is missing: `modprobe tun` makes it"
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        return f"{TUN} cannot be opened: {error.strerror}"
    return None


def _probe(*options: str) -> str | None:
    """What is wrong with making a network namespace with these options of unshare."""
    done = subprocess.run(
        ["unshare", *options, "--net", "--mount", "sh", "-c", PROBE],
        capture_output=True,
        text=True,
        timeout=PROBE_SECONDS,
        env=system.environment(),
        check=False,
    )
    return (done.stderr.strip() or f"exit {done.returncode}") if done.returncode else None


def requirements() -> list[str]:
    """What this process lacks to build a lab, a sentence each; empty when it can."""
    lacks = _missing_tools()
    if os.geteuid() != 0:
        lacks.append("network namespaces need root: run it with sudo")
    elif not lacks and (fault := _probe()):
        lacks.append(f"a network namespace with NAT cannot be made here: {fault}")
    if os.geteuid() == 0 and (fault := _tun_fault()):
        lacks.append(fault)
    return lacks


def user_namespace_requirements() -> list[str]:
    """What a user without root lacks for `reexec_in_user_namespace`, a sentence each."""
    lacks = _missing_tools()
    if not lacks and (fault := _probe("--user", "--map-root-user")):
        lacks.append(f"the kernel lets users make no namespaces of their own with a network in them: {fault}")
    if fault := _tun_fault():
        lacks.append(fault)
    return lacks


def inside_user_namespace() -> bool:
    """Whether `reexec_in_user_namespace` started us."""
    return MARK in os.environ


def reexec_in_user_namespace(command: Sequence[str] | None = None) -> NoReturn:
    """Becomes `command` (by default: what we are, from the start) as root of a new user namespace, where labs
    can be built. LabError where that cannot be.

    There is one user in there: a program that drops from root to another user fails.
    """
    if lacks := user_namespace_requirements():
        raise LabError("; ".join(lacks))
    wanted = list(command or [sys.executable, *sys.orig_argv[1:]])
    unshare = ["unshare", "--user", "--map-root-user", "--net", "--mount"]
    os.execvpe(
        "unshare",
        [*unshare, sys.executable, "-m", "l2mesh.lab.enter_user_namespace", *wanted],
        system.environment(),
    )
