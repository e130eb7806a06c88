"""The figures as tables: for a terminal, for README, and what falls short."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from traversal.changes import STORIES, Gap
from traversal.expected import Pair, Technique
from traversal.kinds import ALL, PLACES, Kind
from traversal.pair import Result, seconds

NOTHING = "nothing"
Runs = Mapping[str, Sequence[Result]]


def by_pair(results: Sequence[Result]) -> dict[str, list[Result]]:
    """In the order of the runs."""
    found: defaultdict[str, list[Result]] = defaultdict(list)
    for result in sorted(results, key=lambda one: one.run):
        found[result.pair].append(result)
    return dict(found)


def cell(runs: Sequence[Result]) -> str:
    """`direct 0.12 s`, `relay`; of several runs `9/10 4.1 s`, with the median of those that met."""
    if len(runs) == 1:
        (result,) = runs
        return f"direct {seconds(result.direct_s)}" if result.path == "direct" else result.path
    met = sorted(result.direct_s for result in runs if result.direct_s is not None)
    if not met:
        return "relay" if all(result.path == "relay" for result in runs) else NOTHING
    return f"{len(met)}/{len(runs)} {seconds(met[len(met) // 2])}"


def shortfalls(runs: Sequence[Result]) -> list[str]:
    """Sentences; empty when the pair has what it is promised."""
    technique = Technique[runs[0].technique]
    found = [f"run {result.run}: {what}" for result in runs for what in result.shortfalls()]
    in_time = sum(result.in_time for result in runs)
    if technique.by_chance and in_time < math.ceil(technique.share * len(runs)):
        times = ", ".join(seconds(result.direct_s) for result in runs)
        found.append(
            f"{in_time} of {len(runs)} direct within {technique.within_s:g} s by {technique.title}: {times}"
        )
    return found


def all_shortfalls(results: Runs) -> dict[str, list[str]]:
    return {name: found for name, runs in results.items() if (found := shortfalls(runs))}


# ---- tables


def kinds_in(results: Runs) -> list[Kind]:
    """In the order of kinds.py."""
    names = {part for name in results for part in name.split(":")}
    return [kind for kind in ALL.values() if isinstance(kind, Kind) and kind.name in names]


def cell_of(results: Runs, row: Kind, column: Kind) -> str:
    for one, other in ((row, column), (column, row)):
        runs = results.get(Pair(one, other).name)
        if runs:
            return cell(runs)
    return ""


def rows(results: Runs) -> list[list[str]]:
    """The lower half: a pair is the same both ways. First the titles."""
    kinds = kinds_in(results)
    table = [["", *(kind.name for kind in kinds)]]
    for i, row in enumerate(kinds):
        cells = [cell_of(results, row, column) if j <= i else "" for j, column in enumerate(kinds)]
        table.append([row.name, *cells])
    return table


def place_rows(results: Runs) -> list[list[str]]:
    return [[place.title, cell(results[place.name])] for place in PLACES if place.name in results]


def text(results: Runs) -> str:
    """Two tables, of columns as wide as what is in them."""
    tables = [rows(results) if kinds_in(results) else [], place_rows(results)]
    return "\n\n".join(aligned(table) for table in tables if table)


def aligned(table: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = ("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines)


def markdown(results: Runs) -> str:
    """For README: as `text`, and what the kinds are."""
    kinds = kinds_in(results)
    parts = []
    if kinds:
        matrix = rows(results)
        matrix[0][0] = "after the session"
        parts.append(marked(matrix))
        parts.append("\n".join(f"* `{kind.name}`: {kind.title}" for kind in kinds))
    if places := place_rows(results):
        parts.append(marked([["in one place", "after the session"], *places]))
    return "\n\n".join(parts)


def marked(table: Sequence[Sequence[str]]) -> str:
    head, *body = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([head, "|" + " --- |" * len(table[0]), *body])


def everything() -> list[list[str]]:
    """What `--only` may name."""
    steps = [[story.name, "; ".join(step.title for step in story.steps)] for story in STORIES]
    return [*([one.name, one.title] for one in ALL.values()), ["with --changes:", ""], *steps]


def gap_rows(gaps: Sequence[Gap]) -> list[list[str]]:
    body = [
        [
            gap.title,
            milliseconds(gap.gap_s) if not gap.failure else "",
            milliseconds(gap.slow_s) if not gap.failure else "",
            milliseconds(gap.bound_s),
            "not measured" if gap.failure else "yes" if gap.ok else "slow" if gap.survived else "DIED",
        ]
        for gap in gaps
    ]
    return [["below a TCP stream", "gap ms", "at half its rate again after ms", "bound ms", "met"], *body]


def milliseconds(value: float) -> str:
    return f"{value * 1000:.0f}"


def gap_line(gap: Gap) -> str:
    if gap.failure:
        return gap.failure
    words = [f"gap {milliseconds(gap.gap_s)} ms", f"well after {milliseconds(gap.slow_s)} ms"]
    words.append(f"before {milliseconds(gap.before_s)} ms")
    if gap.path_again_s is not None:
        words.append(f"path again after {gap.path_again_s:.2f} s")
    words.append(", ".join(path or "no path" for path in gap.paths))
    return "; ".join(words) + ("" if gap.ok else f": falls short of {milliseconds(gap.bound_s)} ms")


def line(result: Result) -> str:
    """Of one result, while they come in."""
    words = [f"direct {seconds(result.direct_s)}" if result.path == "direct" else result.path]
    if result.attempt:
        words[0] += f" by {result.attempt}" if result.path == "direct" else f" after {result.attempt}"
    if result.first_frame_s is not None:
        words.append(f"first frame {result.first_frame_s * 1000:.0f} ms")
    words.append(f"sent {result.a.datagrams}+{result.b.datagrams}")
    if result.a.openers or result.b.openers:
        words.append(f"openers {result.a.openers}+{result.b.openers}")
    words += [f"{name}: {what}" for name, side in (("a", result.a), ("b", result.b)) for what in side.misjudged]
    words += result.shortfalls()
    return ", ".join(words)


def document(results: Runs) -> list[dict[str, Any]]:
    """Of every pair: what was promised, what became of it, and every run."""
    return [
        {
            "pair": name,
            "technique": Technique[runs[0].technique].title,
            "runs": [{**asdict(result), "path": result.path} for result in runs],
            "shortfalls": shortfalls(runs),
        }
        for name, runs in results.items()
    ]
