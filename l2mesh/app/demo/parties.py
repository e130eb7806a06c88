"""The programs of the demo: their files, written as `l2mesh init` writes them, and the daemons themselves."""

from __future__ import annotations

import secrets
import sys
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from l2mesh.app import files, networks, toml_file
from l2mesh.app.errors import CommandError
from l2mesh.app.management.client import ManagementClient, decode
from l2mesh.app.management.documents import EdgePeer, EdgePeers
from l2mesh.app.values import parse_interface, parse_supernode
from l2mesh.crypto.keys import KEY_SIZE, encode_key
from l2mesh.lab import inside_user_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from l2mesh.app.demo.topology import Home, Topology
    from l2mesh.lab import Process

NETWORK: Final = "demo"
DEVICE: Final = "l2m0"
PREFIX_LENGTH: Final = 24
SOCKET: Final = "l2mesh.sock"
L2MESH: Final = [sys.executable, "-m", "l2mesh"]
TAIL_LINES: Final = 12

# All parties share this machine's file system: each keeps what it has beside its file.
OWN_STATE: Final = {"state": "state"}
MANAGEMENT: Final = {"management": {"socket": SOCKET}}


@dataclass(slots=True)
class Daemon:
    """A supernode or an edge. `ready_at`: monotonic seconds; None until it said so."""

    name: str
    command: str
    file: Path
    process: Process
    started_at: float
    ready_at: float | None = None

    def look(self) -> None:
        """Take note of its ready line. CommandError, with its log's end, if it has ended."""
        ended = self.process.poll()
        if ended is not None:
            raise CommandError(
                f"the daemon of {self.name} ended with status {ended}; its log ends:\n{self.tail()}"
            )
        if self.ready_at is None and " ready: " in self.process.text():
            self.ready_at = time.monotonic()

    def tail(self) -> str:
        return self.process.tail(TAIL_LINES)


@dataclass(slots=True, kw_only=True)
class Edge(Daemon):
    home: Home

    def peers(self) -> list[EdgePeer]:
        """CommandError."""
        client = ManagementClient(self.file.with_name(SOCKET))
        return decode(client.get("/v1/peers"), EdgePeers).peers


def start_supernode(topology: Topology, directory: Path) -> Daemon:
    file = _directory(directory / "supernode") / "supernode.toml"
    table: dict[str, Any] = {"listen": [topology.supernode_address], "key": "supernode.key"}
    tables = {"supernode": {**table, **OWN_STATE, **_user()}, **MANAGEMENT}
    toml_file.write_new(file, tables, files.PRIVATE)
    process = topology.supernode.popen([*L2MESH, "supernode", str(file)], name="supernode", cwd=file.parent)
    return Daemon("the supernode", f"l2mesh supernode {file}", file, process, time.monotonic())


def start_edges(topology: Topology, directory: Path) -> list[Edge]:
    """One secret, a network file for each party, and an edge that runs from it."""
    secret = encode_key(secrets.token_bytes(KEY_SIZE))
    written = [_write_network_file(home, topology, directory, secret) for home in topology.homes]
    return [_start_edge(home, file) for home, file in zip(topology.homes, written, strict=True)]


def _write_network_file(home: Home, topology: Topology, directory: Path, secret: str) -> Path:
    party = networks.Party(
        NETWORK,
        home.name,
        (parse_supernode(topology.supernode_address),),
        (parse_interface(f"{home.address}/{PREFIX_LENGTH}"),),
        _directory(directory / home.name),
    )
    with (directory / "init.log").open("a") as log, redirect_stdout(log):
        networks.node_key(party)
        networks.write_network_file(
            party,
            {"secret": secret},
            certificate=False,
            joining="Written by l2mesh demo.",
            more={"node": {**OWN_STATE, **_user()}, "tap": {"device": DEVICE}, **MANAGEMENT},
        )
    return party.file


def _start_edge(home: Home, file: Path) -> Edge:
    process = home.host.popen([*L2MESH, "edge", str(file)], name="edge", cwd=file.parent)
    return Edge(home.name, f"l2mesh edge {file}", file, process, time.monotonic(), home=home)


def _directory(path: Path) -> Path:
    """Passable: the daemons cease to be root, and have their state in it."""
    path.mkdir(mode=0o711)
    return path


def _user() -> dict[str, str]:
    """Whom a daemon becomes: in our user namespace there is nobody but root."""
    return {"user": "root"} if inside_user_namespace() else {}


def all_ready(daemons: Sequence[Daemon]) -> Callable[[], bool]:
    def ready() -> bool:
        for daemon in daemons:
            daemon.look()
        return all(daemon.ready_at is not None for daemon in daemons)

    return ready
