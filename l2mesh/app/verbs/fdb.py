"""`l2mesh fdb`: which station (MAC address) is behind which port of the switch."""

from __future__ import annotations

import click

from l2mesh.app.management import units
from l2mesh.app.management.client import decode
from l2mesh.app.management.documents import EdgeFdb
from l2mesh.app.management.show import Column, show_json, show_table
from l2mesh.app.management.target import TARGET_HELP, client_of, json_option, target_argument

HELP = f"""Show the forwarding database of an edge: the MAC addresses it heard, and behind which peer.

`local` is this side of the TAP. {TARGET_HELP}

\b
    l2mesh fdb
    l2mesh fdb office --json
"""

COLUMNS = (Column("mac"), Column("vlan", right=True), Column("port"), Column("heard", right=True))


@click.command("fdb", help=HELP)
@target_argument
@json_option
def command(target: str | None, as_json: bool) -> None:
    document = client_of(target, edge=True).get("/v1/fdb")
    if as_json:
        show_json(document)
        return
    stations = decode(document, EdgeFdb).stations
    show_table(
        COLUMNS,
        [
            (
                one.mac,
                None if one.vlan is None else str(one.vlan),
                one.port,
                "static" if one.static else units.ago(one.age_s),
            )
            for one in stations
        ],
    )
