"""The programs: a supernode with two addresses x two ports, edges, and what they say of themselves."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import toml

from l2mesh.app.directories import user_named
from l2mesh.app.errors import CommandError
from l2mesh.app.files import PRIVATE
from l2mesh.app.management.client import ManagementClient
from l2mesh.lab import Host, Lab, LabError, Process

PORTS: Final = (7777, 7778)
DEVICE: Final = "l2m0"
SOCKET: Final = "l2mesh.sock"
READY_S: Final = 20.0
READY_POLL_S: Final = 0.002

Document = dict[str, Any]
Tables = Mapping[str, Mapping[str, Any]]


def new_secret() -> str:
    return base64.b64encode(os.urandom(32)).decode()


@dataclass(eq=False)
class Daemon:
    """`l2mesh VERB FILE`. `ready_at`: monotonic seconds."""

    name: str
    verb: str
    host: Host
    file: Path
    ready_at: float = 0.0
    started: list[Process] = field(default_factory=list)

    @property
    def process(self) -> Process:
        return self.started[-1]

    def launch(self) -> None:
        command = [sys.executable, "-m", "l2mesh", self.verb, str(self.file)]
        self.started.append(self.host.popen(command, name=self.name))

    def get(self, what: str) -> Document:
        """The document of /v1/WHAT. LabError."""
        return self._ask(lambda client: client.get(f"/v1/{what}"))

    def _ask(self, question: Callable[[ManagementClient], bytes]) -> Document:
        try:
            document: Document = json.loads(question(ManagementClient(self.file.with_name(SOCKET))))
        except CommandError as error:
            raise LabError(f"{self.name}: {error}; its log ends:\n{self.process.tail()}") from None
        return document


@dataclass(eq=False)
class Edge(Daemon):
    address: str = ""

    def peer(self, name: str) -> Document:
        """Its document on a peer; empty for one it does not know."""
        return next((one for one in self.get("peers")["peers"] if one["name"] == name), {})

    def why(self, name: str) -> Document:
        """What `l2mesh why` shows."""
        return self._ask(lambda client: client.post("/v1/why", {"peer": name}))

    def path_to(self, name: str) -> str | None:
        """direct or relay; None when it is not up."""
        peer = self.peer(name)
        return peer["path"] if peer.get("state") == "up" else None


def wait_ready(*daemons: Daemon) -> None:
    """Until all said so; notes when. LabError."""
    waiting = list(daemons)
    end = time.monotonic() + READY_S
    while waiting:
        for daemon in list(waiting):
            if " ready: " in daemon.process.text():
                daemon.ready_at = time.monotonic()
                waiting.remove(daemon)
            elif daemon.process.poll() is not None or time.monotonic() > end:
                raise LabError(f"{daemon.name} did not become ready; its log ends:\n{daemon.process.tail()}")
        time.sleep(READY_POLL_S)


class Programs:
    """Writes the files and makes the daemons of one network (and of further ones)."""

    def __init__(self, lab: Lab, directory: Path) -> None:
        """Daemons become nobody, so `directory` is one that others may enter."""
        self._lab = lab
        self._directory = directory
        self._secret = new_secret()
        self.supernodes: list[Daemon] = []

    def supernode(self, name: str = "supernode") -> Daemon:
        """On a public host with two addresses. Not started."""
        host = self._lab.public_host(name, addresses=2)
        addresses = [*host.addresses4, *(f"[{address}]" for address in host.addresses6)]
        listen = [f"{address}:{port}" for address in addresses for port in PORTS]
        file = self._write(name, "supernode.toml", {"supernode": {"listen": listen, "state": "state"}})
        made = Daemon(name, "supernode", host, file)
        self.supernodes.append(made)
        return made

    def edge(self, host: Host, number: int, *, name: str = "", port: int = 0, foreign: bool = False) -> Edge:
        """Not started. `port`: its local port, 0 for a random one. `foreign`: of a network of its own."""
        name = name or host.name
        tables: Tables = {
            "network": {
                "name": "traversal",
                "secret": new_secret() if foreign else self._secret,
                "supernodes": [f"{one.host.address4}:{PORTS[0]}" for one in self.supernodes],
            },
            "node": {"name": name, "state": "state"},
            "tap": {"device": DEVICE, "addresses": [f"10.77.0.{number}/24"]},
            "transport": {"listen": [f"0.0.0.0:{port}", f"[::]:{port}"]},
        }
        return Edge(name, "edge", host, self._write(name, "traversal.toml", tables), address=f"10.77.0.{number}")

    def _write(self, name: str, file_name: str, tables: Tables) -> Path:
        directory = self._directory / name
        directory.mkdir(mode=0o755)
        nobody = user_named("nobody")
        os.chown(directory, nobody.uid, nobody.gid)
        file = directory / file_name
        file.write_text(toml.dumps({**tables, "management": {"socket": SOCKET}}))
        file.chmod(PRIVATE)
        return file


def stop(*daemons: Daemon) -> None:
    """SIGTERM, and wait."""
    for daemon in daemons:
        with suppress(LabError):
            daemon.process.terminate()
