"""Tables for a terminal: figures across, numbers of peers or edges down, and how each figure grows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from scaling.figures import growth

WIDTH: Final = 150
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A figure. `at_most` is the target, which holds for the largest number."""

    key: str
    title: str
    digits: int = 1
    at_most: float | None = None
    grows: bool = True

    def text(self, value: Any) -> str:
        if not isinstance(value, int | float) or math.isnan(value):
            return "-" if value is None or isinstance(value, float) else str(value)
        return f"{value:,.{self.digits}f}".replace(",", " ")


EDGE: Final = (
    Column("peers", "peers", 0, grows=False),
    Column("all_up_s", "all up\ns", at_most=30),
    Column("start_cpu_s", "CPU\nuntil then s"),
    Column("idle_cpu_percent", "idle CPU\n% of a core", 2, at_most=5),
    Column("broadcast_arrived_ms", "broadcast\narrived ms"),
    Column("broadcast_delivered_ms", "delivered\nms", at_most=60),
    Column("broadcast_delivered_max_ms", "slowest\nms"),
    Column("broadcasts_complete", "complete", grows=False),
    Column("resident_mb", "memory\nMB"),
)

SUPERNODE: Final = (
    Column("edges", "edges", 0, grows=False),
    Column("joining_p99_ms", "joining\np99 ms"),
    Column("idle_cpu_percent", "idle CPU\n% of a core", 2),
    Column("resident_mb", "memory\nMB"),
    Column("renewal_p50_ms", "renewal\np50 ms"),
    Column("renewal_p99_ms", "renewal\np99 ms", at_most=100),
    Column("registration_p50_ms", "newcomer\np50 ms"),
    Column("registration_p99_ms", "newcomer\np99 ms", at_most=100),
)

RESTART: Final = (
    Column("edges", "edges", 0, grows=False),
    Column("back_p50_s", "half are\nback s"),
    Column("back_all_s", "all are\nback s", at_most=240),
    Column("settled_s", "and know\nall s"),
    Column("initiations", "initiations", 0),
    Column("initiations_peak", "at most\na second", 0),
    Column("cookies", "cookies", 0),
    Column("restart_cpu_s", "CPU\ns"),
    Column("restart_cpu_peak_percent", "CPU at most\n% of a core", 0, grows=False),
    Column("restart_resident_mb", "memory\nMB"),
)

TABLES: Final = (
    ("edge", "One edge and its peers", EDGE),
    ("supernode", "One supernode and its edges, of 100 networks", SUPERNODE),
    ("supernode", "The supernode was killed, and started again 3 s later", RESTART),
)


def print_report(results: dict[str, list[Row]]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    for part, title, columns in TABLES:
        rows = [row for row in results.get(part, []) if row.get(columns[1].key) is not None]
        if rows:
            console.print(table_of(title, columns, rows))


def table_of(title: str, columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column.title, justify="right")
    for row in rows:
        table.add_row(*(column.text(row.get(column.key)) for column in columns))
    table.add_section()
    if len(rows) > 1:
        table.add_row("growth", *(growth_text(column, columns[0].key, rows) for column in columns[1:]))
    table.add_row("target", *(target_text(column, rows[-1]) for column in columns[1:]))
    return table


def growth_text(column: Column, number: str, rows: Sequence[Row]) -> str:
    """n^1 is linear; n^0 does not grow."""
    if not column.grows:
        return ""
    exponent = growth({row[number]: row[column.key] for row in rows if row.get(column.key)})
    return "-" if math.isnan(exponent) else f"n^{exponent:.2f}"


def target_text(column: Column, largest: Row) -> str:
    if column.at_most is None:
        return ""
    value = largest.get(column.key)
    if value is None or math.isnan(value):
        return f"<= {column.at_most:g}: no figures"
    return f"<= {column.at_most:g}: {'met' if value <= column.at_most else 'NOT MET'}"
