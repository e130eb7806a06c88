"""What a run was made on, for its JSON."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path

import l2mesh

PACKAGES = ("iperf3", "tinc", "fastd", "openvpn", "nebula", "wireguard-go", "n2n", "zerotier-one", "vpncloud")


def facts() -> dict[str, object]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "l2mesh": l2mesh.__version__,
        "packages": _packages(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _packages() -> dict[str, str]:
    """Versions of those that are installed by Debian's package manager."""
    command = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PACKAGES]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return {}
    rows = (line.split() for line in done.stdout.splitlines())
    return {row[0]: row[1] for row in rows if len(row) > 1}
