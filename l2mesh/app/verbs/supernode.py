"""`l2mesh supernode`: run a rendezvous and relay."""

from __future__ import annotations

from pathlib import Path

import click

HELP = """Run a rendezvous and relay, on a host that all parties can reach. Needs no privilege.

It lets edges find each other and carries sealed packets for those that cannot meet. It is no member of any network
and can read nothing. The file is optional: all has a default. The first start makes its key; edges that pin it
(supernodes = ["HOST:PORT#KEY"]) trust no other.

\b
    l2mesh supernode
    l2mesh supernode --listen 0.0.0.0:7777 --listen 0.0.0.0:7778
"""


@click.command("supernode", help=HELP)
@click.argument("file", metavar="[FILE.toml]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--listen",
    metavar="HOST:PORT",
    multiple=True,
    help="Listen here (and here …), instead of where the file says.",
)
def command(file: Path | None, listen: tuple[str, ...]) -> None:
    from l2mesh.app.supernode import run_supernode

    run_supernode(file, listen)
