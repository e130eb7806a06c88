"""n2n: Debian's is version 1 (Twofish); later ones (AES) take the same options, but want to be kept in front."""

from __future__ import annotations

import re
import subprocess

from benchmark.rig import Rig
from benchmark.systems.base import OVERLAY, READY_SECONDS, Daemons, device_exists
from l2mesh.lab import system, wait_until

PORT = 7654
DEVICE = "n2n0"
VERSION = re.compile(r"n2n v\.?(\d+)")
IN_FRONT_SINCE = 2


class N2n(Daemons):
    name = "n2n"
    title = "n2n"
    programs = ("edge", "supernode")

    def available(self) -> str | None:
        return super().available() or (None if _version() else "edge is some other program")

    def prepare(self, rig: Rig) -> None:
        self._in_front = ["-f"] if (_version() or 0) >= IN_FRONT_SINCE else []
        self.helper(rig.hub, ["supernode", "-l", str(PORT), *self._in_front])

    def start(self, rig: Rig) -> None:
        for host in (rig.b, rig.a):
            address = OVERLAY.of(rig, host)
            mac = f"02:00:00:00:00:0{address[-1]}"
            own = ["-d", DEVICE, "-a", address, "-m", mac, "-u", "0", "-g", "0"]
            network = ["-c", "bench", "-k", "a secret of no value", "-l", f"{rig.hub.address4}:{PORT}"]
            self.end(host, ["edge", *own, *network, *self._in_front])
        wait_until(lambda: device_exists(rig.a, DEVICE), READY_SECONDS, "n2n makes its device")


def _version() -> int | None:
    """The major version, by what it says of itself."""
    done = subprocess.run(["edge", "-h"], capture_output=True, text=True, env=system.environment(), check=False)
    found = VERSION.search(done.stdout + done.stderr)
    return int(found[1]) if found else None
