"""What the NAT before this host does, found out without an edge: the same survey as an edge's (core/nat_discovery)
on sockets of its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.nat_discovery import NatDiscovery
from l2mesh.core.reach import Reach, RelayPolicy
from l2mesh.shell.clock import now as boot_time
from l2mesh.shell.driver import Driver
from l2mesh.shell.errors import ShellError
from l2mesh.shell.netlink import local_hosts
from l2mesh.shell.resolver import resolve
from l2mesh.shell.udp import UdpSocket, open_side_socket
from l2mesh.wire.errors import BadPacket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from l2mesh.core.events import Event
    from l2mesh.core.nat import NatBehaviour
    from l2mesh.wire.address import Address

WITHIN_S: Final = 10.0
"""A survey of which nothing is answered takes half of it."""
RESOLVE_WITHIN_S: Final = 3.0
POLL_S: Final = 0.05


class Surveyor:
    """An engine (shell.driver.Engine) that has nothing but the discovery."""

    def __init__(self, now: float) -> None:
        self.drops = Drops()
        self.local_hosts = local_hosts(set())
        self.local_ports: dict[int, int] = {}
        self.nat = NatDiscovery(self, Reach(self, RelayPolicy.AUTO), now)
        self._trains: list[tuple[Address, bytes, int]] = []
        self._closing: list[int] = []

    # ---- what the discovery needs

    def send_plain(self, datagram: bytes, address: Address) -> None:
        self._trains.append((address, datagram, len(datagram)))

    def close_side_sockets(self, numbers: list[int]) -> None:
        self._closing += numbers

    def random_bytes(self, size: int) -> bytes:
        return os.urandom(size)

    def chance(self) -> float:
        return 0.5

    def nat_changed(self, now: float) -> None: ...
    def nat_sampled(self, now: float) -> None: ...
    def tell(self, event: Event) -> None: ...

    # ---- doors

    def start(self, now: float) -> None: ...

    def receive_datagrams(self, bursts: list[tuple[Address, memoryview, int]], now: float) -> None:
        for source, data, size in bursts:
            for at in range(0, len(data), size or 1):
                try:
                    self.nat.receive(source, bytes(data[at : at + size]), now)
                except BadPacket:
                    self.drops.count(DropReason.MALFORMED)

    def handle_timer(self, now: float) -> None:
        self.nat.handle_timer(now)

    def next_deadline(self) -> float:
        return self.nat.next_at()

    def receive_send_error(self, address: Address, errno: int, local: bool, now: float) -> None: ...

    def take_openers(self) -> list[tuple[Address, bytes, int]]:
        return []

    def take_datagrams(self) -> list[Any]:
        trains, self._trains = self._trains, []
        return trains

    def take_closing(self) -> list[int]:
        closing, self._closing = self._closing, []
        return closing

    def take_events(self) -> list[Any]:
        return []

    def close(self, now: float) -> None: ...


async def survey(servers: Sequence[tuple[str, int]]) -> dict[int, NatBehaviour]:
    """What was found by IP version; of those without a socket or an address of a server, nothing.

    ShellError when no socket can be had. Needs no privilege.
    """
    sockets = _sockets()
    engine = Surveyor(boot_time())
    engine.local_ports = {socket.version: socket.port for socket in sockets}
    driver = Driver(engine, sockets, loop=asyncio.get_running_loop(), open_side=partial(open_side_socket, sockets))
    driver.start()
    try:
        versions = await _ask(driver, engine, servers)
        end = boot_time() + WITHIN_S
        while boot_time() < end and any(engine.nat.behaviours[one].found_at is None for one in versions):
            await asyncio.sleep(POLL_S)
        return {version: engine.nat.behaviours[version] for version in versions}
    finally:
        driver.stop()
        for socket in sockets:
            socket.close()


async def _ask(driver: Driver[Surveyor], engine: Surveyor, servers: Sequence[tuple[str, int]]) -> set[int]:
    """The IP versions that are surveyed."""
    versions: set[int] = set()
    for host, port in servers:
        try:
            addresses = await asyncio.wait_for(resolve(host, port), RESOLVE_WITHIN_S)
        except TimeoutError:
            logging.getLogger("l2mesh").warning("%s: does not resolve", host)
            continue
        versions |= {6 if ":" in address[0] else 4 for address in addresses} & set(engine.local_ports)
        driver.call(engine.nat.set_servers, f"{host}:{port}", addresses)
    return versions


def _sockets() -> list[UdpSocket]:
    sockets: list[UdpSocket] = []
    failure: ShellError | None = None
    for host in ("0.0.0.0", "::"):
        try:
            sockets.append(UdpSocket(host, 0))
        except ShellError as error:
            failure = error
    if not sockets and failure:
        raise failure
    return sockets
