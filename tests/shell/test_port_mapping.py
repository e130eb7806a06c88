"""The port mapper's socket, timer and jobs, with a router on loopback."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from l2mesh.core.mapping_protocols import Deleted, Gateway, Granted, Outcome, Silent, UpnpJob
from l2mesh.core.mapping_values import MappingMemory, MappingState, Verdict
from l2mesh.core.port_mapping import PortMapper
from l2mesh.shell import gateway as gateways
from l2mesh.shell import port_mapping
from l2mesh.shell.gateway import find_gateway
from l2mesh.shell.port_mapping import MappingPort
from l2mesh.wire.pcp import CLIENT_PORT, SERVER_PORT
from tests.core.router import PUBLIC, FakeRouter

WAIT_S = 5.0


async def no_upnp(job: UpnpJob) -> Outcome:
    return Silent("no router found")


class Scene:
    """A MappingPort and a router at an address of loopback that is this test's own."""

    def __init__(
        self, router: FakeRouter | None, run_job: Callable[[UpnpJob], Awaitable[Outcome]] | None = None
    ) -> None:
        number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
        self.host = f"127.7.{number}.1"
        self.router = router
        self.loop = asyncio.get_running_loop()
        self.changes = 0
        self.changed = asyncio.Event()
        self.mapper = PortMapper(MappingMemory(), os.urandom)
        self.port = MappingPort(self.mapper, 4, self.loop, self._note, run_job or no_upnp)
        self.socket: socket.socket | None = None
        if router:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self.socket.bind((self.host, SERVER_PORT))
            self.loop.add_reader(self.socket.fileno(), self._answer)

    def _note(self) -> None:
        self.changes += 1
        self.changed.set()

    def _answer(self) -> None:
        assert self.socket
        assert self.router
        datagram, source = self.socket.recvfrom(2000)
        for answer in self.router.handle(datagram, self.loop.time()):
            with suppress(ConnectionRefusedError):
                self.socket.sendto(answer, source)

    def begin(self) -> None:
        self.port.begin(Gateway(self.host, "127.0.0.1", 40000))

    async def until(self, state: MappingState) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.mapper.status.state is not state:
                self.changed.clear()
                await self.changed.wait()

    async def end(self) -> None:
        await self.port.close()
        if self.socket:
            self.loop.remove_reader(self.socket.fileno())
            self.socket.close()


def test_a_mapping_from_its_request_to_its_return() -> None:
    async def scene() -> None:
        router = FakeRouter()
        here = Scene(router)
        here.begin()
        await here.until(MappingState.CHECKING)
        assert here.mapper.claimed == (PUBLIC, router.maps[40000])
        here.port.checked(here.mapper.claimed, Verdict.REACHED, "")
        await here.until(MappingState.OPEN)
        await here.end()
        assert not router.maps

    asyncio.run(scene())


def test_where_nobody_listens_upnp_is_tried_at_once() -> None:
    async def mapped(job: UpnpJob) -> Outcome:
        return Granted((PUBLIC, 50000), 3600) if job.action == "map" else Deleted()

    async def scene() -> None:
        here = Scene(None, mapped)
        before = here.loop.time()
        here.begin()
        await here.until(MappingState.CHECKING)
        assert here.loop.time() - before < 0.25  # not even one retry
        await here.end()
        assert here.mapper.memory.upnp_port == 0

    asyncio.run(scene())


def test_an_end_that_takes_too_long_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_mapping, "CLOSE_SECONDS", 0.05)

    async def mapped(job: UpnpJob) -> Outcome:
        if job.action == "delete":
            await asyncio.sleep(WAIT_S)
        return Granted((PUBLIC, 50000), 3600)

    async def scene() -> None:
        here = Scene(None, mapped)
        here.begin()
        await here.until(MappingState.CHECKING)
        before = here.loop.time()
        await here.end()
        assert here.loop.time() - before < 1.0
        assert here.mapper.memory.upnp_port == 50000  # to be deleted at the next start

    asyncio.run(scene())


def test_announcements_of_the_router_are_heard_and_of_nobody_else() -> None:
    async def scene() -> None:
        now = asyncio.get_running_loop().time()
        router = FakeRouter(epoch_at=now - 1000)
        here = Scene(router)
        here.begin()
        await here.until(MappingState.CHECKING)
        [announcement] = router.reboot(now)
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stranger.sendto(announcement, ("127.0.0.1", CLIENT_PORT))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not router.maps
        assert here.socket
        here.socket.sendto(announcement, ("127.0.0.1", CLIENT_PORT))
        async with asyncio.timeout(WAIT_S):
            while here.mapper.grants < 2:
                here.changed.clear()
                await here.changed.wait()
        assert router.maps
        stranger.close()
        await here.end()

    asyncio.run(scene())


def test_an_address_that_is_gone_is_no_fault() -> None:
    async def scene() -> None:
        here = Scene(None)
        here.port.begin(Gateway(here.host, "192.0.2.77", 40000))
        await here.until(MappingState.ASKING)
        here.port.end("the network is gone")
        await here.until(MappingState.OFF)
        await here.end()

    asyncio.run(scene())


def test_the_gateway_of_the_default_route(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = {"default": {socket.AF_INET: ("192.168.1.1", "eth0"), socket.AF_INET6: ("fe80::1", "eth0")}}
    monkeypatch.setattr("netifaces.gateways", lambda: routes)
    own = {4: "192.168.1.5", 6: "2001:db8::5"}
    monkeypatch.setattr(gateways, "_source_address", own.get)
    assert find_gateway(4, 7, ()) == Gateway("192.168.1.1", "192.168.1.5", 7)
    assert find_gateway(6, 7, ()) == Gateway("fe80::1%eth0", "2001:db8::5", 7)
    assert find_gateway(4, 7, {"eth0"}) is None  # through the mesh itself
    own.clear()
    assert find_gateway(4, 7, ()) is None
    routes.clear()
    assert find_gateway(4, 7, ()) is None
