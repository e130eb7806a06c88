"""tools/nat-matrix: the command line."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Final

import click
from benchmark import host

from l2mesh.lab import requirements, sweep
from traversal import changes, kinds, matrix, report
from traversal.expected import Pair
from traversal.pair import PREFIX, Result

JOBS: Final = 2


class Form(Enum):
    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


def say(line: str) -> None:
    click.echo(line, err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--only", metavar="KIND,…", help="Pairs of these kinds; A:B is that pair, a place is itself.")
@click.option("--quick", is_flag=True, help="A few telling kinds.")
@click.option(
    "--runs", type=click.IntRange(1), default=1, help="Of each pair that meets by chance, of each change. [1]"
)
@click.option("--jobs", type=click.IntRange(1, 8), default=JOBS, help=f"Pairs at a time. [{JOBS}]")
@click.option(
    "--patience", type=click.FloatRange(1), help="Seconds a pair is watched for. [by what it is promised]"
)
@click.option("--expect", is_flag=True, help="Exit status 1 when a pair has not what it is promised.")
@click.option("--changes", "run_changes", is_flag=True, help="Instead: changes below a running TCP stream.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--markdown", "as_markdown", is_flag=True, help="The tables as Markdown.")
@click.option("--logs", type=click.Path(path_type=Path, file_okay=False), help="Leave the daemons' logs there.")
@click.option("--list", "list_kinds", is_flag=True, help="Say which kinds, places and changes there are.")
def main(
    only: str | None,
    quick: bool,
    runs: int,
    jobs: int,
    patience: float | None,
    expect: bool,
    run_changes: bool,
    as_json: bool,
    as_markdown: bool,
    logs: Path | None,
    list_kinds: bool,
) -> None:
    """Try which pairs of sites meet directly, behind every kind of NAT of the lab, with real edges.

    The table goes to stdout, progress to stderr; a cell is the time from the session until both ends are direct.
    With --changes: the gaps of a TCP stream through the mesh while something changes below it; exit status 1 when
    one is too long. Example: tools/nat-matrix --only home,symmetric --runs 10
    """
    if list_kinds:
        click.echo(report.aligned(report.everything()))
        return
    if lacks := requirements():
        raise click.ClickException("; ".join(lacks))
    sweep(prefix=PREFIX)
    form = Form.JSON if as_json else Form.MARKDOWN if as_markdown else Form.TEXT
    words = tuple(only.split(",")) if only else ()
    try:
        if run_changes:
            stories = changes.chosen(words) * runs
        else:
            pairs = matrix.chosen(words) if words else matrix.all_pairs(kinds.QUICK if quick else kinds.KINDS)
    except KeyError as error:
        raise click.BadParameter(f"{error}: see --list", param_hint="--only") from None
    if run_changes:
        falls_short = show_changes(stories, form, logs)
    else:
        todo = matrix.tasks(pairs, runs, patience, logs)
        found = run(todo, jobs)
        falls_short = (show_matrix(pairs, found, form) and expect) or len(found) < len(todo)
    raise SystemExit(1 if falls_short else 0)


def run(todo: Sequence[matrix.Task], jobs: int) -> list[Result]:
    """What was measured; less than all when a signal ends it."""
    found: list[Result] = []
    begun_at = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for result in matrix.measure_all(todo, jobs):
            found.append(result)
            passed = f"{len(found):3}/{len(todo)} {time.monotonic() - begun_at:4.0f} s"
            say(f"[{passed}] {result.pair} {result.run}: {report.line(result)}")
    except KeyboardInterrupt:
        say(f"ended by a signal: {len(todo) - len(found)} were not measured")
    return found


def show_matrix(pairs: Sequence[Pair], found: Sequence[Result], form: Form) -> bool:
    """Whether a pair falls short."""
    by_pair = report.by_pair(found)
    results = {pair.name: by_pair[pair.name] for pair in pairs if pair.name in by_pair}
    if form is Form.JSON:
        click.echo(json.dumps({"host": host.facts(), "pairs": report.document(results)}, indent=1))
    else:
        click.echo(report.markdown(results) if form is Form.MARKDOWN else report.text(results))
    short = report.all_shortfalls(results)
    for name, sentences in short.items():
        for sentence in sentences:
            say(f"falls short: {name}: {sentence}")
    return bool(short)


def show_changes(stories: Sequence[changes.Story], form: Form, logs: Path | None) -> bool:
    """Whether a stream did not survive, or a gap was too long."""
    gaps = []
    for gap in changes.play_all(stories, logs):
        gaps.append(gap)
        say(f"{gap.name}: {report.gap_line(gap)}")
    if form is Form.JSON:
        document = [{**asdict(gap), "ok": gap.ok} for gap in gaps]
        click.echo(json.dumps({"host": host.facts(), "changes": document}, indent=1))
    else:
        rows = report.gap_rows(gaps)
        click.echo(report.marked(rows) if form is Form.MARKDOWN else report.aligned(rows))
    return not all(gap.ok for gap in gaps)
