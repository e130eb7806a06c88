"""Numbers as people read them. `-` stands for what is not known."""

from __future__ import annotations

from typing import Final

NOTHING: Final = "-"


def duration(seconds: float | None) -> str:
    """`3 s`, `2 min 5 s`, `3 h 12 min`, `2 d 4 h`: the two largest units."""
    if seconds is None:
        return NOTHING
    whole = int(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def ago(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{duration(seconds)} ago"


def size(count: int) -> str:
    """`512 B`, `1.5 kB`, `3.2 GB`: powers of 1000."""
    if count < 1000:
        return f"{count} B"
    value = count / 1000
    for unit in ("kB", "MB", "GB", "TB"):
        if value < 999.95:
            return f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} PB"


def round_trip(milliseconds: float | None) -> str:
    """Three digits: `0.412 ms`, `12.3 ms`, `204 ms`."""
    if milliseconds is None:
        return NOTHING
    digits = 3 if milliseconds < 1 else 2 if milliseconds < 10 else 1 if milliseconds < 100 else 0
    return f"{milliseconds:.{digits}f} ms"


def share(part: float | None) -> str:
    """A part of all as a percentage: `0 %`, `0.4 %`, `12 %`."""
    if part is None:
        return NOTHING
    percent = 100 * part
    return f"{percent:.0f} %" if percent >= 9.95 or percent < 0.05 else f"{percent:.1f} %"


def count_of(count: int, singular: str, plural: str = "") -> str:
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}".replace(",", " ")
