"""The sum-up of a demo, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2mesh.app.management.units import size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from l2mesh.app.demo.results import Broadcast, Member, Pair, Result, Transfer


def headline(result: Result) -> str:
    names = _and([party.name for party in result.parties]) or "the parties"
    if result.ok:
        return f"It works: {names} share one Ethernet, each behind its own NAT."
    return f"It does not work as it should ({result.total_s:.1f} s):"


def facts(result: Result) -> dict[str, str]:
    """What was found, by what it is about; what was never reached is left out."""
    found = {
        "ready": _ready(result.parties),
        "first frame": _first_frame(result.pairs),
        "direct": _direct(result.pairs),
        "ping": _ping(result.pairs),
        "broadcast": _broadcast(result.broadcast),
        "transfer": _transfer(result.transfer),
        "sealed with": next((pair.cipher for pair in result.pairs if pair.cipher), ""),
        "it ran": _ran(result),
    }
    return {label: text for label, text in found.items() if text}


def _ready(parties: Sequence[Member]) -> str:
    times = [party.start_s for party in parties]
    return f"{_span(times, 1)} s after the start of an edge" if times else ""


def _first_frame(pairs: Sequence[Pair]) -> str:
    times = [pair.first_frame_s for pair in pairs if pair.first_frame_s is not None]
    if not times:
        return ""
    relayed = sum(pair.began_by_relay for pair in pairs)
    how = f"; {relayed} of {len(pairs)} began by relay" if relayed else ""
    return f"{_span(times, 2)} s after both edges were ready{how}"


def _direct(pairs: Sequence[Pair]) -> str:
    times = [pair.direct_s for pair in pairs if pair.direct_s is not None]
    if not times:
        return ""
    return f"{_span(times, 2)} s after both edges were ready; {len(times)} of {len(pairs)} directions"


def _ping(pairs: Sequence[Pair]) -> str:
    pings = [pair.ping for pair in pairs if pair.ping]
    if not pings:
        return ""
    answered, sent = sum(ping.received for ping in pings), sum(ping.sent for ping in pings)
    times = [ping.mean_ms for ping in pings if ping.mean_ms is not None]
    rtt = f"; RTT {_span(times, 1)} ms" if times else ""
    return f"{answered} of {sent} answered, in {len(pings)} directions{rtt}"


def _broadcast(found: Broadcast | None) -> str:
    if found is None:
        return ""
    reached = _and(found.received_by) or "nobody"
    echo = "; it came back to its sender" if found.reflected else ""
    return f"a frame of EtherType {found.ethertype} from {found.source} reached {reached}{echo}"


def _transfer(found: Transfer | None) -> str:
    if found is None:
        return ""
    amount = f"{size(found.transferred_bytes)} in {found.transfer_s:.1f} s"
    return f"{found.mbit_per_s:.0f} Mbit/s TCP from {found.source} to {found.destination} ({found.tool}: {amount})"


def _ran(result: Result) -> str:
    if not result.parties:
        return ""
    return f"1 l2mesh supernode, {len(result.parties)} l2mesh edge, in {result.namespaces} network namespaces"


def _span(values: Sequence[float], digits: int) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def _and(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)
