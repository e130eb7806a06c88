"""`l2mesh ping`: whether a peer answers, by which path, and how fast."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count as counter
from typing import TYPE_CHECKING

import click
import msgspec

from l2mesh.app.management import units
from l2mesh.app.management.client import RequestFailed, decode
from l2mesh.app.management.documents import Failure, PingReply, PingRequest
from l2mesh.app.management.show import printable, show_json
from l2mesh.app.management.target import TARGET_HELP, client_of, json_option, target_argument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from l2mesh.app.management.client import ManagementClient

HELP = f"""Probe a peer on the path that its frames take: shows the path and the round-trip time.

PEER is its name or its public key. Ends with status 1 if no probe was answered. {TARGET_HELP}

\b
    l2mesh ping bob
    l2mesh ping bob office -c 0 -i 0.2
"""

# What may be otherwise the next time: no path yet, no answer. All else (no such peer) will not.
PASSING = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}


@dataclass(slots=True)
class Tally:
    """All probes of a run, in order."""

    peer: str
    results: list[PingReply | Failure] = field(default_factory=list)

    @property
    def times_ms(self) -> list[float]:
        return [one.rtt_ms for one in self.results if isinstance(one, PingReply)]

    def summary(self) -> str:
        times = self.times_ms
        text = f"{printable(self.peer)}: {len(self.results)} sent, {len(times)} answered"
        if not times:
            return text
        spread = " / ".join(map(units.round_trip, (min(times), sum(times) / len(times), max(times))))
        return f"{text}, time min / mean / max = {spread}"

    def document(self) -> bytes:
        times = self.times_ms
        return msgspec.json.encode(
            {
                "peer": self.peer,
                "sent": len(self.results),
                "answered": len(times),
                "min_ms": min(times, default=None),
                "mean_ms": round(sum(times) / len(times), 3) if times else None,
                "max_ms": max(times, default=None),
                "results": self.results,
            }
        )


@click.command("ping", help=HELP)
@click.argument("peer", metavar="PEER")
@target_argument
@click.option(
    "-c",
    "--count",
    metavar="N",
    type=click.IntRange(0),
    default=4,
    show_default=True,
    help="Probes to send; 0: until interrupted.",
)
@click.option(
    "-i",
    "--interval",
    metavar="S",
    type=click.FloatRange(0, 3600),
    default=1.0,
    show_default=True,
    help="Seconds from one probe to the next.",
)
@json_option
def command(peer: str, target: str | None, count: int, interval: float, as_json: bool) -> int:
    client = client_of(target, edge=True)
    tally = Tally(peer)
    with contextlib.suppress(KeyboardInterrupt):  # the way to end it: what was found out so far is shown
        for _ in paced(count, interval):
            result = probe(client, peer)
            tally.results.append(result)
            if not as_json:
                click.echo(line(peer, result))
    if as_json:
        show_json(tally.document())
    else:
        click.echo(tally.summary())
    return 0 if tally.times_ms else 1


def paced(count: int, interval: float) -> Iterator[int]:
    """`count` times (0: for ever), `interval` seconds apart; at once when the last took longer."""
    sent_at = float("-inf")
    for number in counter() if count == 0 else range(count):
        time.sleep(max(0.0, sent_at + interval - time.monotonic()))
        sent_at = time.monotonic()
        yield number


def probe(client: ManagementClient, peer: str) -> PingReply | Failure:
    try:
        return decode(client.post("/v1/ping", PingRequest(peer=peer)), PingReply)
    except RequestFailed as error:
        if error.status in PASSING:
            return Failure(error=str(error))
        raise


def line(peer: str, result: PingReply | Failure) -> str:
    """One probe as `ping` would tell it."""
    if isinstance(result, Failure):
        return f"{printable(peer)}: {printable(result.error)}"
    name, time_text = printable(result.peer), units.round_trip(result.rtt_ms)
    return f"{name}: path={result.path} endpoint={result.endpoint} time={time_text}"
