"""Classifies a NAT with plain UDP sockets: RFC 4787 mapping and filtering, found as in RFC 5780."""

from __future__ import annotations

import select
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from l2mesh.lab.nat import Behaviour

if TYPE_CHECKING:
    import socket

    from l2mesh.lab.machines import Host

Address = tuple[str, int]

PORTS = (3478, 3479)
LATE_SECONDS = 0.01  # after the fence: for a datagram that changed processors on its way
BYTES = 100


@dataclass(frozen=True, slots=True)
class Observation:
    """What two addresses x two ports of a server saw of one socket behind a NAT."""

    mapping: Behaviour
    filtering: Behaviour
    seen: tuple[Address, ...]
    """The socket's outer address as seen by server address 1 port 1, 1:2, 2:1, 2:2."""


def _mapping(seen: list[Address]) -> Behaviour:
    if len(set(seen)) == 1:
        return Behaviour.INDEPENDENT
    if seen[0] == seen[1] and seen[2] == seen[3]:
        return Behaviour.ADDRESS
    return Behaviour.ADDRESS_AND_PORT


def arrived(inside: socket.socket, fence: bytes) -> set[bytes]:
    """What has come in by the time `fence` has, which was sent last and is let in."""
    got = set()
    while fence not in got:
        got.add(inside.recv(BYTES))
    while select.select([inside], [], [], LATE_SECONDS)[0]:
        got.add(inside.recv(BYTES))
    return got


def _filtering(inside: socket.socket, servers: list[socket.socket], outer: Address) -> Behaviour:
    """`outer` was made by sending to servers[0] only."""
    same_address, other_address = servers[1], servers[2]
    other_address.sendto(b"other address", outer)
    same_address.sendto(b"other port", outer)
    servers[0].sendto(b"fence", outer)
    got = arrived(inside, b"fence")
    if b"other address" in got:
        return Behaviour.INDEPENDENT
    if b"other port" in got:
        return Behaviour.ADDRESS
    return Behaviour.ADDRESS_AND_PORT


def _ask(inside: socket.socket, server: socket.socket) -> Address:
    """The outer address of `inside` for that server."""
    inside.sendto(b"who am I", server.getsockname()[:2])
    host, port = server.recvfrom(BYTES)[1][:2]
    return str(host), int(port)


def classify(host: Host, server: Host) -> Observation:
    """`server` is public, with two addresses, and its UDP ports 3478 and 3479 are free. IPv4."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(server.udp(address, port)) for address in server.addresses4[:2] for port in PORTS
        ]
        first = stack.enter_context(host.udp())
        filtering = _filtering(first, servers, _ask(first, servers[0]))
        second = stack.enter_context(host.udp())  # fresh: the unsolicited ones may have left their mark
        seen = [_ask(second, each) for each in servers]
        return Observation(_mapping(seen), filtering, tuple(seen))
