"""What the demo does with its LAN: ping in all directions, a broadcast, a TCP transfer.

Each check is a generator: it yields while it waits, so that the screen goes on, and returns what it found.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from l2mesh.app.demo.frames import ETHERTYPE, Port
from l2mesh.app.demo.results import Broadcast, Ping, Transfer
from l2mesh.app.errors import CommandError
from l2mesh.lab import system

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from l2mesh.app.demo.parties import Edge
    from l2mesh.lab import Process

PINGS: Final = 5
PING_INTERVAL_S: Final = 0.2
PING_SECONDS: Final = 6.0
BROADCAST_SECONDS: Final = 2.0
REFLECTION_SECONDS: Final = 0.1
TRANSFER_PORT: Final = 5201
TRANSFER_SECONDS: Final = 3
TRANSFER_PATIENCE_S: Final = 9.0

_TIME = re.compile(r"time=([\d.]+) ms")
_SENT = re.compile(r"(\d+) packets transmitted, (\d+)")


def waiting_for(done: Callable[[], object], seconds: float) -> Generator[None, None, bool]:
    """Yields until `done`. Whether it came to that within `seconds`."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= end:
            return False
        yield
    return True


# Ping.


def start_ping(source: Edge, destination: Edge) -> Process:
    command = ["ping", "-n", "-c", str(PINGS), "-i", str(PING_INTERVAL_S), "-W", "1", destination.home.address]
    name = f"ping-{destination.name}"
    return source.home.host.popen(command, name=name, env={"LC_ALL": "C"})  # its words are parsed


def read_ping(printed: str) -> Ping:
    """What `ping` printed, be it to its end or not."""
    times = [float(found) for found in _TIME.findall(printed)]
    summary = _SENT.search(printed)
    return Ping(
        sent=int(summary[1]) if summary else PINGS,
        received=len(times),
        min_ms=min(times, default=None),
        mean_ms=round(sum(times) / len(times), 3) if times else None,
        max_ms=max(times, default=None),
    )


# Broadcast.


def broadcast(source: Port, others: Sequence[Port]) -> Generator[None, None, Broadcast]:
    """One frame to ff:ff:ff:ff:ff:ff; the others are to have it, and its sender not."""
    text = f"broadcast {secrets.token_hex(8)} {source.name}"
    received: list[str] = []

    def look() -> bool:
        received.extend(port.name for port in others if text in port.received())
        return len(received) == len(others)

    source.received()
    source.send(text)
    yield from waiting_for(look, BROADCAST_SECONDS)
    # Time enough for a reflection: the others have theirs already.
    yield from waiting_for(lambda: False, REFLECTION_SECONDS)
    return Broadcast(
        source=source.name,
        ethertype=f"0x{ETHERTYPE:04x}",
        received_by=received,
        reflected=text in source.received(),
    )


# Transfer.


def transfer(source: Edge, destination: Edge) -> Generator[None, None, Transfer]:
    """TCP by iperf3, or by our own program. CommandError."""
    run = _iperf3 if transfer_tool() == "iperf3" else _own_transfer
    return (yield from run(source, destination))


def transfer_tool() -> str:
    return "iperf3" if shutil.which("iperf3", path=system.environment()["PATH"]) else "the demo's own"


def _iperf3(source: Edge, destination: Edge) -> Generator[None, None, Transfer]:
    address = destination.home.address
    port = str(TRANSFER_PORT)
    serve = ["iperf3", "--server", "--one-off", "--forceflush", "--bind", address, "--port", port]
    server = destination.home.host.popen(serve, name="iperf3-server")
    yield from _listening(server)
    send = ["iperf3", "--client", address, "--port", port, "--time", str(TRANSFER_SECONDS), "--json"]
    client = source.home.host.popen(send, name="iperf3-client")
    yield from _ended(client, "iperf3")
    document: dict[str, Any] = json.loads(client.text())
    if "error" in document:
        raise CommandError(f"iperf3: {document['error']}")
    found = document["end"]["sum_received"]
    return _transferred(source, destination, int(found["bytes"]), float(found["seconds"]))


def _own_transfer(source: Edge, destination: Edge) -> Generator[None, None, Transfer]:
    address, port = destination.home.address, str(TRANSFER_PORT)
    program = [sys.executable, "-m", "l2mesh.app.demo.transfer"]
    server = destination.home.host.popen([*program, "receive", address, port], name="receive")
    yield from _listening(server)
    client = source.home.host.popen([*program, "send", address, port, str(TRANSFER_SECONDS)], name="send")
    yield from _ended(client, "the transfer")
    yield from _ended(server, "the transfer")
    found: dict[str, Any] = json.loads(server.text().splitlines()[-1])
    return _transferred(source, destination, int(found["bytes"]), float(found["seconds"]))


def _transferred(source: Edge, destination: Edge, size: int, seconds: float) -> Transfer:
    return Transfer(
        source=source.name,
        destination=destination.name,
        tool=transfer_tool(),
        transferred_bytes=size,
        transfer_s=round(seconds, 3),
        mbit_per_s=round(size * 8 / 1e6 / max(seconds, 1e-9), 1),
    )


def _listening(server: Process) -> Generator[None, None, None]:
    done = waiting_for(lambda: "listening" in server.text() or server.poll() is not None, TRANSFER_PATIENCE_S)
    if not (yield from done) or server.poll() is not None:
        raise CommandError(f"the receiver of the transfer does not listen:\n{server.tail()}")


def _ended(program: Process, what: str) -> Generator[None, None, None]:
    if not (yield from waiting_for(lambda: program.poll() is not None, TRANSFER_PATIENCE_S)):
        raise CommandError(f"{what} is not done after {TRANSFER_PATIENCE_S:g} s:\n{program.tail()}")
    if program.poll():
        raise CommandError(f"{what} failed with status {program.poll()}:\n{program.tail()}")
