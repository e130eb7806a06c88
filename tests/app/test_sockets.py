"""The sockets of a daemon: which are bound, what ports are remembered, by which one a supernode answers."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from l2mesh.app.config import load_supernode
from l2mesh.app.daemon import open_sockets
from l2mesh.app.state_file import StateFile
from l2mesh.app.supernode import SupernodeDaemon, make_engine
from l2mesh.crypto.keys import StaticKey
from l2mesh.shell.driver import Driver
from l2mesh.wire.address import SideAddress
from l2mesh.wire.outer import emit_key_request, parse_key_reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l2mesh.shell.udp import UdpSocket

Address = tuple[str, int]


@pytest.fixture
def state(here: Path) -> StateFile:
    return StateFile(here / "state.json")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(stack: ExitStack, listen: list[Address], state: StateFile) -> list[UdpSocket]:
    sockets = open_sockets(listen, state)
    for one in sockets:
        stack.callback(one.close)
    return sockets


def test_the_first_of_each_ip_version_is_the_main_one_and_the_others_are_numbered(
    stack: ExitStack, state: StateFile
) -> None:
    hosts = ["127.0.0.1", "127.0.0.2", "::1", "127.0.0.1", "::1"]
    sockets = opened(stack, [(host, 0) for host in hosts], state)
    assert [one.number for one in sockets] == [0, 1, 0, 2, 3]
    ports = [one.port for one in sockets]
    assert sockets[0].address == ("127.0.0.1", ports[0])
    assert sockets[3].address == SideAddress("127.0.0.1", ports[3], 2)
    assert state.state.ports == {"4": ports[0], "4.1": ports[1], "6": ports[2], "4.2": ports[3], "6.3": ports[4]}


def test_random_ports_are_the_same_at_the_next_start_and_named_ones_are_not_remembered(
    stack: ExitStack, state: StateFile
) -> None:
    first = open_sockets([("127.0.0.1", 0), ("127.0.0.1", 0)], state)
    ports = [one.port for one in first]
    for one in first:
        one.close()
    assert [one.port for one in opened(stack, [("127.0.0.1", 0), ("127.0.0.1", 0)], state)] == ports
    opened(stack, [("127.0.0.2", ports[0])], other := StateFile(Path("other.json")))
    assert other.state.ports == {}


def test_a_supernode_answers_by_the_socket_it_was_asked_at(stack: ExitStack, state: StateFile) -> None:
    listen = ["127.0.0.1:0", "127.0.0.1:0", "127.0.0.2:0", "[::1]:0", "[::1]:0"]
    config = load_supernode(None, listen)
    sockets = opened(stack, list(config.listen), state)
    engine = make_engine(config, StaticKey.generate(os.urandom), state)

    async def main() -> None:
        daemon = SupernodeDaemon(config, engine, sockets, state)
        driver = daemon.driver = Driver(engine, sockets, loop=asyncio.get_running_loop())
        driver.start()
        daemon.started(asyncio.get_running_loop())
        assert engine.listening == [one.address for one in sockets]
        assert engine.local_ports == {4: sockets[0].port, 6: sockets[3].port}
        assert daemon.ready_line().split()[2:-1] == [
            f"127.0.0.1:{sockets[0].port}",
            f"127.0.0.1:{sockets[1].port}",
            f"127.0.0.2:{sockets[2].port}",
            f"[::1]:{sockets[3].port}",
            f"[::1]:{sockets[4].port}",
        ]
        for one in sockets:
            nonce = one.port.to_bytes(8, "big")
            reply, source = await ask(one, emit_key_request(nonce))
            assert parse_key_reply(reply) == (nonce, engine.identity.static.public)
            assert source == (one.host, one.port)
        driver.stop()

    asyncio.run(main())


async def ask(server: UdpSocket, request: bytes) -> tuple[bytes, Address]:
    family = socket.AF_INET6 if server.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendto(client, request, (server.host, server.port))
        reply, source = await asyncio.wait_for(loop.sock_recvfrom(client, 2048), 5)
        return reply, source[:2]
