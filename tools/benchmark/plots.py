"""A picture of a run: one panel per metric, one bar per system and underlay, with minimum and maximum."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.metrics import METRICS, Better, Metric
from benchmark.report import number
from benchmark.results import Results
from benchmark.statistics import Summary
from benchmark.underlay import Underlay

LIMITS = ("raw", "vxlan")
OFF_SCALE = 2.5
"""A limit so many times above the best of the others is told in words: it would flatten all bars."""

PANELS = (
    "tcp_mbit",
    "tcp4_mbit",
    "udp64_rate",
    "flood64_rate",
    "udp1400_mbit",
    "loss_mbit",
    "rtt_us",
    "loaded_rtt_us",
    "cpu_s_per_gb",
    "memory_mb",
)
COLUMNS = 2
COLOURS = {Underlay.VETH: "#3b6ea5", Underlay.PLAIN: "#e08a3c"}
PANEL_INCHES = (7.0, 3.2)
BAR = 0.38
"""Height; two of them and a gap make 1."""


def draw(results: Results, path: Path) -> None:
    """Writes PNG, SVG or PDF, by the name's suffix."""
    # An extra: what only looks at types is not to need it.
    figure_class: Any = importlib.import_module("matplotlib.figure").Figure
    panels = [metric for metric in PANELS if any(_summaries(results, u, metric) for u in Underlay)]
    rows = max(1, -(-len(panels) // COLUMNS))
    figure = figure_class(figsize=(PANEL_INCHES[0] * COLUMNS, PANEL_INCHES[1] * rows), layout="constrained")
    for i, metric in enumerate(panels):
        _panel(figure.add_subplot(rows, COLUMNS, i + 1), results, metric)
    figure.savefig(path, dpi=110)


def _summaries(results: Results, underlay: Underlay, metric: str) -> dict[str, Summary]:
    found = {name: results.summary(name, underlay, metric) for name in results.titles}
    return {name: summary for name, summary in found.items() if summary}


def off_scale(found: Mapping[str, Summary]) -> list[str]:
    """The limits that stand far above everybody else."""
    others = [summary.high for name, summary in found.items() if name not in LIMITS]
    return [name for name in LIMITS if others and name in found and found[name].median > OFF_SCALE * max(others)]


def _panel(axes: Any, results: Results, metric: str) -> None:
    by_underlay = {underlay: _summaries(results, underlay, metric) for underlay in Underlay}
    away = {name for found in by_underlay.values() for name in off_scale(found)}
    names = [name for name in results.titles if any(name in found for found in by_underlay.values())]
    names = [name for name in names if name not in away]
    for offset, (underlay, found) in zip((-BAR / 2, BAR / 2), by_underlay.items(), strict=True):
        shown = [(i + offset, found[name]) for i, name in enumerate(names) if name in found]
        if shown:
            _bars(axes, shown, underlay, METRICS[metric])
    axes.set_title(_title(results, METRICS[metric], by_underlay, away), fontsize=9, loc="left")
    axes.set_yticks(range(len(names)), [results.titles[name] for name in names], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7, loc="best", frameon=False)


def _title(
    results: Results, metric: Metric, by_underlay: Mapping[Underlay, Mapping[str, Summary]], away: set[str]
) -> str:
    better = "more" if metric.better is Better.HIGHER else "less"
    title = f"{metric.title}, {metric.unit} ({better} is better)"
    for name in (name for name in results.titles if name in away):
        medians = [number(found[name].median, metric) for found in by_underlay.values() if name in found]
        title += f"\nnot drawn: {results.titles[name]} {' and '.join(medians)}"
    return title


def _bars(axes: Any, shown: Sequence[tuple[float, Summary]], underlay: Underlay, metric: Metric) -> None:
    medians = [summary.median for _, summary in shown]
    errors = [
        [summary.median - summary.low for _, summary in shown],
        [summary.high - summary.median for _, summary in shown],
    ]
    bars = axes.barh(
        [place for place, _ in shown],
        medians,
        BAR,
        xerr=errors,
        color=COLOURS[underlay],
        label=underlay.title,
        error_kw={"elinewidth": 1, "alpha": 0.6},
    )
    axes.bar_label(bars, labels=[number(median, metric) for median in medians], padding=3, fontsize=7)
