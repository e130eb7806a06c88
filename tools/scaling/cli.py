"""tools/scale: the command line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
from benchmark import host

from l2mesh.lab import LabError, requirements, sweep
from scaling import edge, report, supernode
from scaling.rig import PREFIX

PEERS: Final = (10, 100, 1000)
EDGES: Final = (10, 100, 1000, 10_000)
QUICK: Final = (10, 100)
IDLE_SECONDS, QUICK_IDLE_SECONDS = 30.0, 5.0
BROADCASTS, QUICK_BROADCASTS = 40, 8
BUSY_LOAD: Final = 0.5


def say(line: str) -> None:
    click.echo(line, err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--quick", is_flag=True, help="Small numbers and short times: to see that all works.")
@click.option("--only", type=click.Choice(["edge", "supernode"]), help="This part only.")
@click.option("--counts", metavar="N,…", help="These numbers of peers and edges. [10,100,1000 and 10,…,10000]")
@click.option("--idle", "idle_seconds", type=click.FloatRange(1), help="Seconds of idling that are measured. [30]")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures there; - is stdout.")
def main(
    quick: bool, only: str | None, counts: str | None, idle_seconds: float | None, json_file: Path | None
) -> None:
    """Measure how the cost of an edge grows with its peers, and that of a supernode with its edges.

    Real daemons in network namespaces of this machine; what they talk to shares two other processes. Tables go to
    stdout, progress to stderr.
    """
    if lacks := requirements():
        raise click.ClickException("; ".join(lacks))
    sweep(prefix=PREFIX)
    if os.getloadavg()[0] > BUSY_LOAD:
        say(f"this machine is busy (load {os.getloadavg()[0]:.1f}): the figures will be noise")
    facts = host.facts()
    idle = idle_seconds or (QUICK_IDLE_SECONDS if quick else IDLE_SECONDS)
    results: dict[str, list[report.Row]] = {}
    try:
        if only != "supernode":
            broadcasts = QUICK_BROADCASTS if quick else BROADCASTS
            peers = _counts(counts) or (QUICK if quick else PEERS)
            results["edge"] = edge.measure(peers, idle_seconds=idle, broadcasts=broadcasts, say=say)
        if only != "edge":
            edges = _counts(counts) or (QUICK if quick else EDGES)
            results["supernode"] = supernode.measure(edges, idle_seconds=idle, say=say)
    except (LabError, TimeoutError) as error:
        raise click.ClickException(str(error)) from None
    if json_file:
        parts = {part: [_without_nan(row) for row in rows] for part, rows in results.items()}
        document = json.dumps({"host": facts, **parts}, indent=1) + "\n"
        if str(json_file) == "-":
            click.echo(document, nl=False)
            return
        json_file.write_text(document)
    report.print_report(results)


def _without_nan(row: report.Row) -> report.Row:
    """JSON has no NaN."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}


def _counts(text: str | None) -> Sequence[int]:
    """In growing order: the larger ones come on top of the smaller."""
    if not text:
        return ()
    try:
        return sorted({int(word) for word in text.split(",")})
    except ValueError:
        raise click.BadParameter("must be numbers with commas between them", param_hint="--counts") from None
