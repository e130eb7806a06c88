"""`l2mesh supernode`: rendezvous and relay on a public host."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from l2mesh.app import config as configuration
from l2mesh.app import keyfiles, logs
from l2mesh.app.daemon import Daemon, log, open_sockets, open_state, run_until_done
from l2mesh.app.management.routes import supernode_routes
from l2mesh.app.management.server import ManagementServer
from l2mesh.core.peer import Identity, Role
from l2mesh.core.session_node import Surroundings
from l2mesh.core.supernode import SupernodeEngine, SupernodeSettings
from l2mesh.crypto.aead import suites_by_speed
from l2mesh.crypto.keys import NO_PSK, encode_key
from l2mesh.shell.clock import now, wall_offset
from l2mesh.shell.cpu import aes_is_fast
from l2mesh.shell.netlink import local_hosts
from l2mesh.wire.address import format_address

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from pathlib import Path

    from l2mesh.app.config import SupernodeConfig
    from l2mesh.app.directories import RunAs
    from l2mesh.app.state_file import StateFile
    from l2mesh.crypto.keys import StaticKey
    from l2mesh.shell.udp import UdpSocket

INSTANCE_SIZE = 8


def run_supernode(path: Path | None, listen: Sequence[str]) -> None:
    """Run until a signal. Raises ConfigError, ShellError, OSError."""
    config = configuration.load_supernode(path, listen)
    logs.set_up(config.log_level)
    state = open_state(config.state / "supernode", config.user)
    key, made = keyfiles.load_or_make_static_key(config.key)
    if made:
        log.info("made the private key %s", config.key)
    with ExitStack() as stack:
        sockets = open_sockets(config.listen, state)
        for socket in sockets:
            stack.callback(socket.close)
        run_until_done(SupernodeDaemon(config, make_engine(config, key, state), sockets, state))


def make_engine(config: SupernodeConfig, key: StaticKey, state: StateFile) -> SupernodeEngine:
    identity = Identity(
        role=Role.SUPERNODE,
        static=key,
        suites=suites_by_speed(aes_is_fast()),
        instance=os.urandom(INSTANCE_SIZE),
        network_id=NO_PSK,
        psk=NO_PSK,
        certificate=b"",
    )
    return SupernodeEngine(
        identity,
        SupernodeSettings(networks=frozenset(config.networks)),
        Surroundings(os.urandom, state.timestamps(now() + wall_offset()), state.guard()),
        now(),
    )


class SupernodeDaemon(Daemon):
    def __init__(
        self,
        config: SupernodeConfig,
        engine: SupernodeEngine,
        sockets: list[UdpSocket],
        state: StateFile,
    ) -> None:
        super().__init__(
            engine, sockets, None, state=state, user=config.user, file=config.path, keep_net_admin=False
        )
        self._supernode = engine
        self._config = config
        self._started_at = now()

    def make_management(self, owner: RunAs | None) -> ManagementServer:
        routes = supernode_routes(self._supernode, self.driver, self._started_at, now)
        return ManagementServer(self._config.socket, routes, owner=(owner.uid, owner.gid) if owner else None)

    def started(self, loop: asyncio.AbstractEventLoop) -> None:
        ports = {socket.version: socket.port for socket in self._sockets if not socket.number}
        self._supernode.set_listening([socket.address for socket in self._sockets])
        self.driver.call(self._supernode.set_local_addresses, local_hosts(), ports)

    def ready_line(self) -> str:
        addresses = " ".join(format_address(socket.address) for socket in self._sockets)
        return f"listening on {addresses} key={encode_key(self._supernode.identity.static.public)}"

    def reload(self) -> None:
        fresh = configuration.load_supernode(self._config.path)
        logs.set_up(fresh.log_level)
        self._supernode.set_networks(frozenset(fresh.networks))
        log.info("reloaded %s", fresh.path or "the defaults")
