"""Timestamps of initiations: TAI64N labels (cr.yp.to/libtai/tai64.html) that grow from one to the next.

::

    2^62 + 10 + Unix seconds (8 bytes) | nanoseconds (4 bytes)        big-endian: compared as bytes

The time in it does not matter, only that it grows: `TimestampSource` never goes back whatever the clock does,
and `ReplayGuard` refuses what has not grown. Ten is the difference of TAI and UTC in 1970; leap seconds since
are left out, as in WireGuard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2mesh.crypto.keys import decode_key, encode_key

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMESTAMP_SIZE = 12

_EPOCH = 2**62 + 10
_SECOND = 10**9

RESERVE_BY_CLOCK = 600 * _SECOND
"""Nanoseconds claimed ahead while the clock leads: a write of the state file each five to ten minutes."""

RESERVE_BY_COUNT = _SECOND
"""Nanoseconds claimed ahead while the clock is behind and each timestamp is one nanosecond more: never used
up, and a thousand restarts move the timestamps on by 17 minutes only."""

GUARD_LIMIT = 4096
"""Keys a ReplayGuard remembers (about 250 bytes each): twenty times the largest network aimed at."""


def tai64n(unix: float) -> bytes:
    """The label of Unix seconds, 12 bytes."""
    return _label(int(unix * _SECOND))


def unix_seconds(timestamp: bytes) -> float:
    """The Unix seconds of a label, which a float holds to about a microsecond. Raises ValueError."""
    return _nanoseconds(timestamp) / _SECOND


class TimestampSource:
    """Hands out timestamps that grow, over restarts too.

    Doors: `next` for an initiation; `stored`, which the caller writes to its state file whenever it has
    changed and gives back at the next start. It lies ahead of all that was handed out: a crash repeats none.
    """

    __slots__ = ("_ceiling", "_last")

    def __init__(self, stored: bytes | None, wall_now: float) -> None:
        """`stored`: what the last run left, if any. Raises ValueError when it is no timestamp."""
        self._last = 0 if stored is None else _nanoseconds(stored)
        self._ceiling = self._last
        self._claim(int(wall_now * _SECOND))

    @property
    def stored(self) -> bytes:
        """12 bytes: above every timestamp handed out so far."""
        return _label(self._ceiling)

    def next(self, wall_now: float) -> bytes:
        """12 bytes, greater than every one before. `wall_now`: Unix seconds, right or wrong."""
        clock = int(wall_now * _SECOND)
        self._last = max(clock, self._last + 1)
        self._claim(clock)
        return _label(self._last)

    def _claim(self, clock: int) -> None:
        reserve = RESERVE_BY_CLOCK if clock >= self._last else RESERVE_BY_COUNT
        # At half, not at the end: the new ceiling is on disk long before it is needed.
        if self._ceiling - max(clock, self._last) < reserve // 2:
            self._ceiling = max(clock, self._last) + reserve


class ReplayGuard:
    """The greatest timestamp of each static key: an initiation must show a greater one.

    Bounded: a new key beyond `limit` displaces the key that was quiet the longest. That key's last initiation
    could then be replayed, which gains nothing: no session moves before the initiator confirms its key.
    Doors: `accepts`, `accept`; `export` and `restore` for the state file.
    """

    __slots__ = ("_greatest", "_limit")

    def __init__(self, limit: int = GUARD_LIMIT) -> None:
        self._limit = limit
        self._greatest: dict[bytes, bytes] = {}  # the key that was quiet the longest comes first

    def __len__(self) -> int:
        return len(self._greatest)

    def accepts(self, public_key: bytes, timestamp: bytes) -> bool:
        """Whether `accept` would say True; no change."""
        return len(timestamp) == TIMESTAMP_SIZE and timestamp > self._greatest.get(public_key, b"")

    def accept(self, public_key: bytes, timestamp: bytes) -> bool:
        """True and remembered when the timestamp has grown. Only for an initiation that proved genuine."""
        if not self.accepts(public_key, timestamp):
            return False
        self._greatest.pop(public_key, None)
        self._greatest[public_key] = timestamp
        if len(self._greatest) > self._limit:
            del self._greatest[next(iter(self._greatest))]
        return True

    def export(self) -> dict[str, str]:
        """For the state file: key in base64 -> timestamp in hex, quietest first."""
        return {encode_key(key): timestamp.hex() for key, timestamp in self._greatest.items()}

    def restore(self, entries: Mapping[str, str]) -> None:
        """Take in what `export` gave; a greater timestamp stays. Raises ValueError, with nothing taken in."""
        decoded = [(decode_key(key, "replay guard"), bytes.fromhex(text)) for key, text in entries.items()]
        for _, timestamp in decoded:
            if len(timestamp) != TIMESTAMP_SIZE:
                raise ValueError("replay guard: a timestamp has 12 bytes")
        for key, timestamp in decoded:
            self.accept(key, timestamp)


def _label(nanoseconds: int) -> bytes:
    seconds, rest = divmod(nanoseconds, _SECOND)
    return (_EPOCH + seconds).to_bytes(8, "big") + rest.to_bytes(4, "big")


def _nanoseconds(timestamp: bytes) -> int:
    if len(timestamp) != TIMESTAMP_SIZE:
        raise ValueError(f"timestamp: {len(timestamp)} bytes, but it has {TIMESTAMP_SIZE}")
    seconds, rest = int.from_bytes(timestamp[:8], "big"), int.from_bytes(timestamp[8:], "big")
    if seconds >= 2**63 or rest >= _SECOND:
        raise ValueError("timestamp: not TAI64N")
    return (seconds - _EPOCH) * _SECOND + rest
