"""`l2mesh peers`: whom an edge knows and how it reaches them; at a supernode, who is registered."""

from __future__ import annotations

import click

from l2mesh.app.management import units
from l2mesh.app.management.client import decode
from l2mesh.app.management.documents import EdgePeer, EdgePeers, Peers, SupernodePeer
from l2mesh.app.management.show import Column, show_json, show_table
from l2mesh.app.management.target import TARGET_HELP, client_of, json_option, target_argument

HELP = f"""Show the peers of an edge: their state, the path to them since when, and what went over it.

Of a supernode it shows who is registered in which network. {TARGET_HELP}

\b
    l2mesh peers
    l2mesh peers office
    l2mesh peers --json | jq '.peers[] | select(.path == "relay") | .name'
"""

EDGE_COLUMNS = (
    Column("name"),
    Column("state"),
    Column("path"),
    Column("endpoint"),
    Column("relay"),
    Column("rtt", right=True),
    Column("loss", right=True),
    Column("since", right=True, spare=True),
    Column("rx", right=True),
    Column("tx", right=True),
    Column("up for", right=True, spare=True),
    Column("heard", right=True, spare=True),
    Column("stations", right=True, spare=True),
)
SUPERNODE_COLUMNS = (
    Column("network"),
    Column("name"),
    Column("endpoint"),
    Column("heard", right=True),
    Column("lease", right=True),
    Column("public key", spare=True),
)


@click.command("peers", help=HELP)
@target_argument
@json_option
def command(target: str | None, as_json: bool) -> None:
    document = client_of(target).get("/v1/peers")
    if as_json:
        show_json(document)
        return
    peers: Peers = decode(document, Peers)  # type: ignore[arg-type]  # a union is no type[T]
    if isinstance(peers, EdgePeers):
        nobody = "no peer is known: l2mesh status shows whether a supernode is reached"
        show_table(EDGE_COLUMNS, [edge_row(one) for one in peers.peers], nobody)
    else:
        show_table(SUPERNODE_COLUMNS, [supernode_row(one) for one in peers.peers], "no edge is registered")


def edge_row(one: EdgePeer) -> tuple[str | None, ...]:
    return (
        one.name,
        one.state if one.refusal is None else f"refused: {one.refusal}",
        one.path,
        one.endpoint,
        one.relay,
        units.round_trip(one.rtt_ms),
        units.share(one.loss),
        units.duration(one.path_for_s),
        units.size(one.rx_bytes),
        units.size(one.tx_bytes),
        units.duration(one.up_for_s),
        units.ago(one.last_received_s),
        str(one.stations),
    )


def supernode_row(one: SupernodePeer) -> tuple[str | None, ...]:
    return (
        one.network,
        one.name,
        one.endpoint,
        units.ago(one.last_received_s),
        units.duration(one.lease_s),
        one.public_key,
    )
