"""Many pairs, some at a time, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

from traversal.expected import Pair, expected_of
from traversal.kinds import ALL, PLACES, Kind, Place
from traversal.pair import Result, measure


@dataclass(frozen=True, slots=True)
class Task:
    """`pair`: its name, for a kind has rules that do not travel between processes."""

    pair: str
    run: int
    patience_s: float | None = None
    keep_logs: Path | None = None


def all_pairs(kinds: Sequence[Kind]) -> list[Pair]:
    """Unordered, equal ones too, and those of one place."""
    pairs = [Pair(a, b) for a, b in combinations_with_replacement(kinds, 2)]
    return pairs + [Pair(place) for place in PLACES]


def pair_named(name: str) -> Pair:
    """`A:B` or a place. KeyError."""
    first, _, second = name.partition(":")
    a, b = ALL[first], ALL[second] if second else None
    if isinstance(a, Place) and b is None:
        return Pair(a)
    if isinstance(a, Kind) and isinstance(b, Kind):
        return Pair(a, b)
    raise KeyError(name)


def chosen(words: Sequence[str]) -> list[Pair]:
    """Of the kinds among the words all pairs; beside them those pairs that are named. KeyError."""
    kinds = [kind for word in words if isinstance(kind := ALL.get(word), Kind)]
    named = [pair_named(word) for word in words if not isinstance(ALL.get(word), Kind)]
    return [Pair(a, b) for a, b in combinations_with_replacement(kinds, 2)] + named


def tasks(
    pairs: Sequence[Pair], runs: int, patience_s: float | None = None, keep_logs: Path | None = None
) -> list[Task]:
    """`runs` of each pair that meets by chance, one of the others."""
    return [
        Task(pair.name, run, patience_s, keep_logs)
        for pair in pairs
        for run in range(1, (runs if expected_of(pair).by_chance else 1) + 1)
    ]


def _measure(task: Task) -> Result:
    """A failure to measure is a result too, and no reason to stop."""
    pair = pair_named(task.pair)
    try:
        return measure(pair, task.run, task.patience_s, task.keep_logs)
    except Exception as error:  # whatever it is, it is told with the pair's name
        technique = expected_of(pair).name
        return Result(pair.name, task.run, technique=technique, failure=f"{type(error).__name__}: {error}")


def _leave_interrupts_to_parent() -> None:
    """It ends us by SIGTERM, which takes the lab down."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def measure_all(todo: Sequence[Task], jobs: int) -> Iterator[Result]:
    """In the order in which they end."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, initializer=_leave_interrupts_to_parent) as pool:
        yield from pool.imap_unordered(_measure, todo, chunksize=1)
