"""WireGuard (layer 3), ChaCha20-Poly1305: in the kernel, and as the Go program."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from benchmark.rig import Rig
from benchmark.systems.base import OVERLAY, OVERLAY_PREFIX, READY_SECONDS, Daemons, bring_up, directory_of
from benchmark.systems.raw import kernel_lacks
from l2mesh.lab import Host, wait_until

PORT = 51_820
MTU = 1420  # its default
SOCKETS = Path("/var/run/wireguard")
GO_ENVIRONMENT = {"WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1", "LOG_LEVEL": "error"}


class WireGuard(Daemons):
    name = "wireguard"
    title = "WireGuard (L3, kernel)"
    programs: tuple[str, ...] = ("wg",)

    def available(self) -> str | None:
        return super().available() or kernel_lacks("wireguard")

    def prepare(self, rig: Rig) -> None:
        # wireguard-go's sockets are named after its devices, and namespaces share the file system.
        self._devices = {host.name: f"l2b{os.getpid()}{end}" for host, end in ((rig.a, "a"), (rig.b, "b"))}
        keys = {host.name: X25519PrivateKey.generate() for host in (rig.a, rig.b)}
        self._public = {name: _base64(key.public_key().public_bytes_raw()) for name, key in keys.items()}
        self._key_files = {}
        for name, key in keys.items():
            file = directory_of(rig, f"wireguard-{name}") / "key"
            file.touch(mode=0o600)
            file.write_text(_base64(key.private_bytes_raw()))
            self._key_files[name] = file

    def start(self, rig: Rig) -> None:
        for host, other in ((rig.b, rig.a), (rig.a, rig.b)):
            device = self._devices[host.name]
            self._make_device(host, device)
            self._configure(host, other, device)
            bring_up(host, device, OVERLAY.of(rig, host), MTU)

    def _make_device(self, host: Host, device: str) -> None:
        host.ip([f"link add {device} type wireguard"])

    def _configure(self, host: Host, other: Host, device: str) -> None:
        peer = ["peer", self._public[other.name], "endpoint", f"{other.address4}:{PORT}"]
        allowed = ["allowed-ips", f"{OVERLAY.a}/{OVERLAY_PREFIX}"]
        own = ["private-key", str(self._key_files[host.name]), "listen-port", str(PORT)]
        host.run(["wg", "set", device, *own, *peer, *allowed])


class WireGuardGo(WireGuard):
    name = "wireguard-go"
    title = "wireguard-go (L3)"
    programs = ("wg", "wireguard-go")

    def available(self) -> str | None:
        return Daemons.available(self)

    def _make_device(self, host: Host, device: str) -> None:
        self.end(host, ["wireguard-go", "-f", device], env=GO_ENVIRONMENT)
        wait_until((SOCKETS / f"{device}.sock").exists, READY_SECONDS, "wireguard-go listens")

    def stop(self) -> None:
        super().stop()
        for device in getattr(self, "_devices", {}).values():
            (SOCKETS / f"{device}.sock").unlink(missing_ok=True)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
