"""Tables for a terminal: medians with minimum and maximum, and the targets."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmark.metrics import GROUPS, METRICS, Better, Metric
from benchmark.results import Results
from benchmark.statistics import Summary
from benchmark.targets import Verdict, verdicts
from benchmark.underlay import Underlay

WIDTH = 150
"""Where nobody says how wide it is, as in a file."""


def print_report(results: Results) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for underlay in Underlay:
        for title, metrics in GROUPS:
            table = group_table(results, underlay, title, metrics)
            if table.row_count:
                console.print(table)
    targets = targets_table(results)
    if targets.row_count:
        console.print(targets)
    for name, reason in results.skipped.items():
        console.print(f"skipped  {name}: {reason}", highlight=False, markup=False)
    for one in results.failures:
        where = f"{one.system}, {one.underlay.value}, round {one.round}"
        console.print(f"failed   {where}: {one.text}", highlight=False, markup=False)


def number(value: float, metric: Metric) -> str:
    """With a space between thousands."""
    return f"{value:,.{metric.digits}f}".replace(",", " ")


def cell_text(summary: Summary | None, metric: Metric) -> str:
    """`median (min - max)`; of a single round just the value."""
    if summary is None:
        return "-"
    middle = number(summary.median, metric)
    if summary.count == 1:
        return middle
    return f"{middle} ({number(summary.low, metric)} - {number(summary.high, metric)})"


def group_table(results: Results, underlay: Underlay, title: str, metrics: tuple[str, ...]) -> Table:
    """Systems down, metrics across; metrics and systems without any value are left out."""
    rows = {name: [results.summary(name, underlay, metric) for metric in metrics] for name in results.titles}
    columns = [i for i in range(len(metrics)) if any(row[i] for row in rows.values())]
    table = Table(title=f"{title}: {underlay.title}", title_justify="left", title_style="bold")
    table.add_column("")
    for i in columns:
        metric = METRICS[metrics[i]]
        table.add_column(f"{metric.title}\n{metric.unit}", justify="right")
    for name, row in rows.items():
        if any(row[i] for i in columns):
            texts = [cell_text(row[i], METRICS[metrics[i]]) for i in columns]
            table.add_row(results.titles[name], *texts)
    return table


def targets_table(results: Results) -> Table:
    """Of the systems that were run."""
    table = Table(title="Targets: ratios of medians", title_justify="left", title_style="bold")
    for heading in ("", "underlay", "to reach"):
        table.add_column(heading)
    for heading in ("ours", "theirs", "ratio"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for verdict in verdicts(results):
        if verdict.ours is not None:
            table.add_row(*target_row(verdict, results.titles))
    return table


def target_row(verdict: Verdict, titles: dict[str, str]) -> tuple[str, ...]:
    target, metric = verdict.target, METRICS[verdict.target.metric]
    sign = ">=" if metric.better is Better.HIGHER else "<="
    peer = titles.get(target.peer, target.peer) if target.peer else ""
    bound = f"{sign} {target.factor:g} " + (f"x {peer}" if target.peer else metric.unit)
    system = titles.get(target.system, target.system)
    ours, theirs = (None if value is None else number(value, metric) for value in (verdict.ours, verdict.theirs))
    return (
        f"{system}: {metric.title}",
        verdict.underlay.value,
        bound,
        ours or "-",
        (theirs or "-") if target.peer else "",
        "-" if verdict.ratio is None else f"{verdict.ratio:.2f}" if target.peer else "",
        {True: "met", False: "NOT MET", None: "no figures"}[verdict.met],
    )
