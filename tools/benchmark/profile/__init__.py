"""The engines alone: what each stage costs, so that a slow-down is seen at once.

py-spy record -o profile.svg -- env PYTHONPATH=tools .venv/bin/python -m benchmark --profile --only tcp
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmark import host
from benchmark.profile.engines import Pair
from benchmark.profile.stages import STAGES, Profile, measure
from benchmark.profile.workloads import WORKLOADS, Workload

PASSES, QUICK_PASSES = 10, 2


def profile(only: Sequence[str], *, quick: bool, json_file: Path | None) -> None:
    """Measure and print; as JSON as well if there is a file for it (`-`: instead, on stdout)."""
    workloads = _pick(only)
    with redirect_stdout(sys.stderr):  # the simulator says its seed
        pair = Pair()
    # The first pass warms caches up, the processor's and ours.
    for workload in workloads:
        measure(pair, workload, 1)
    profiles = [measure(pair, workload, QUICK_PASSES if quick else PASSES) for workload in workloads]
    if json_file:
        text = json.dumps({"host": host.facts(), "profiles": [document(one) for one in profiles]}, indent=1) + "\n"
        if str(json_file) == "-":
            click.echo(text, nl=False)
            return
        json_file.write_text(text)
    Console().print(table(profiles))
    for one in profiles:
        if one.dropped:
            click.echo(f"{one.workload.name}: the engines dropped {one.dropped}", err=True)


def _pick(only: Sequence[str]) -> list[Workload]:
    known = [workload.name for workload in WORKLOADS]
    for name in only:
        if name not in known:
            raise click.BadParameter(f"{name!r} is none of {', '.join(known)}", param_hint="--only")
    return [workload for workload in WORKLOADS if not only or workload.name in only]


def document(one: Profile) -> dict[str, object]:
    return {
        "workload": one.workload.name,
        "title": one.workload.title,
        "unit": one.workload.unit,
        "ns": one.ns,
        "datagrams_per_batch": one.datagrams,
        "deliveries_per_batch": one.delivered,
        "dropped": {str(reason): count for reason, count in one.dropped.items()},
    }


def table(profiles: Sequence[Profile]) -> Table:
    made = Table(title="ns per segment or frame, median of all batches", title_justify="left")
    made.add_column("stage", no_wrap=True)
    for one in profiles:
        made.add_column(f"{one.workload.title}\nper {one.workload.unit}", justify="right", no_wrap=True)
    for stage in STAGES:
        whole = stage.startswith("whole")
        style, ends = ("bold", True) if whole else (None, False)
        made.add_row(stage, *(f"{one.ns[stage]:.0f}" for one in profiles), style=style, end_section=ends)
    made.add_row("datagrams per batch", *(f"{one.datagrams:.1f}" for one in profiles))
    made.add_row("deliveries per batch", *(f"{one.delivered:.1f}" for one in profiles))
    return made
