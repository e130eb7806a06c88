"""The directory of a network: who is in it, as told by one supernode.

A supernode numbers the changes of each network, from its first member on (an epoch). A copy asks "what changed
since version v of epoch e?" and takes in only an answer to that question, so loss, repetition and reordering do
no harm. After another epoch, or from version 0, the answer is a full copy: who is not in it is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from l2mesh.wire.control import DirectoryHint, DirectoryPage, DirectoryRequest, Entry

NO_EPOCH: Final = bytes(8)
ENTRIES_MAX: Final = 8192
"""Members that one supernode can tell us of."""


@dataclass(slots=True)
class Changes:
    """What a page changed: entries that are new or other than before, and keys that left."""

    changed: list[Entry] = field(default_factory=list)
    gone: list[bytes] = field(default_factory=list)


class Directory:
    """A copy of one supernode's directory. Doors: learn_version, receive, request."""

    def __init__(self) -> None:
        self.epoch = NO_EPOCH
        self.version = 0
        self.entries: dict[bytes, Entry] = {}
        self.synchronized = False
        """Whether a full copy was completed in this epoch."""
        self._latest = 0
        self._base = 0
        self._unconfirmed: set[bytes] = set()  # entries from before the full copy that is being read

    def learn_version(self, epoch: bytes, version: int) -> None:
        """A supernode named its epoch and latest version."""
        if epoch != self.epoch:
            self.epoch, self._latest = epoch, version
            self._start_over()
        self._latest = max(self._latest, version)

    def _start_over(self) -> None:
        self.version = self._base = 0
        self.synchronized = False
        self._unconfirmed = set(self.entries)

    def hint(self, message: DirectoryHint) -> None:
        self.learn_version(message.epoch, message.version)

    def request(self) -> DirectoryRequest | None:
        """What to ask next, None when up to date."""
        if self.version >= self._latest:
            return None
        return DirectoryRequest(self.epoch, self.version, self._base)

    def receive(self, page: DirectoryPage) -> Changes | None:
        """Take in a page; None when it answers another question than our last."""
        if page.epoch != self.epoch or page.version <= page.since:
            return None
        if page.since == 0 and self.version:
            self._start_over()  # our version is too old for the supernode to know what changed since
        if page.since != self.version:
            return None
        if page.since == 0:
            self._base = page.latest
        changes = Changes()
        for entry in page.entries:
            self._take_in(entry, changes)
        self.version = page.version
        self._latest = max(self._latest, page.latest)
        if self.version >= self._latest and not self.synchronized:
            self.synchronized = True
            changes.gone += sorted(self._unconfirmed)
            for key in self._unconfirmed:
                del self.entries[key]
            self._unconfirmed = set()
        return changes

    def _take_in(self, entry: Entry, changes: Changes) -> None:
        key = entry.public_key
        self._unconfirmed.discard(key)
        if not entry.instance:
            if self.entries.pop(key, None):
                changes.gone.append(key)
        elif self.entries.get(key) != entry and (key in self.entries or len(self.entries) < ENTRIES_MAX):
            self.entries[key] = entry
            changes.changed.append(entry)
