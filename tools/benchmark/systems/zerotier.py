"""ZeroTier without the internet: the hub is a moon (a root of one's own) and the network's controller.

Written from its manual: Debian 12 has no package to try it with.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmark.rig import Rig
from benchmark.systems.base import OVERLAY, READY_SECONDS, Daemons, bring_up, directory_of
from l2mesh.lab import Host, wait_until

PORT = 9993


class ZeroTier(Daemons):
    name = "zerotier"
    title = "ZeroTier"
    programs = ("zerotier-one", "zerotier-idtool", "zerotier-cli", "curl")

    def prepare(self, rig: Rig) -> None:
        self._homes = {host.name: directory_of(rig, f"zerotier-{host.name}") for host in rig.hosts}
        hub = self._homes[rig.hub.name]
        moon = _make_moon(rig.hub, hub)
        for home in self._homes.values():
            (home / "moons.d").mkdir()
            (home / "moons.d" / moon.name).write_bytes(moon.read_bytes())
        self.helper(rig.hub, _command(hub))
        secret = hub / "authtoken.secret"
        wait_until(secret.exists, READY_SECONDS, "ZeroTier's controller runs")
        self._network = (hub / "identity.public").read_text().split(":")[0] + "000001"
        url = f"http://127.0.0.1:{PORT}/controller/network/{self._network}"
        header = f"X-ZT1-Auth: {secret.read_text()}"
        rig.hub.run(
            ["curl", "-sf", "--retry", "20", "--retry-connrefused", "-H", header, "-d", '{"private": false}', url]
        )

    def start(self, rig: Rig) -> None:
        for host in (rig.b, rig.a):
            home = self._homes[host.name]
            self.end(host, _command(home))
            join = ["zerotier-cli", f"-D{home}", "join", self._network]
            wait_until(lambda join=join, host=host: _succeeds(host, join), READY_SECONDS, "ZeroTier joins")  # type: ignore[misc]
            wait_until(lambda host=host: _device(host), READY_SECONDS, "ZeroTier makes its device")  # type: ignore[misc]
            bring_up(host, _device(host), OVERLAY.of(rig, host))


def _command(home: Path) -> list[str]:
    return ["zerotier-one", "-U", f"-p{PORT}", str(home)]


def _succeeds(host: Host, command: list[str]) -> bool:
    return host.run(command, check=False).returncode == 0


def _device(host: Host) -> str:
    """The name it chose; "" while there is none."""
    links = json.loads(host.run(["ip", "-json", "link", "show"]).stdout)
    return next((str(link["ifname"]) for link in links if link["ifname"].startswith("zt")), "")


def _make_moon(host: Host, home: Path) -> Path:
    host.run(["zerotier-idtool", "generate", str(home / "identity.secret"), str(home / "identity.public")])
    moon = json.loads(host.run(["zerotier-idtool", "initmoon", str(home / "identity.public")]).stdout)
    moon["roots"][0]["stableEndpoints"] = [f"{host.address4}/{PORT}"]
    (home / "moon.json").write_text(json.dumps(moon))
    host.run(["sh", "-c", f"cd {home} && zerotier-idtool genmoon moon.json"])
    return next(home.glob("*.moon"))
