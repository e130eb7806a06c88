"""Nebula (layer 3), AES-256-GCM, each host knowing the other's address: no lighthouse."""

from __future__ import annotations

from pathlib import Path

from benchmark.rig import Rig
from benchmark.systems.base import OVERLAY, OVERLAY_PREFIX, READY_SECONDS, Daemons, directory_of
from l2mesh.lab import Host

PORT = 4242
DEVICE = "nebula0"
MTU = 1300  # its default
CONFIGURATION = """\
pki:
  ca: {directory}/ca.crt
  cert: {directory}/host.crt
  key: {directory}/host.key
static_host_map:
  "{other_overlay}": ["{other}:{port}"]
lighthouse:
  am_lighthouse: false
  hosts: []
listen:
  host: 0.0.0.0
  port: {port}
cipher: aes
tun:
  dev: {device}
  mtu: {mtu}
logging:
  level: info
firewall:
  outbound:
    - {{port: any, proto: any, host: any}}
  inbound:
    - {{port: any, proto: any, host: any}}
"""


class Nebula(Daemons):
    name = "nebula"
    title = "Nebula (L3)"
    programs = ("nebula", "nebula-cert")

    def prepare(self, rig: Rig) -> None:
        authority = directory_of(rig, "nebula-ca")
        _cert(rig.a, "ca", {"name": "bench", "out-crt": authority / "ca.crt", "out-key": authority / "ca.key"})
        for host, other in ((rig.a, rig.b), (rig.b, rig.a)):
            self._prepare_end(rig, host, other, authority)

    def _prepare_end(self, rig: Rig, host: Host, other: Host, authority: Path) -> None:
        directory = directory_of(rig, f"nebula-{host.name}")
        (directory / "ca.crt").write_bytes((authority / "ca.crt").read_bytes())
        signed: dict[str, str | Path] = {
            "name": host.name,
            "ip": f"{OVERLAY.of(rig, host)}/{OVERLAY_PREFIX}",
            "ca-crt": authority / "ca.crt",
            "ca-key": authority / "ca.key",
            "out-crt": directory / "host.crt",
            "out-key": directory / "host.key",
        }
        _cert(host, "sign", signed)
        (directory / "config.yml").write_text(
            CONFIGURATION.format(
                directory=directory,
                other_overlay=OVERLAY.of(rig, other),
                other=other.address4,
                port=PORT,
                device=DEVICE,
                mtu=MTU,
            )
        )

    def start(self, rig: Rig) -> None:
        files = [(host, rig.directory / f"nebula-{host.name}" / "config.yml") for host in (rig.b, rig.a)]
        started = [self.end(host, ["nebula", "-config", str(file)]) for host, file in files]
        for process in started:
            process.wait_for_line("Nebula interface is active", READY_SECONDS)


def _cert(host: Host, verb: str, options: dict[str, str | Path]) -> None:
    host.run(["nebula-cert", verb, *(word for key, value in options.items() for word in (f"-{key}", str(value)))])
