"""The demo on a terminal: steps that tick off, and a table of all directions that follows the paths."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self

from rich import box
from rich import live as rich
from rich.console import Console, Group
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from l2mesh.app.demo.screen import fitting
from l2mesh.app.management.units import round_trip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from l2mesh.app.demo.results import Pair

REFRESH_S: Final = 0.08
STEP_WIDTH: Final = 64
NAMES: Final = ("alice", "bob", "carol", "internet", "supernode")


class Live:
    """A Screen."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = rich.Live(console=self._console, auto_refresh=False, redirect_stdout=False)
        self._steps: list[Text] = []
        self._current: Spinner | None = None
        self._pairs: Sequence[Pair] = ()
        self._begun_at = time.monotonic()
        self._refreshed_at = float("-inf")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._current = None
        self._refresh()
        self._live.stop()

    def show(self, text: str) -> None:
        drawing = Text(self._fitting(text))
        drawing.highlight_words(NAMES, "bold")
        drawing.highlight_regex(r"\d+\.[\d.:]+", "cyan")
        self._console.print(drawing, no_wrap=True, overflow="crop")
        self._console.print()

    def begin(self, text: str) -> None:
        self._begun_at = time.monotonic()
        dots = "dots" if self._fitting("✓") == "✓" else "line"
        self._current = Spinner(dots, Text(self._fitting(text)), style="cyan")
        self._refresh()

    def done(self, text: str) -> None:
        self._end("✓", "green", text)

    def failed(self, text: str) -> None:
        self._end("✗", "bold red", text)

    def tick(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs
        if time.monotonic() - self._refreshed_at >= REFRESH_S:
            self._refresh()

    def _end(self, mark: str, style: str, text: str) -> None:
        took = f"{time.monotonic() - self._begun_at:.1f} s"
        width = max(min(STEP_WIDTH, self._console.width - 11), 1)
        line = Text.assemble((mark, style), " ", f"{text[:width]:{width}}", (f"{took:>8}", "dim"))
        line.plain = self._fitting(line.plain)
        self._steps.append(line)
        self._current = None
        self._refresh()

    def _refresh(self) -> None:
        self._refreshed_at = time.monotonic()
        parts: list[RenderableType] = [*self._steps]
        if self._current:
            parts.append(self._current)
        if self._pairs:
            parts += ["", self._table()]
        self._live.update(Group(*parts), refresh=True)

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for title, width in (("who", 5), ("peer", 5), ("path", 14), ("endpoint", 16)):
            table.add_column(title, min_width=width, no_wrap=True)
        for title in ("direct after", "RTT"):
            table.add_column(title, justify="right", min_width=8, no_wrap=True)
        for pair in self._pairs:
            direct = "" if pair.direct_s is None else f"{pair.direct_s:.2f} s"
            row = (pair.source, pair.destination, self._path(pair), pair.endpoint or "", direct, _rtt(pair))
            table.add_row(*row)
        return table

    def _path(self, pair: Pair) -> Text:
        if pair.path is None:
            return Text("looking", "dim")
        if pair.path == "relay":
            return Text("relay", "yellow")
        began = ("relay → ", "yellow") if pair.began_by_relay else ""
        text = Text.assemble(began, ("direct", "green"))
        text.plain = self._fitting(text.plain)
        return text

    def _fitting(self, text: str) -> str:
        return fitting(text, self._console.encoding)


def _rtt(pair: Pair) -> str:
    """That of `ping` as soon as there is one."""
    measured = pair.ping.mean_ms if pair.ping else None
    known = pair.rtt_ms if measured is None else measured
    return "" if known is None else round_trip(known)
