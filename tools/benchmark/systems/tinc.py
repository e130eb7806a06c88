"""tinc 1.0 in switch mode, AES-256-CBC with SHA-256 (what its 1.0.36 takes by default; there is no AEAD)."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from benchmark.rig import Rig
from benchmark.systems.base import OVERLAY, OVERLAY_PREFIX, READY_SECONDS, Daemons, directory_of
from l2mesh.lab import Host, Process, wait_until

DEVICE = "tinc0"
CONFIGURATION = """\
Name = {name}
AddressFamily = ipv4
Mode = switch
Interface = {device}
{connect}
"""
HOST_FILE = """\
Address = {address}
Cipher = aes-256-cbc
Digest = sha256
{public_key}"""
TINC_UP = """\
#!/bin/sh
ip address add {address}/{prefix} dev $INTERFACE
ip link set dev $INTERFACE up
"""
MTU_SECONDS = 20.0
MTU_FIXED = re.compile(r"pmtu (\d+) \(min \1 max \1\)")
"""In its list of nodes, of the other one. Until it has found the path's MTU it sends larger frames by TCP."""


class Tinc(Daemons):
    name = "tinc"
    title = "tinc 1.0"
    programs = ("tincd",)

    def prepare(self, rig: Rig) -> None:
        hosts = (rig.a, rig.b)
        keys = {host.name: generate_private_key(public_exponent=65537, key_size=2048) for host in hosts}
        self._directories = {host.name: directory_of(rig, f"tinc-{host.name}") for host in hosts}
        names = dict(zip((rig.a.name, rig.b.name), "ab", strict=True))
        for host in hosts:
            directory = self._directories[host.name]
            (directory / "hosts").mkdir()
            connect = "ConnectTo = b" if host is rig.a else ""
            configuration = CONFIGURATION.format(name=names[host.name], device=DEVICE, connect=connect)
            (directory / "tinc.conf").write_text(configuration)
            (directory / "rsa_key.priv").write_text(_private(keys[host.name]))
            (directory / "rsa_key.priv").chmod(0o600)
            up = directory / "tinc-up"
            up.write_text(TINC_UP.format(address=OVERLAY.of(rig, host), prefix=OVERLAY_PREFIX))
            up.chmod(0o755)
            for known in hosts:
                text = HOST_FILE.format(address=known.address4, public_key=_public(keys[known.name]))
                (directory / "hosts" / names[known.name]).write_text(text)

    def start(self, rig: Rig) -> None:
        # The one that is connected to comes first: tinc tries again only after 5 s.
        for host in (rig.b, rig.a):
            self._start_end(host, self._directories[host.name]).wait_for_line("Ready", READY_SECONDS)

    def _start_end(self, host: Host, directory: Path) -> Process:
        return self.end(host, ["tincd", "-c", str(directory), "-D", "-d1", f"--pidfile={directory / 'pid'}"])

    def settle(self, rig: Rig) -> None:
        for process in self._ends:
            wait_until(lambda process=process: _mtu_is_fixed(process), MTU_SECONDS, "tinc finds the MTU", 0.1)  # type: ignore[misc]


def _mtu_is_fixed(process: Process) -> bool:
    seen = process.mark()
    process.signal(signal.SIGUSR2)  # lists its nodes
    process.wait_for_line("End of subnet list", after=seen)
    return MTU_FIXED.search(process.text()[seen:]) is not None


def _private(key: RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def _public(key: RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()
