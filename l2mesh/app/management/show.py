"""Documents on the screen: tables with colour on a terminal, aligned text for a pipe, JSON as it came.

Names of peers come from others: what could command a terminal is shown as `?`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from l2mesh.app.management.units import NOTHING, count_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A cell of this text says how well something goes.
STYLES: Final = {
    "up": "green",
    "direct": "green",
    "registered": "green",
    "connecting": "yellow",
    "relay": "yellow",
    "registering": "yellow",
    "down": "red",
    "refused": "red",
}


GAP: Final = 2
"""Spaces between columns."""


class Column(NamedTuple):
    """`right`: numbers, which align at their last digit. `spare`: left out where a terminal is too narrow."""

    title: str
    right: bool = False
    spare: bool = False


def show_json(document: bytes) -> None:
    """What the daemon answered, byte for byte."""
    click.echo(document)


def show_table(columns: Sequence[Column], rows: Sequence[Sequence[str | None]], nothing: str = "") -> None:
    """`nothing`: said instead of a table without rows."""
    if nothing and not rows:
        click.echo(nothing)
        return
    cells = [[NOTHING if cell is None else printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _show_rich(columns, cells)
    else:
        click.echo(aligned(columns, cells))


def show_facts(facts: Mapping[str, str]) -> None:
    """Lines of a label and a value."""
    width = max(map(len, facts))
    for label, value in facts.items():
        click.echo(f"{label:{width}}  {printable(value)}")


def show_drops(drops: Mapping[str, int]) -> None:
    """Reasons and counts, most frequent first; nothing if nothing was dropped."""
    for reason, count in sorted(drops.items(), key=lambda one: -one[1]):
        click.echo(f"dropped  {count_of(count, 'time')}: {printable(reason)}")


def aligned(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, their titles in capitals."""
    lines = [[column.title.upper() for column in columns], *rows]
    widths = widths_of(columns, rows)
    return "\n".join(
        (" " * GAP)
        .join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        )
        .rstrip()
        for line in lines
    )


def printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def widths_of(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    lines = [[column.title for column in columns], *rows]
    return [max(len(line[index]) for line in lines) for index in range(len(columns))]


def fitting(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Which columns to show: all, less those spare ones, from the right, that have no room in `width`."""
    widths = widths_of(columns, rows)
    shown = list(range(len(columns)))
    for index in reversed(range(len(columns))):
        if sum(widths[one] + GAP for one in shown) - GAP <= width:
            break
        if columns[index].spare:
            shown.remove(index)
    return shown


def _show_rich(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    # Imported here: a pipe, or --json, has no need of it.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    shown = fitting(columns, rows, console.width)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for column in (columns[index] for index in shown):
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        # Text: brackets of an IPv6 endpoint are no markup.
        table.add_row(*(Text(row[index], style=STYLES.get(row[index], "")) for index in shown))
    console.print(table)
