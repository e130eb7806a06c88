"""What a daemon remembers from one start to the next: one small JSON file in its state directory.

Losing it costs little: another UDP port, supernode keys are trusted anew, and an old initiation could be replayed
for a response that leads nowhere. So a damaged file is set aside with a warning.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import msgspec

from l2mesh.app import files
from l2mesh.crypto.keys import KeyFormatError, decode_key, encode_key
from l2mesh.crypto.tai64n import ReplayGuard, TimestampSource

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


class State(msgspec.Struct):
    """`ports` by IP version, `timestamp` and `guard` of tai64n.py, `pins`: supernode name -> public key."""

    ports: dict[str, int] = {}
    timestamp: str = ""
    guard: dict[str, str] = {}
    pins: dict[str, str] = {}


class StateFile:
    """Doors: timestamps, guard, port, pin (as read); save."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said = ""
        self.state = self._load()
        self._saved = msgspec.json.encode(self.state)

    def _load(self) -> State:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=State)
        except FileNotFoundError:
            return State()
        except (OSError, msgspec.DecodeError) as error:
            log.warning("%s: cannot be read (%s): starting without what it remembered", self._path, error)
            return State()

    def timestamps(self, wall_now: float) -> TimestampSource:
        try:
            return TimestampSource(bytes.fromhex(self.state.timestamp) or None, wall_now)
        except ValueError:
            return TimestampSource(None, wall_now)

    def guard(self) -> ReplayGuard:
        guard = ReplayGuard()
        try:
            guard.restore(self.state.guard)
        except ValueError as error:
            log.warning("%s: %s: starting without it", self._path, error)
        return guard

    def port(self, version: int) -> int:
        """The UDP port of the last run, 0 for none."""
        return self.state.ports.get(str(version), 0)

    def pin(self, supernode: str) -> bytes | None:
        """The key that a supernode showed at first use."""
        text = self.state.pins.get(supernode)
        try:
            return decode_key(text, "key") if text else None
        except KeyFormatError:
            return None

    def remember_pin(self, supernode: str, key: bytes) -> None:
        self.state.pins[supernode] = encode_key(key)

    def save(self, timestamps: TimestampSource, guard: ReplayGuard) -> None:
        """Write what changed. A failure is logged: the daemon goes on."""
        self.state.timestamp = timestamps.stored.hex()
        self.state.guard = guard.export()
        encoded = msgspec.json.encode(self.state)
        if encoded == self._saved:
            return
        try:
            files.replace(self._path, encoded, files.PRIVATE)
        except OSError as error:
            self._say_once(f"{self._path}: cannot be written by uid {os.geteuid()}: {error.strerror}")
        else:
            self._saved = encoded
            self._said = ""

    def _say_once(self, failure: str) -> None:
        if failure != self._said:
            log.warning("%s: choose another [node] state, or let that user in", failure)
        self._said = failure
