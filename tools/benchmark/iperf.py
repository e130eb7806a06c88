"""iperf3: one run, and what its JSON says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from l2mesh.lab import Namespace, wait_until

PORT = 5201
LISTEN = "0A"  # of /proc/net/tcp
READY_SECONDS = 5.0
SPARE_SECONDS = 15.0
"""For what comes before and after the seconds asked for: a flood delays the end's exchange of results."""

UDP_BUFFER = "1M"
"""Of the receiver's socket: some 1 300 small datagrams. The kernel's default holds 277, 2 ms of 130 000 a second:
with it the scheduler's whims decide what is lost, and not the system.
"""
INTERVAL_S = 0.1
WARM_UP = 0.3
"""Of a UDP run: by then every queue on the way is as full as it gets."""


@dataclass(frozen=True, slots=True)
class UdpRun:
    """One-way UDP. Rates are datagrams a second."""

    offered_rate: float
    lost_share: float
    delivered_rate: float
    """Read by the program while they were sent, after the warm-up: what queues hold back is not counted."""
    received: int


def is_listening(table: str, port: int) -> bool:
    """Whether /proc/net/tcp (or tcp6) has a listening socket on that port."""
    rows = (line.split() for line in table.splitlines()[1:])
    return any(row[1].endswith(f":{port:04X}") and row[3] == LISTEN for row in rows)


class Run:
    """One run from client to server, under way. `result` ends it."""

    def __init__(
        self, client: Namespace, server: Namespace, address: str, options: Sequence[str], seconds: float
    ) -> None:
        """`seconds`: how long it should take."""
        self._seconds = seconds
        serve = ["iperf3", "-s", "-1", "-J", "-p", str(PORT), "-i", str(INTERVAL_S)]
        self._server = server.popen(serve, name="iperf3-server")
        wait_until(lambda: _listens(server), READY_SECONDS, "the iperf3 server listens", poll_s=0.002)
        command = ["iperf3", "-c", address, "-p", str(PORT), "-J", "--get-server-output", *options]
        self._client = client.popen(command, name="iperf3")

    def result(self) -> Any:
        """Its JSON document, with the server's own inside. BenchmarkError if it failed."""
        try:
            self._client.wait(self._seconds + SPARE_SECONDS)
        finally:
            self._client.kill()
            self._server.kill()
        return parse(self._client.text())


def _listens(server: Namespace) -> bool:
    with server.entered():
        tables = [Path(f"/proc/thread-self/net/{name}").read_text() for name in ("tcp", "tcp6")]
    return any(is_listening(table, PORT) for table in tables)


def parse(text: str) -> Any:
    """BenchmarkError with iperf3's own words if the run failed."""
    try:
        document = json.loads(text[text.find("{") :])  # warnings come first
    except ValueError:
        raise BenchmarkError(f"iperf3 printed no JSON: {text[:200]!r}") from None
    if "error" in document:
        raise BenchmarkError(f"iperf3: {document['error']}")
    return document


def tcp_options(seconds: int, *more: str) -> list[str]:
    return ["-C", "cubic", "-t", str(seconds), *more]


def udp_options(size: int, rate: float | None, seconds: float) -> list[str]:
    """`rate` in datagrams a second, None for as fast as it goes (then in whole seconds)."""
    common = ["-u", "-l", str(size), "-w", UDP_BUFFER]
    if rate is None:
        return [*common, "-b", "0", "-t", str(round(seconds))]
    return [*common, "-b", str(round(rate * size * 8)), "-k", str(max(1, round(rate * seconds)))]


def tcp_bytes(document: Any) -> tuple[float, float]:
    """(bytes received, both directions; seconds)."""
    end = document["end"]
    received = end["sum_received"]["bytes"] + end.get("sum_received_bidir_reverse", {}).get("bytes", 0)
    return float(received), float(end["sum_received"]["seconds"])


def tcp_mbit(document: Any) -> float:
    received, seconds = tcp_bytes(document)
    return received * 8 / seconds / 1e6


def udp_run(document: Any, size: int) -> UdpRun:
    sent, got = document["end"]["sum_sent"], document["end"]["sum_received"]
    packets, seconds = sent["packets"], sent["seconds"]
    received = got["bytes"] // size
    if not packets or not seconds:
        raise BenchmarkError("iperf3 sent nothing")
    intervals = [one["sum"] for one in document["server_output_json"]["intervals"]]
    return UdpRun(
        offered_rate=packets / seconds,
        lost_share=max(0.0, 1 - received / packets),
        delivered_rate=steady_rate(intervals, size, seconds),
        received=received,
    )


def steady_rate(intervals: Sequence[Any], size: int, seconds: float) -> float:
    """Datagrams a second over the receiver's intervals between the warm-up and the end of the sending."""
    steady = [one for one in intervals if one["start"] >= WARM_UP * seconds and one["end"] <= seconds * 1.02]
    steady = steady or list(intervals)
    lasted = sum(one["seconds"] for one in steady)
    return float(sum(one["bytes"] for one in steady) / size / lasted) if lasted else 0.0
