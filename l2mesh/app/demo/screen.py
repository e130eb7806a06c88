"""What is shown while the demo works: on stderr, for results go to stdout."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Protocol, Self

import click

from l2mesh.app.management.units import round_trip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from l2mesh.app.demo.results import Pair

ASCII = str.maketrans("┌┐└┘─│┼┬┴→·✓✗", "++++-|+++>.ox")


class Screen(Protocol):
    """Doors. A step is begun, then done or failed; `tick` whenever there is time."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, text: str) -> None: ...
    def begin(self, text: str) -> None: ...
    def done(self, text: str) -> None: ...
    def failed(self, text: str) -> None: ...
    def tick(self, pairs: Sequence[Pair]) -> None: ...


class Silent:
    """For --json."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...
    def show(self, text: str) -> None: ...
    def begin(self, text: str) -> None: ...
    def done(self, text: str) -> None: ...
    def failed(self, text: str) -> None: ...
    def tick(self, pairs: Sequence[Pair]) -> None: ...


class Lines:
    """For pipes, and where colour is not wanted: a line for each step and each change of a path."""

    def __init__(self) -> None:
        self._paths: dict[tuple[str, str], str | None] = {}
        self._started_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, text: str) -> None:
        click.echo(f"{fitting(text, sys.stderr.encoding)}\n", err=True)

    def begin(self, text: str) -> None: ...

    def done(self, text: str) -> None:
        self._line("ok", text)

    def failed(self, text: str) -> None:
        self._line("FAILED", text)

    def tick(self, pairs: Sequence[Pair]) -> None:
        for pair in pairs:
            key = pair.source, pair.destination
            if pair.path is not None and self._paths.get(key) != pair.path:
                self._paths[key] = pair.path
                what = f"{pair.source} -> {pair.destination}: {pair.path} by {pair.endpoint}"
                self._line("path", what if pair.rtt_ms is None else f"{what}, {round_trip(pair.rtt_ms)}")

    def _line(self, kind: str, text: str) -> None:
        click.echo(f"{time.monotonic() - self._started_at:5.1f} s  {kind:6}  {plain(text)}", err=True)


def make_screen(*, silent: bool) -> Screen:
    if silent:
        return Silent()
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb":
        # Imported here: nobody else has use for rich.
        from l2mesh.app.demo.live import Live

        return Live()
    return Lines()


def fitting(text: str, encoding: str | None) -> str:
    """With the characters of drawings replaced where an encoding has none."""
    return text if (encoding or "").lower().startswith("utf") else text.translate(ASCII)


def plain(text: str) -> str:
    """For lines that other programs may read."""
    return text.replace("→", "->")
