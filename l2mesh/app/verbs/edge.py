"""`l2mesh edge`: run this party's port of the switch."""

from __future__ import annotations

from pathlib import Path

import click

HELP = """Run this party's port of the switch: a TAP device, and encrypted paths to all others.

Needs CAP_NET_ADMIN to make the device, and gives up all else once it stands. Logs to stderr, and one line that
begins with "ready:" when the device is up. SIGTERM or Ctrl-C ends it, SIGHUP reads the file again.

\b
    sudo l2mesh edge office.toml
"""


@click.command("edge", help=HELP)
@click.argument("file", metavar="FILE.toml", type=click.Path(dir_okay=False, path_type=Path))
def command(file: Path) -> None:
    from l2mesh.app.edge import run_edge

    run_edge(file)
