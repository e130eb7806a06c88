"""Real `l2mesh` processes in a lab: the helper of the tests in here.

    with Mesh(lab, directory) as mesh:
        mesh.supernode("supernode")                                 # on a public host of its own
        alice, bob = mesh.edge("alice"), mesh.edge("bob")           # at homes of their own
        mesh.start()
        alice.wait_up("bob")
        alice.ping(bob)

A party has a directory, which the real `l2mesh init` (or request and sign) fills, and a number N: its overlay
addresses are 10.98.0.N and fd98::N.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import sys
import time
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import toml
from click.testing import CliRunner

from l2mesh.app.cli import cli
from l2mesh.app.directories import user_named
from l2mesh.lab import Host, Lab, Nat, Process, Site, nat, wait_until

PORT = 7777
DEVICE = "l2m0"
UP_S = 10.0  # deadline of what is not measured: machines are busy when tests run side by side
Tables = Mapping[str, Mapping[str, Any]]


def l2mesh(*arguments: str, stdin: str = "") -> str:
    """What the command prints; run in this process, and to succeed."""
    done = CliRunner().invoke(cli, list(arguments), input=stdin, prog_name="l2mesh")
    assert done.exit_code == 0, done.output
    return done.output


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("l", timeout=5.0)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5.0)
        self.sock.connect(str(self._path))


@dataclass(eq=False)
class Daemon:
    """`l2mesh VERB FILE` in the namespace of a host, over and over if need be."""

    verb: str
    name: str
    host: Host
    file: Path
    running: Process | None = None

    @property
    def process(self) -> Process:
        assert self.running, f"{self.name} was not started"
        return self.running

    @property
    def socket(self) -> Path:
        return self.file.with_name("l2mesh.sock")

    def launch(self, prefix: Sequence[str] = ()) -> Process:
        """Start, and do not wait."""
        command = [*prefix, sys.executable, "-m", "l2mesh", self.verb, str(self.file)]
        self.running = self.host.popen(command, name=self.name)
        return self.running

    def wait_ready(self) -> re.Match[str]:
        return self.process.wait_for_line("ready: (.*)", UP_S)

    def start(self) -> None:
        self.launch()
        self.wait_ready()

    def get(self, what: str) -> Any:
        """The document of `/v1/WHAT`."""
        connection = UnixConnection(self.socket)
        try:
            connection.request("GET", f"/v1/{what}")
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            return json.loads(text)
        finally:
            connection.close()

    def drops(self) -> dict[str, int]:
        """Counts by reason."""
        found: dict[str, int] = self.get("status")["drops"]
        return found

    def memory_kb(self) -> int:
        """What it has resident."""
        return int(self.process_status()["VmRSS"].split()[0])

    def process_status(self) -> dict[str, str]:
        """/proc/PID/status."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


class Supernode(Daemon):
    @property
    def address(self) -> str:
        return f"{self.host.address4}:{PORT}"

    @property
    def udp(self) -> tuple[str, int]:
        return self.host.address4, PORT

    def registered(self, network: str | None = None) -> set[str]:
        """Names of the edges it lists."""
        return {peer["name"] for peer in self.get("peers")["peers"]}


@dataclass(eq=False)
class Edge(Daemon):
    number: int = 0
    device: str = DEVICE

    @property
    def address4(self) -> str:
        return f"10.98.0.{self.number}"

    @property
    def address6(self) -> str:
        return f"fd98::{self.number:x}"

    # What it says of itself.

    def peer(self, name: str) -> dict[str, Any]:
        """Its document on a peer; empty for one it does not know."""
        found = [peer for peer in self.get("peers")["peers"] if peer["name"] == name]
        return found[0] if found else {}

    def path_to(self, name: str) -> str | None:
        """direct or relay; None when it is not up."""
        peer = self.peer(name)
        return peer["path"] if peer.get("state") == "up" else None

    def stations(self) -> dict[str, str]:
        """The forwarding database: MAC -> name of the peer, or local."""
        return {one["mac"]: one["port"] for one in self.get("fdb")["stations"]}

    def udp_port(self) -> int:
        return int(self.get("status")["listen"][0].rpartition(":")[2])

    def mac(self) -> str:
        return str(self.get("status")["mac"])

    def wait_path(self, path: str | None, *names: str, deadline_s: float = UP_S) -> None:
        """Until the path to each of these is direct, relay, or None for not up."""
        for name in names:
            wait_until(
                lambda name=name: self.path_to(name) == path,  # type: ignore[misc]
                deadline_s,
                f"{self.name}: path to {name} is {path}",
                poll_s=0.01,
            )

    # What its host does.

    def ping(self, other: Edge | str, *options: str, check: bool = True) -> bool:
        """One ping to its overlay address, in at most 1 s, with further options."""
        address = other if isinstance(other, str) else other.address4
        return self.pings([address, *options], check=check)

    def pings(self, arguments: Iterable[str], *, check: bool = True) -> bool:
        done = self.host.run(["ping", "-n", "-c1", "-W1", *arguments], check=check, timeout=20)
        return done.returncode == 0

    def wait_ping(self, other: Edge, deadline_s: float) -> float:
        """Seconds until a ping is answered. A new one every 50 ms, each by itself."""
        begun = time.monotonic()
        command = ["ping", "-n", "-c1", "-W0.05", other.address4]
        wait_until(
            lambda: self.host.run(command, check=False).returncode == 0,
            deadline_s,
            f"{self.name} pings {other.name}",
        )
        return time.monotonic() - begun


def write_tables(file: Path, extra: Tables) -> None:
    """Add to a TOML file."""
    tables = tomllib.loads(file.read_text())
    for name, table in extra.items():
        tables.setdefault(name, {}).update(table)
    file.write_text(toml.dumps(tables))


@dataclass(eq=False)
class Mesh:
    """Supernodes, and the parties of one network or of several."""

    lab: Lab
    directory: Path
    supernodes: list[Supernode] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    sites: dict[str, Site] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Edge:
        return next(edge for edge in self.edges if edge.name == name)

    def site(self, name: str, kind: Nat = nat.HOME, **options: Any) -> Site:
        """As Lab.site; found again in `sites`."""
        self.sites[name] = self.lab.site(name, kind, **options)
        return self.sites[name]

    def party_directory(self, name: str) -> Path:
        """One that the unprivileged daemon can keep its state and its socket in."""
        directory = self.directory / name
        directory.mkdir(mode=0o755)
        nobody = user_named("nobody")
        os.chown(directory, nobody.uid, nobody.gid)
        return directory

    def supernode(self, host: Host | str, name: str | None = None) -> Supernode:
        """Not started. A text instead of a host: on a public host of its own."""
        if isinstance(host, str):
            host = self.lab.public_host(host)
        name = name or host.name
        file = self.party_directory(name) / "supernode.toml"
        file.write_text(toml.dumps({"supernode": {"state": "state"}, "management": {"socket": "l2mesh.sock"}}))
        made = Supernode("supernode", name, host, file)
        self.supernodes.append(made)
        return made

    def init(
        self,
        name: str,
        number: int,
        *options: str,
        network: str = "office",
        supernodes: Sequence[str] | None = None,
        stdin: str = "",
        verb: str = "init",
    ) -> Path:
        """The real `l2mesh init` in the party's directory. Returns its network file."""
        directory = self.directory / name
        if not directory.exists():
            self.party_directory(name)
        arguments = [verb, network, "--node", name, "--dir", str(directory)]
        arguments += ["--address", f"10.98.0.{number}/24", "--address", f"fd98::{number:x}/64"]
        for one in supernodes if supernodes is not None else [one.address for one in self.supernodes]:
            arguments += ["--supernode", one]
        l2mesh(*arguments, *options, stdin=stdin)
        file = directory / f"{network}.toml"
        write_tables(file, {"node": {"state": "state"}, "management": {"socket": "l2mesh.sock"}})
        return file

    def edge(
        self,
        host: Host | str,
        *,
        name: str | None = None,
        network: str = "office",
        number: int | None = None,
        supernodes: Sequence[str] | None = None,
        **extra: Mapping[str, Any],
    ) -> Edge:
        """A party of a shared-secret network; not started. `extra`: tables of its file.

        A text instead of a host: at home behind a NAT of its own.
        """
        if isinstance(host, str):
            host = self.site(host).host
        name = name or host.name
        number = number if number is not None else len(self.edges) + 1
        secret = self.secrets.get(network)
        options = ["--secret", "-"] if secret else []
        file = self.init(name, number, *options, network=network, supernodes=supernodes, stdin=secret or "")
        # Home routers of the lab have none to ask, and each edge would be some seconds at it.
        write_tables(file, {"transport": {"port_mapping": False}})
        write_tables(file, extra)
        self.secrets.setdefault(network, tomllib.loads(file.read_text())["network"]["secret"])
        return self.add(host, file, number, name)

    def add(self, host: Host, file: Path, number: int, name: str) -> Edge:
        """A party whose files are there."""
        tap = tomllib.loads(file.read_text()).get("tap", {})
        made = Edge("edge", name, host, file, number=number, device=tap.get("device", DEVICE))
        self.edges.append(made)
        return made

    def start(self) -> None:
        """All that do not run, supernodes first, and wait for their ready lines."""
        for daemons in (self.supernodes, self.edges):
            waiting = [daemon for daemon in daemons if daemon.running is None]
            for daemon in waiting:
                daemon.launch()
            for daemon in waiting:
                daemon.wait_ready()

    def wait_up(self, path: str | None = None) -> None:
        """Until every edge has every other (by `path`)."""
        for edge in self.edges:
            for other in self.edges:
                if other is not edge:
                    edge_has(edge, other, path)


def edge_has(edge: Edge, other: Edge, path: str | None) -> None:
    wanted = {path} if path else {"direct", "relay"}
    what = f"{edge.name} has {other.name} by {' or '.join(sorted(wanted))}"
    wait_until(lambda: edge.path_to(other.name) in wanted, UP_S, what, poll_s=0.01)
