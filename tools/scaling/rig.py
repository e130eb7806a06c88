"""Three hosts around a router, and the daemons on them.

supernode ── core ── edge
              │
            others      the process whose engines are peers, or registered edges
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import toml
from benchmark import processes

from l2mesh.app.directories import user_named
from l2mesh.app.files import PRIVATE
from l2mesh.crypto.keys import StaticKey, decode_key
from l2mesh.lab import Host, Lab, Process
from l2mesh.wire.address import Address

PREFIX: Final = "l2s"
SUPERNODE_PORT: Final = 7777
READY_SECONDS: Final = 20.0
DEVICE: Final = "l2m0"

Tables = Mapping[str, Mapping[str, Any]]


class Rig:
    """`with Rig() as rig:` builds it; at the end all programs are ended, all namespaces gone."""

    supernode_host: Host
    edge_host: Host
    others_host: Host
    supernode: Process
    supernode_key: bytes

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="l2mesh-scale-")))
            self.directory.chmod(0o755)
            lab = stack.enter_context(Lab(prefix=PREFIX, directory=self.directory))
            self.supernode_host = lab.public_host("supernode")
            self.edge_host = lab.public_host("edge")
            self.others_host = lab.public_host("others")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def supernode_address(self) -> Address:
        return self.supernode_host.address4, SUPERNODE_PORT

    @property
    def others_settings(self) -> dict[str, Any]:
        """What every swarm has to know."""
        return {
            "host": self.others_host.address4,
            "supernode": self.supernode_address,
            "supernode_key": self.supernode_key.hex(),
        }

    def start_supernode(self) -> None:
        """Start it, or start it again with what it remembers."""
        directory = self._directory("supernode")
        tables: Tables = {"supernode": {"state": "state", "listen": [f"0.0.0.0:{SUPERNODE_PORT}"]}}
        file = self._write(directory / "supernode.toml", tables)
        self.supernode = self._daemon(self.supernode_host, "supernode", file)
        ready = self.supernode.wait_for_line(r"ready: .* key=(\S+)", READY_SECONDS)
        self.supernode_key = decode_key(ready[1], "key")

    def start_edge(self, key: StaticKey, secret: bytes) -> Process:
        """Returns at once. Peers come to know it by `key`."""
        directory = self._directory("edge")
        key_file = directory / "edge.key"
        key_file.write_bytes(key.to_pem())
        key_file.chmod(PRIVATE)
        host, port = self.supernode_address
        tables: Tables = {
            "network": {
                "name": "scale",
                "secret": base64.b64encode(secret).decode(),
                "supernodes": [f"{host}:{port}"],
            },
            "node": {"name": "edge", "key": str(key_file), "state": "state"},
            "tap": {"device": DEVICE, "addresses": ["10.77.0.1/16"]},
            "transport": {"listen": ["0.0.0.0:7001"]},
            "limits": {"peers": 65536},
        }
        return self._daemon(self.edge_host, "edge", self._write(directory / "scale.toml", tables))

    def _daemon(self, host: Host, verb: str, file: Path) -> Process:
        return host.popen([sys.executable, "-m", "l2mesh", verb, str(file)], name=verb)

    def _directory(self, name: str) -> Path:
        """One that a daemon can keep its state and its socket in when it is nobody."""
        directory = self.directory / name
        directory.mkdir(mode=0o755, exist_ok=True)
        nobody = user_named("nobody")
        os.chown(directory, nobody.uid, nobody.gid)
        return directory

    def _write(self, file: Path, tables: Tables) -> Path:
        file.write_text(toml.dumps({**tables, "management": {"socket": "l2mesh.sock"}}))
        file.chmod(PRIVATE)
        return file


class CpuMeter:
    """CPU of a process: `busy()` is its share of a core since the last call."""

    def __init__(self, process: Process) -> None:
        self._pid = process.pid
        self._at, self._used = self._look()

    def busy(self) -> float:
        at, used = self._at, self._used
        self._at, self._used = self._look()
        return (self._used - used) / (self._at - at)

    def _look(self) -> tuple[float, float]:
        return time.monotonic(), processes.cpu_seconds([self._pid])


def resident_bytes(process: Process) -> int:
    """VmRSS: what it has in memory now."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == "VmRSS":
            return int(value.split()[0]) * 1024
    return 0
