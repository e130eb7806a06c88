"""`l2mesh edge`: from a network file to a port of the switch that runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from hashlib import blake2s
from typing import TYPE_CHECKING, Any

import netifaces

from l2mesh.app import config as configuration
from l2mesh.app import keyfiles, logs
from l2mesh.app.daemon import Daemon, log, open_sockets, open_state, run_until_done
from l2mesh.app.errors import CommandError
from l2mesh.app.management.ping import PingBoard
from l2mesh.app.management.routes import edge_routes
from l2mesh.app.management.server import ManagementServer
from l2mesh.app.membership import Membership, membership
from l2mesh.app.port_mapping import PortMappings
from l2mesh.core.edge import EdgeEngine, EdgeSettings, SupernodeName
from l2mesh.core.events import ProbeAnswered, SupernodeLost, SupernodeTrusted
from l2mesh.core.peer import Identity, Role
from l2mesh.core.reach import RelayPolicy
from l2mesh.core.session_node import Surroundings
from l2mesh.crypto.aead import suites_by_speed
from l2mesh.crypto.keys import decode_key
from l2mesh.shell.clock import now, wall_offset
from l2mesh.shell.cpu import aes_is_fast
from l2mesh.shell.link import LinkSettings, configure_link
from l2mesh.shell.netlink import NetworkWatch, local_hosts, networks_of
from l2mesh.shell.resolver import resolve
from l2mesh.shell.tap import Tap
from l2mesh.wire.address import Address

if TYPE_CHECKING:
    from pathlib import Path

    from l2mesh.app.config import EdgeConfig
    from l2mesh.app.directories import RunAs
    from l2mesh.app.state_file import StateFile
    from l2mesh.app.values import StunAddress, SupernodeAddress
    from l2mesh.crypto.keys import StaticKey
    from l2mesh.shell.udp import UdpSocket

INSTANCE_SIZE = 8
RESOLVE_AGAIN_S = 300.0
"""A supernode may move to another address: ask DNS again this often, and at once when it is lost."""
COMMAND_TIMEOUT_S = 60.0


def run_edge(path: Path) -> None:
    """Run until a signal. Raises ConfigError, ShellError, CommandError, OSError."""
    config = configuration.load_edge(path)
    logs.set_up(config.log_level)
    for warning in config.warnings:
        log.warning("%s", warning)
    key, made = keyfiles.load_or_make_static_key(config.node.key)
    if made:
        log.info("made the private key %s", config.node.key)
    proof = membership(config, key, now() + wall_offset())
    for warning in proof.warnings:
        log.warning("%s", warning)
    state = open_state(config.node.state / f"{config.network.name}.{config.node.name}", config.node.user)
    with ExitStack() as stack:
        sockets = open_sockets(config.transport.listen, state)
        for socket in sockets:
            stack.callback(socket.close)
        tap = Tap(config.tap.device)
        stack.callback(tap.close)
        mac = config.tap.mac or mac_of(key.public)
        configure_link(_link_settings(config, mac))
        engine = make_engine(config, key, proof, state, mac, uso=tap.features.uso)
        run_command(config, config.tap.up, "up")
        stack.callback(_run_down, config)
        run_until_done(EdgeDaemon(config, engine, sockets, tap, state))


def mac_of(public_key: bytes) -> bytes:
    """A locally administered unicast address that a node always has, and nobody else (IEEE 802, 8.2.2)."""
    digest = bytearray(blake2s(b"l2mesh mac" + public_key, digest_size=6).digest())
    digest[0] = digest[0] & 0xFC | 0x02
    return bytes(digest)


def make_engine(
    config: EdgeConfig, key: StaticKey, proof: Membership, state: StateFile, mac: bytes, *, uso: bool
) -> EdgeEngine:
    identity = Identity(
        role=Role.EDGE,
        static=key,
        suites=suites_by_speed(aes_is_fast()),
        instance=os.urandom(INSTANCE_SIZE),
        network_id=proof.network_id,
        psk=proof.psk,
        certificate=proof.certificate,
    )
    settings = EdgeSettings(
        authority=proof.authority,
        mac=mac,
        supernodes=tuple(_supernode(one, state) for one in config.network.supernodes),
        relay=RelayPolicy(config.transport.relay),
        relay_for_others=config.transport.relay_for_others,
        birthday=config.transport.birthday,
        ageing_time=config.ageing_time,
        peers_max=config.limits.peers,
        macs_max=config.limits.macs,
        macs_per_peer_max=config.limits.macs_per_peer,
        uso=uso,
    )
    return EdgeEngine(
        identity,
        settings,
        Surroundings(os.urandom, state.timestamps(now() + wall_offset()), state.guard()),
        now(),
    )


def name_of(supernode: SupernodeAddress) -> str:
    """What a supernode is called in logs and state: as in the file, without its key."""
    return supernode.text.partition("#")[0]


def _supernode(address: SupernodeAddress, state: StateFile) -> SupernodeName:
    name = name_of(address)
    return SupernodeName(name, address.key or state.pin(name))


def _link_settings(config: EdgeConfig, mac: bytes) -> LinkSettings:
    return LinkSettings(
        device=config.tap.device,
        mtu=config.tap.mtu,
        mac=mac.hex(":"),
        addresses=tuple(str(address) for address in config.tap.addresses),
        bridge=config.tap.bridge,
    )


def run_command(config: EdgeConfig, command: str, key: str) -> None:
    """Run [tap] up or down in a shell, which finds the device's name in its environment. Raises CommandError."""
    if not command:
        return
    names = {
        "L2MESH_DEVICE": config.tap.device,
        "L2MESH_NETWORK": config.network.name,
        "L2MESH_NAME": config.node.name,
    }
    try:
        done = subprocess.run(
            command,
            shell=True,
            env=os.environ | names,
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CommandError(f"[tap] {key} = {command!r}: not done after {COMMAND_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise CommandError(f"[tap] {key} = {command!r}: exit status {done.returncode}")


def _run_down(config: EdgeConfig) -> None:
    try:
        run_command(config, config.tap.down, "down")
    except CommandError as error:
        log.warning("%s", error)


class EdgeDaemon(Daemon):
    def __init__(
        self,
        config: EdgeConfig,
        engine: EdgeEngine,
        sockets: list[UdpSocket],
        tap: Tap,
        state: StateFile,
    ) -> None:
        super().__init__(
            engine, sockets, tap, state=state, user=config.node.user, file=config.path, keep_net_admin=True
        )
        self._edge = engine
        self._config = config
        self._board = PingBoard()
        self._started_at = now()
        self._seen: object = None
        self._watch: NetworkWatch | None = None
        self._lost: dict[str, asyncio.Event] = {}
        self._mappings = PortMappings(config.transport, state, config.node.user.name)

    # ---- hooks

    def make_management(self, owner: RunAs | None) -> ManagementServer:
        routes = edge_routes(
            self._edge, self.driver, self._config, self._board, self._started_at, now, self._mappings.status
        )
        return ManagementServer(self._config.socket, routes, owner=(owner.uid, owner.gid) if owner else None)

    def ready_line(self) -> str:
        tap, node, network = self._config.tap, self._config.node, self._config.network
        return (
            f"device={tap.device} mac={self._edge.settings.mac.hex(':')} name={node.name} network={network.name}"
        )

    def started(self, loop: asyncio.AbstractEventLoop) -> None:
        self._mappings.start(loop, self._edge, self.driver, self._bound_ports())
        self._look_at_network()
        self._watch = NetworkWatch(loop, self._look_at_network)
        for supernode in self._config.network.supernodes:
            self.start_task(self._resolve(supernode))
        if self._edge.reach.direct:
            for server in self._config.transport.stun:
                self.start_task(self._resolve_stun(server))

    async def ending(self) -> None:
        await self._mappings.close()

    def on_event(self, event: Any) -> None:
        self._mappings.on_event(event)
        if isinstance(event, ProbeAnswered):
            self._board.answered(event)
        elif isinstance(event, SupernodeTrusted):
            self.state.remember_pin(event.supernode, decode_key(event.pinned.rpartition("#")[2], "key"))
        elif isinstance(event, SupernodeLost):
            self._lost[event.supernode].set()

    def reload(self) -> None:
        """What can change while running does; what cannot is named."""
        fresh = configuration.load_edge(self._config.path)
        proof = membership(fresh, self._edge.identity.static, now() + wall_offset())
        fixed = ("network", "node", "tap", "transport", "socket")
        changed = [name for name in fixed if getattr(fresh, name) != getattr(self._config, name)]
        for name in changed:
            log.warning("%s: [%s] changed: that takes a restart", fresh.path, name)
        logs.set_up(fresh.log_level)
        self._edge.identity = replace(self._edge.identity, certificate=proof.certificate)
        fdb = self._edge.switch.fdb
        fdb.ageing_time = fresh.ageing_time
        fdb.limit, fdb.limit_per_port = fresh.limits.macs, fresh.limits.macs_per_peer
        log.info("reloaded %s", fresh.path)

    # ---- the network around us

    def _look_at_network(self) -> None:
        """Tell the engine when addresses or default routes are other than before."""
        own = {self._config.tap.device, self._config.tap.bridge} - {""}
        hosts = self._listening_hosts(local_hosts(own))
        overlay = networks_of(own)
        seen = (sorted(hosts), overlay, repr(netifaces.gateways()))
        if seen == self._seen:
            return
        first, self._seen = self._seen is None, seen
        self._edge.set_overlay(overlay)
        self.driver.call(self._edge.set_local_addresses, hosts, self._bound_ports())
        if not first:
            log.info("addresses or routes changed: looking for paths again")
            self.driver.call(self._edge.network_changed)
        self._mappings.look(own)

    def _bound_ports(self) -> dict[int, int]:
        return {socket.version: socket.port for socket in self._sockets}

    def _listening_hosts(self, hosts: list[str]) -> list[str]:
        """Of all addresses of this host, those that a socket of ours listens on."""
        listening = {host for host, _ in self._config.transport.listen}
        return [host for host in hosts if host in listening or ("::" if ":" in host else "0.0.0.0") in listening]

    async def _resolve_stun(self, server: StunAddress) -> None:
        while True:
            addresses: list[Address] = await resolve(server.host, server.port)
            self.driver.call(self._edge.set_stun_addresses, server.text, addresses)
            await asyncio.sleep(RESOLVE_AGAIN_S)

    async def _resolve(self, supernode: SupernodeAddress) -> None:
        name = name_of(supernode)
        lost = self._lost[name] = asyncio.Event()
        while True:
            addresses: list[Address] = await resolve(supernode.host, supernode.port)
            self.driver.call(self._edge.set_supernode_addresses, name, addresses)
            lost.clear()
            try:
                await asyncio.wait_for(lost.wait(), RESOLVE_AGAIN_S)
            except TimeoutError:
                continue
