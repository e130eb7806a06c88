"""l2mesh itself: real daemons, a shared-secret network, one supernode on the hub."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import toml

from benchmark.errors import BenchmarkError
from benchmark.rig import Rig
from benchmark.systems.base import OVERLAY, OVERLAY_PREFIX, READY_SECONDS, Daemons, directory_of
from l2mesh.app.directories import user_named
from l2mesh.app.management.client import ManagementClient, decode
from l2mesh.app.management.documents import EdgePeer, EdgePeers
from l2mesh.lab import Host, wait_until

PORT = 7777
PATH_SECONDS = 15.0
FULL_DATAGRAM = 1400
"""Bytes: the search for the path's MTU (1500 here) is past its start."""
FULL_DATAGRAM_SECONDS = 3.0


class DirectMesh(Daemons):
    """`bystanders` more edges of the network are on hosts of their own, and idle."""

    name = "l2mesh"
    title = "l2mesh"
    path = "direct"
    bystanders = 0

    def __init__(self) -> None:
        super().__init__()
        self._secret = base64.b64encode(os.urandom(32)).decode()

    def prepare(self, rig: Rig) -> None:
        directory = _own(directory_of(rig, "supernode"))
        tables = {"supernode": {"state": "state", "listen": [f"0.0.0.0:{PORT}"]}, **_management()}
        (directory / "supernode.toml").write_text(toml.dumps(tables))
        supernode = self.helper(rig.hub, _l2mesh("supernode", directory / "supernode.toml"))
        supernode.wait_for_line("ready: ", READY_SECONDS)
        others = [rig.add_host(f"bystander{i}") for i in range(self.bystanders)]
        addresses = {rig.a: OVERLAY.a, rig.b: OVERLAY.b}
        addresses |= {host: f"10.77.0.{11 + i}" for i, host in enumerate(others)}
        self._files = {host: self._network_file(rig, host, address) for host, address in addresses.items()}

    def _network_file(self, rig: Rig, host: Host, address: str) -> Path:
        file = _own(directory_of(rig, host.name)) / "bench.toml"
        supernode = f"{rig.hub.address4}:{PORT}"
        tables = {
            "network": {"name": "bench", "secret": self._secret, "supernodes": [supernode]},
            "node": {"name": host.name, "state": "state"},
            "tap": {"addresses": [f"{address}/{OVERLAY_PREFIX}"]},
            **_management(),
        }
        file.write_text(toml.dumps(tables))
        file.chmod(0o600)
        return file

    def start(self, rig: Rig) -> None:
        ends = (rig.b, rig.a)
        for host in self._files.keys() - ends:
            self.helper(host, _l2mesh("edge", self._files[host]))
        started = [self.end(host, _l2mesh("edge", self._files[host])) for host in ends]
        for process in started:
            process.wait_for_line("ready: ", READY_SECONDS)

    def settle(self, rig: Rig) -> None:
        for host, other in ((rig.a, rig.b), (rig.b, rig.a)):
            self._settle_end(host, other.name)

    def _settle_end(self, host: Host, other: str) -> None:
        client = ManagementClient(self._files[host].with_name("l2mesh.sock"))

        def peers_up() -> dict[str, EdgePeer]:
            peers = decode(client.get("/v1/peers"), EdgePeers).peers
            return {peer.name: peer for peer in peers if peer.state == "up"}

        def settled() -> bool:
            up = peers_up()
            return len(up) == 1 + self.bystanders and other in up and up[other].path == self.path

        def full_size() -> bool:
            return (peers_up()[other].datagram_bytes or 0) >= FULL_DATAGRAM

        try:
            wait_until(settled, PATH_SECONDS, f"all peers are up, and the path is {self.path}", poll_s=0.02)
        except TimeoutError as error:
            raise BenchmarkError(f"{host.name}: {error}") from None
        with suppress(TimeoutError):  # then it is measured with what it has
            wait_until(full_size, FULL_DATAGRAM_SECONDS, "the path's MTU is found", poll_s=0.02)


class RelayedMesh(DirectMesh):
    """The two ends get no UDP from each other, so the supernode carries all."""

    name = "l2mesh-relay"
    title = "l2mesh relayed"
    path = "relay"

    def prepare(self, rig: Rig) -> None:
        rig.block_udp_between_hosts()
        super().prepare(rig)


class CrowdedMesh(DirectMesh):
    """With three peers, for the memory of an edge."""

    name = "l2mesh-3-peers"
    title = "l2mesh, 3 peers"
    measures: frozenset[str] | None = frozenset({"tcp", "flood64", "memory"})
    bystanders = 2


def _l2mesh(verb: str, file: Path) -> Sequence[str]:
    return [sys.executable, "-m", "l2mesh", verb, str(file)]


def _own(directory: Path) -> Path:
    """The daemon is nobody once it runs, and keeps its state and its socket in there."""
    nobody = user_named("nobody")
    os.chown(directory, nobody.uid, nobody.gid)
    return directory


def _management() -> dict[str, dict[str, str]]:
    return {"management": {"socket": "l2mesh.sock"}}
