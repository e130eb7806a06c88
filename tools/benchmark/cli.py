"""tools/bench: the command line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from benchmark import host, plots, report
from benchmark.measures import MEASURES
from benchmark.measures.base import FULL, QUICK
from benchmark.profile import profile as profiling
from benchmark.results import Results, from_document
from benchmark.rig import PREFIX
from benchmark.schedule import Plan, execute, turns
from benchmark.systems import SYSTEMS
from l2mesh.lab import requirements, sweep

ROUNDS, QUICK_ROUNDS = 5, 1
BUSY_LOAD = 0.5
INTERRUPTED = 130
PICTURES = (".png", ".svg", ".pdf")
T = TypeVar("T")


def say(line: str) -> None:
    click.echo(line, err=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--quick", is_flag=True, help="One short round: to see that all works, not for figures to quote.")
@click.option("--runs", type=click.IntRange(1), help=f"Rounds. [{ROUNDS}; with --quick {QUICK_ROUNDS}]")
@click.option("--only", multiple=True, metavar="NAME", help="This system (or workload of --profile); repeatable.")
@click.option("--measures", "chosen", metavar="NAME,…", help="These measures; see --list.")
@click.option("--seconds", type=click.IntRange(1), help="Of each TCP run. [1]")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write every sample there; - is stdout."
)
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Draw into that PNG or SVG file.")
@click.option(
    "--from", "earlier", type=click.Path(exists=True, path_type=Path), help="Report on an earlier --json."
)
@click.option("--profile", is_flag=True, help="The engines alone: ns per frame of each stage.")
@click.option("--list", "listing", is_flag=True, help="List systems, with why one cannot run, and measures.")
def main(
    quick: bool,
    runs: int | None,
    only: Sequence[str],
    chosen: str | None,
    seconds: int | None,
    json_file: Path | None,
    picture: Path | None,
    earlier: Path | None,
    profile: bool,
    listing: bool,
) -> None:
    """Measure l2mesh and its peers, one after the other, round by round, in network namespaces of this machine.

    Tables go to stdout, progress to stderr. Figures are medians of the rounds, with minimum and maximum.
    """
    if picture and picture.suffix not in PICTURES:
        raise click.BadParameter(f"must end in one of {' '.join(PICTURES)}", param_hint="--plot")
    if listing:
        _list()
    elif profile:
        profiling(only, quick=quick, json_file=json_file)
    elif earlier:
        _show(from_document(json.loads(earlier.read_text())), {}, None, picture)
    else:
        effort = QUICK if quick else FULL
        if seconds:
            effort = replace(effort, tcp_seconds=seconds)
        rounds = runs or (QUICK_ROUNDS if quick else ROUNDS)
        results = Results()
        makers = _available(only, results)
        plan = Plan(makers, _chosen_measures(chosen), effort, rounds)
        sys.exit(_run(plan, results, json_file, picture))


def _list() -> None:
    for make in SYSTEMS:
        system = make()
        reason = system.available()
        click.echo(f"system   {system.name:16} {system.title}" + (f": skipped: {reason}" if reason else ""))
    for measure in MEASURES:
        click.echo(f"measure  {measure.name:16} {measure.title}")


def _run(plan: Plan, results: Results, json_file: Path | None, picture: Path | None) -> int:
    """The exit status: 1 if anything failed."""
    if lacks := requirements():
        raise click.ClickException("; ".join(lacks))
    sweep(prefix=PREFIX)
    facts = {**host.facts(), "rounds": plan.rounds}
    cells = len(turns(plan.rounds, len(plan.systems)))
    say(f"{len(plan.systems)} systems, {plan.rounds} rounds on both underlays: {cells} cells")
    if os.getloadavg()[0] > BUSY_LOAD:
        say(f"this machine is busy (load {os.getloadavg()[0]:.1f}): the figures will be noise")
    status = 0
    try:
        execute(plan, results, say)
    except KeyboardInterrupt:
        say("interrupted: this is what there is")
        status = INTERRUPTED
    if not results:
        say("nothing was measured")
        return status or 1
    _show(results, facts, json_file, picture)
    if plan.rounds == 1:
        say("one round is no measurement: neighbours on this machine decide as much as the systems do")
    return status or int(bool(results.failures))


def _show(results: Results, facts: dict[str, Any], json_file: Path | None, picture: Path | None) -> None:
    if json_file:
        text = json.dumps({"host": facts, **results.document()}, indent=1) + "\n"
        if str(json_file) == "-":
            click.echo(text, nl=False)
        else:
            json_file.write_text(text)
    if str(json_file) != "-":
        report.print_report(results)
    if picture:
        plots.draw(results, picture)


def _available(only: Sequence[str], results: Results) -> list[Any]:
    """The systems to run; of those that cannot, a line says why."""
    made = {make().name: make for make in SYSTEMS}
    makers = _pick(made, only, "--only")
    found = []
    for make in makers:
        system = make()
        if reason := system.available():
            results.skipped[system.name] = reason
            say(f"skipped  {system.name}: {reason}")
        else:
            results.titles[system.name] = system.title
            found.append(make)
    if not found:
        raise click.ClickException("none of these systems can run here")
    return found


def _chosen_measures(chosen: str | None) -> list[Any]:
    names = [name.strip() for name in chosen.split(",")] if chosen else []
    return _pick({measure.name: measure for measure in MEASURES}, names, "--measures")


def _pick(known: dict[str, T], names: Sequence[str], option: str) -> list[T]:
    """In the order of `known`; all without names."""
    for name in names:
        if name not in known:
            raise click.BadParameter(f"{name!r} is none of {', '.join(known)}", param_hint=option)
    return [value for name, value in known.items() if not names or name in names]
