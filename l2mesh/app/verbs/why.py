"""`l2mesh why`: why a peer is reached directly or by a relay, and what would change that."""

from __future__ import annotations

import click

from l2mesh.app.management import units
from l2mesh.app.management.client import decode
from l2mesh.app.management.documents import Attempt, EdgePeer, Path, Why, WhyRequest
from l2mesh.app.management.show import Column, printable, show_facts, show_json, show_table
from l2mesh.app.management.target import TARGET_HELP, client_of, json_option, target_argument

HELP = f"""Show why a peer is reached as it is: both NATs, every path that was tried and its fate, what would help.

PEER is its name or its public key. {TARGET_HELP}

\b
    l2mesh why bob
    l2mesh why bob office --json | jq .advice
"""

PATH_COLUMNS = (
    Column("way"),
    Column("endpoint"),
    Column("origin"),
    Column("fate"),
    Column("probes", right=True),
    Column("answered", right=True),
    Column("rtt", right=True),
    Column("last error", spare=True),
)
ATTEMPT_COLUMNS = (
    Column("attempt"),
    Column("begun", right=True),
    Column("took", right=True),
    Column("openers", right=True, spare=True),
    Column("probes", right=True),
    Column("sockets", right=True, spare=True),
    Column("result"),
)


@click.command("why", help=HELP)
@click.argument("peer", metavar="PEER")
@target_argument
@json_option
def command(peer: str, target: str | None, as_json: bool) -> None:
    document = client_of(target, edge=True).post("/v1/why", WhyRequest(peer=peer))
    if as_json:
        show_json(document)
        return
    show(decode(document, Why))


def show(why: Why) -> None:
    peer = why.peer
    click.echo(f"{printable(peer.name)}: {printable(why.reason)}\n")
    show_facts(
        {
            "path": _path(peer),
            "our NAT": why.our_nat,
            "their NAT": why.peer_nat,
            "seen at": ", ".join(why.observed) or units.NOTHING,
        }
    )
    click.echo()
    show_table(PATH_COLUMNS, [path_row(one) for one in peer.paths], "no path was tried")
    if why.attempts:
        click.echo()
        show_table(ATTEMPT_COLUMNS, [attempt_row(one) for one in why.attempts])
    if why.changes:
        click.echo()
    for change in why.changes:
        text = f"{units.ago(change.changed_s)}: {change.old} -> {change.new}: {change.reason}"
        click.echo(printable(text))
    if why.advice:
        click.echo("\nWhat would make it direct:")
    for sentence in why.advice:
        click.echo(f"  - {printable(sentence)}")


def _path(peer: EdgePeer) -> str:
    if peer.path is None:
        return peer.state
    words = [peer.path, peer.endpoint or "", f"by {peer.relay}" if peer.relay else ""]
    quality = f"RTT {units.round_trip(peer.rtt_ms)}, loss {units.share(peer.loss)}"
    return f"{' '.join(filter(None, words))} for {units.duration(peer.path_for_s)}, {quality}"


def path_row(one: Path) -> tuple[str | None, ...]:
    way = one.path if one.relay is None else f"by {one.relay}"
    return (
        way if not one.socket else f"{way}, socket {one.socket}",
        one.endpoint,
        one.origin,
        one.fate,
        str(one.probes_sent),
        str(one.answers),
        units.round_trip(one.rtt_ms),
        one.last_error,
    )


def attempt_row(one: Attempt) -> tuple[str | None, ...]:
    return (
        one.kind,
        units.ago(one.begun_s),
        units.NOTHING if one.took_s is None else f"{one.took_s:.1f} s",
        str(one.openers),
        str(one.probes),
        str(one.side_sockets),
        one.result,
    )
