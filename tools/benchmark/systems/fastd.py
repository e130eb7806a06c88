"""fastd in TAP mode, with salsa2012+umac, the method its makers recommend for speed with a modern cipher."""

from __future__ import annotations

import re

from benchmark.rig import Rig
from benchmark.systems.base import OVERLAY, OVERLAY_PREFIX, Daemons, directory_of
from l2mesh.lab import Host, wait_until

PORT = 10_000
DEVICE = "fastd0"
MTU = 1434  # 1500 - IPv4 20 - UDP 8 - fastd 24 - Ethernet 14
CONFIGURATION = """\
log level warn;
mode tap;
interface "{device}";
method "salsa2012+umac";
mtu {mtu};
bind 0.0.0.0:{port};
secret "{secret}";
on up "ip address add {address}/{prefix} dev {device} && ip link set dev {device} up";
peer "other" {{
    key "{other_key}";
{remote}
}}
"""


class Fastd(Daemons):
    name = "fastd"
    title = "fastd"
    programs = ("fastd",)

    def prepare(self, rig: Rig) -> None:
        hosts = (rig.a, rig.b)
        keys = {host.name: _key_pair(host) for host in hosts}
        self._files = {}
        for host, other in (hosts, hosts[::-1]):
            file = directory_of(rig, f"fastd-{host.name}") / "fastd.conf"
            file.write_text(
                CONFIGURATION.format(
                    device=DEVICE,
                    mtu=MTU,
                    port=PORT,
                    secret=keys[host.name][0],
                    address=OVERLAY.of(rig, host),
                    prefix=OVERLAY_PREFIX,
                    other_key=keys[other.name][1],
                    # Two that begin handshakes at once disturb each other, and try again after 15 s.
                    remote=f"    remote {other.address4}:{PORT};" if host is rig.a else "",
                )
            )
            self._files[host.name] = file

    def start(self, rig: Rig) -> None:
        for host in (rig.b, rig.a):
            self.end(host, ["fastd", "--config", str(self._files[host.name])])
        wait_until(lambda: _has_address(rig.a), 5.0, "fastd sets its device up")


def _key_pair(host: Host) -> tuple[str, str]:
    secret, public = re.findall(r"^(?:Secret|Public): *(\w+)", host.run("fastd --generate-key").stdout, re.M)
    return secret, public


def _has_address(host: Host) -> bool:
    return OVERLAY.a in host.run(["ip", "-4", "address", "show"]).stdout
