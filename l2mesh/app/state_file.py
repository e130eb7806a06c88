"""What a daemon remembers from one start to the next: one small JSON file in its state directory.

Losing it costs little: another UDP port, supernode keys are trusted anew, and an old initiation could be replayed
for a response that leads nowhere. So a damaged file is set aside with a warning.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from l2mesh.app import files
from l2mesh.core.mapping_values import MappingMemory
from l2mesh.crypto.keys import KeyFormatError, decode_key, encode_key
from l2mesh.crypto.tai64n import ReplayGuard, TimestampSource
from l2mesh.wire.pcp import NONCE_SIZE

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


class Mapping(msgspec.Struct):
    """A MappingMemory; the nonce in hex."""

    nonce: str = ""
    external_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    upnp_port: Annotated[int, Meta(ge=0, le=65535)] = 0


class State(msgspec.Struct):
    """`ports` by IP version ("4"; "4.1" of a side socket), `timestamp` and `guard` of tai64n.py, `pins`: supernode
    name -> public key.
    """

    ports: dict[str, int] = {}
    timestamp: str = ""
    guard: dict[str, str] = {}
    pins: dict[str, str] = {}
    mapping: Mapping = msgspec.field(default_factory=Mapping)


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

    def port(self, version: int, number: int = 0) -> int:
        """The random UDP port of the last run, 0 for none; `number` of a side socket."""
        return self.state.ports.get(_port_key(version, number), 0)

    def remember_port(self, version: int, number: int, port: int) -> None:
        self.state.ports[_port_key(version, number)] = port

    def mapping(self) -> MappingMemory:
        """What a router may have mapped to us in an earlier run."""
        stored = self.state.mapping
        try:
            nonce = bytes.fromhex(stored.nonce)
        except ValueError:
            nonce = b""
        return MappingMemory(nonce if len(nonce) == NONCE_SIZE else b"", stored.external_port, stored.upnp_port)

    def remember_mapping(self, memory: MappingMemory) -> None:
        self.state.mapping = Mapping(memory.nonce.hex(), memory.external_port, memory.upnp_port)

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


def _port_key(version: int, number: int) -> str:
    return f"{version}.{number}" if number else str(version)
