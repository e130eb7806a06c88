"""An edge with many peers: how long until all are up, what it costs to have them, how long a broadcast takes."""

from __future__ import annotations

import os
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from l2mesh.crypto.keys import StaticKey
from l2mesh.lab import wait_until
from l2mesh.shell.clock import now
from scaling.crowd import ETHER_TYPE
from scaling.remote import Remote
from scaling.rig import DEVICE, CpuMeter, Rig, resident_bytes

REGISTER_SECONDS: Final = 120.0
UP_SECONDS: Final = 120.0
SETTLE_SECONDS: Final = 12.0
"""Checks and the search for the path's MTU are done then."""
BROADCAST_EVERY_S: Final = 0.25
BROADCAST: Final = b"\xff" * 6
STATION: Final = bytes.fromhex("02000000aa01")

Say = Callable[[str], None]
Row = dict[str, Any]


def measure(counts: Sequence[int], *, idle_seconds: float, broadcasts: int, say: Say) -> list[Row]:
    key, secret = StaticKey.generate(os.urandom), os.urandom(32)
    with Rig() as rig:
        rig.start_supernode()
        settings = {**rig.others_settings, "edge_key": key.public.hex(), "secret": secret.hex()}
        crowd = Remote(rig.others_host, "crowd", rig.directory, settings)
        rows, members = [], 0
        for count in counts:
            say(f"edge: {count} peers: registering them")
            for _ in range(members, count, 50):
                members = crowd.ask("add", count=min(50, count - members))["members"]
            registered = wait_for(crowd, "registered", "registered", count, REGISTER_SECONDS)
            rows.append(_with_crowd(rig, crowd, key, secret, registered, idle_seconds, broadcasts, say))
        return rows


def wait_for(remote: Remote, what: str, field: str, count: int, seconds: float) -> int:
    wait_until(lambda: remote.ask(what)[field] >= count, seconds, f"{count} {what}", poll_s=0.2)
    return count


def _with_crowd(
    rig: Rig, crowd: Remote, key: StaticKey, secret: bytes, count: int, idle: float, broadcasts: int, say: Say
) -> Row:
    time.sleep(3.0)  # the supernode has told everybody of everybody
    say(f"edge: {count} peers: starting the edge")
    begun_at = now()
    edge = rig.start_edge(key, secret)
    meter = CpuMeter(edge)
    wait_for(crowd, "sessions", "up", count, UP_SECONDS)
    up_s = crowd.ask("sessions")["last_at"] - begun_at
    start_cpu_s = meter.busy() * (now() - begun_at)
    time.sleep(SETTLE_SECONDS)
    say(f"edge: {count} peers: all up after {up_s:.1f} s; {broadcasts} broadcasts")
    sent, received = _broadcast(rig, crowd, broadcasts)
    time.sleep(6.0)
    say(f"edge: {count} peers: idle for {idle:g} s")
    meter.busy()
    time.sleep(idle)
    row = {
        "peers": count,
        "all_up_s": up_s,
        "start_cpu_s": start_cpu_s,
        "idle_cpu_percent": 100 * meter.busy(),
        **broadcast_figures(sent, received, count),
        "resident_mb": resident_bytes(edge) / 1e6,
        "paths": crowd.ask("paths"),
    }
    edge.terminate(20.0)
    wait_until(lambda: crowd.ask("sessions")["up"] == 0, 30.0, "all have heard that the edge left", poll_s=0.2)
    return row


def _broadcast(rig: Rig, crowd: Remote, count: int) -> tuple[dict[int, float], dict[str, Any]]:
    """By number: when each frame was written, and what the crowd says of it."""
    with rig.edge_host.entered():
        port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with port:
        port.bind((DEVICE, 0))
        crowd.ask("broadcasts")
        sent = {}
        for number in range(count):
            frame = BROADCAST + STATION + ETHER_TYPE + number.to_bytes(8, "big")
            sent[number] = now()
            port.send(frame.ljust(60, b"\0"))
            time.sleep(BROADCAST_EVERY_S)
    time.sleep(1.0)
    return sent, crowd.ask("broadcasts")


def broadcast_figures(sent: dict[int, float], received: dict[str, Any], peers: int) -> Row:
    """Milliseconds until the last peer's socket had it, and until the last peer's engine delivered it."""
    whole = [(sent[int(number)], values) for number, values in received.items() if values[0] == peers]
    arrived = [1000 * (values[1] - at) for at, values in whole]
    delivered = [1000 * (values[2] - at) for at, values in whole]
    return {
        "broadcasts_complete": f"{len(whole)}/{len(sent)}",
        "broadcast_arrived_ms": statistics.median(arrived) if arrived else None,
        "broadcast_delivered_ms": statistics.median(delivered) if delivered else None,
        "broadcast_delivered_max_ms": max(delivered, default=None),
    }
