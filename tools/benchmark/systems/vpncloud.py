"""VpnCloud in switch mode. Written from its manual: Debian 12 has no package to try it with."""

from __future__ import annotations

from benchmark.rig import Rig
from benchmark.systems.base import OVERLAY, OVERLAY_PREFIX, READY_SECONDS, Daemons, device_exists
from l2mesh.lab import wait_until

PORT = 3210
DEVICE = "vpncloud0"


class VpnCloud(Daemons):
    name = "vpncloud"
    title = "VpnCloud"
    programs = ("vpncloud",)

    def start(self, rig: Rig) -> None:
        for host, other in ((rig.b, rig.a), (rig.a, rig.b)):
            device = ["--device", DEVICE, "--type", "tap", "--mode", "switch"]
            address = ["--ip", f"{OVERLAY.of(rig, host)}/{OVERLAY_PREFIX}"]
            network = ["--password", "a secret of no value", "--algorithm", "AES256"]
            peers = ["--listen", str(PORT), "--peer", f"{other.address4}:{PORT}", "--no-port-forwarding"]
            self.end(host, ["vpncloud", *device, *address, *network, *peers])
        wait_until(lambda: device_exists(rig.a, DEVICE), READY_SECONDS, "VpnCloud makes its device")
