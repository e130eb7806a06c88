"""A supernode with many edges: what they cost, how fast one registers, and what happens when it is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from l2mesh.lab import wait_until
from l2mesh.shell.clock import now
from scaling.remote import Remote
from scaling.rig import CpuMeter, Rig, resident_bytes

NETWORKS: Final = 100
JOIN_PER_S: Final = 250.0
"""The pace at which edges are added. At a restart they all come at once."""
NEWCOMERS: Final = 200
NEWCOMERS_PER_S: Final = 20.0
MAKE_AT_ONCE: Final = 250
DOWN_SECONDS: Final = 3.0
RETURN_SECONDS: Final = 240.0
RESTART_FROM: Final = 100
RENEWED_S: Final = 42.0
"""All renew their leases within this time."""

Say = Callable[[str], None]
Row = dict[str, Any]


def measure(counts: Sequence[int], *, idle_seconds: float, say: Say) -> list[Row]:
    with Rig() as rig:
        rig.start_supernode()
        settings = {**rig.others_settings, "networks": NETWORKS, "most": max(counts) + NEWCOMERS}
        edges = Remote(rig.others_host, "registrants", rig.directory, settings)
        rows, present = [], 0
        for count in counts:
            say(f"supernode: {count} edges: making {count - present} more")
            _make(edges, count - present)
            rows.append(_with_edges(rig, edges, count, count - present, idle_seconds, say))
            present = count
        return rows


def _make(edges: Remote, count: int) -> None:
    for done in range(0, count, MAKE_AT_ONCE):
        edges.ask("make", count=min(MAKE_AT_ONCE, count - done))


def _wait_settled(edges: Remote, count: int, seconds: float) -> float:
    """Until all are registered and have read the whole directory; how long that took."""
    begun_at = now()

    def settled() -> bool:
        state = edges.ask("state")
        return bool(state["registered"] >= count and not state["behind"])

    wait_until(settled, seconds, f"{count} edges are registered and up to date", poll_s=0.5)
    return now() - begun_at


def _with_edges(rig: Rig, edges: Remote, count: int, more: int, idle_seconds: float, say: Say) -> Row:
    meter = CpuMeter(rig.supernode)
    edges.ask("tally")
    say(f"supernode: {count} edges: {more} join")
    edges.ask("start", per_second=JOIN_PER_S)
    joining_s = _wait_settled(edges, count, 60 + 4 * more / JOIN_PER_S)
    join_cpu = meter.busy()
    joined = edges.ask("tally")
    time.sleep(3.0)
    say(f"supernode: {count} edges: all joined after {joining_s:.1f} s; idle")
    edges.ask("tally")
    meter.busy()
    time.sleep(max(idle_seconds, RENEWED_S))
    idle, steady = meter.busy(), edges.ask("tally")
    newcomers = min(NEWCOMERS, max(10, count // 10))
    say(f"supernode: {count} edges: {newcomers} newcomers")
    _make(edges, newcomers)
    time.sleep(2.0)
    edges.ask("tally")
    edges.ask("start", per_second=NEWCOMERS_PER_S)
    time.sleep(newcomers / NEWCOMERS_PER_S)
    _wait_settled(edges, count + newcomers, 60)
    came = edges.ask("tally")
    edges.ask("leave", count=newcomers)
    time.sleep(2.0)
    return {
        "edges": count,
        "joining_s": joining_s,
        "joining_p99_ms": 1000 * joined["joined"]["p99"],
        "joining_cpu_percent": 100 * join_cpu,
        "idle_cpu_percent": 100 * idle,
        "resident_mb": resident_bytes(rig.supernode) / 1e6,
        "renewals": steady["renewed"]["count"],
        "renewal_p50_ms": 1000 * steady["renewed"]["p50"],
        "renewal_p99_ms": 1000 * steady["renewed"]["p99"],
        "registration_p50_ms": 1000 * came["joined"]["p50"],
        "registration_p99_ms": 1000 * came["joined"]["p99"],
        **(_restart(rig, edges, count, say) if count >= RESTART_FROM else {}),
    }


def _restart(rig: Rig, edges: Remote, count: int, say: Say) -> Row:
    edges.ask("tally")
    say(f"supernode: {count} edges: killing the supernode")
    rig.supernode.kill()
    time.sleep(DOWN_SECONDS)
    rig.start_supernode()
    begun_at, meter, whole = now(), CpuMeter(rig.supernode), CpuMeter(rig.supernode)
    shares: list[float] = []

    def settled() -> bool:
        time.sleep(1.0)
        shares.append(meter.busy())
        state = edges.ask("state")
        return bool(state["registered"] >= count and not state["behind"])

    wait_until(settled, RETURN_SECONDS, f"{count} edges are back")
    settled_s = now() - begun_at
    tally = edges.ask("tally")
    say(f"supernode: {count} edges: all back after {tally['returned_at']['max'] - begun_at:.1f} s")
    return {
        "back_p50_s": tally["returned_at"]["p50"] - begun_at,
        "back_all_s": tally["returned_at"]["max"] - begun_at,
        "settled_s": settled_s,
        "initiations": tally["initiations"],
        "initiations_peak": tally["initiations_peak"],
        "cookies": tally["cookies"],
        "restart_cpu_peak_percent": 100 * max(shares),
        "restart_cpu_s": whole.busy() * settled_s,
        "restart_resident_mb": resident_bytes(rig.supernode) / 1e6,
    }
