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

    from rich.table import Table

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


class Column(NamedTuple):
    """`right`: numbers, which align at their last digit."""

    title: str
    right: bool = False


def show_json(document: bytes) -> None:
    """What the daemon answered, byte for byte."""
    click.echo(document)


def show_table(columns: Sequence[Column], rows: Sequence[Sequence[str | None]]) -> None:
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
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in lines
    )


def printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _show_rich(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    # Imported here: a pipe, or --json, has no need of it.
    from rich.console import Console

    Console().print(_rich_table(columns, rows))


def _rich_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        # Text: brackets of an IPv6 endpoint are no markup.
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    return table
