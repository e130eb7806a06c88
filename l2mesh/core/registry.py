"""The supernode's half of the directory: who is registered in which network, and what changed when.

Bounds: networks, members per network, and what is remembered of those who left. A member that leaves stays as a
tombstone until TOMBSTONES_MAX newer ones came; who knew it and asks later gets a full copy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from l2mesh.wire.control import CONTROL_SIZE_MAX, UNKNOWN_NAT, Candidate, DirectoryPage, Entry, NatReport

NETWORKS_MAX: Final = 1024
MEMBERS_MAX: Final = 4096
"""Members of one network."""
TOMBSTONES_MAX: Final = 1024
ENTRIES_PER_PAGE_MAX: Final = 64
PAGE_OVERHEAD: Final = 64
"""Bytes of a page around its entries, generously."""

P = TypeVar("P")


@dataclass(slots=True, eq=False)
class Registration(Generic[P]):
    """One member of one network; `peer` is the session it came by."""

    peer: P
    public_key: bytes
    name: str
    instance: bytes
    candidates: tuple[Candidate, ...]
    expires_at: float
    nat: NatReport = UNKNOWN_NAT
    observed: Candidate | None = None
    relays: bool = False


@dataclass(slots=True, eq=False)
class Change:
    """What happened to one member, with how many bytes of a page it takes."""

    version: int
    entry: Entry
    size: int


class NetworkRegistry(Generic[P]):
    """Members of one network and the log of changes. Doors: put, remove, page."""

    def __init__(self, epoch: bytes) -> None:
        self.epoch = epoch
        self.version = 0
        self.members: dict[bytes, Registration[P]] = {}
        self._log: dict[bytes, Change] = {}  # the last of each key
        self._order: list[Change] = []  # oldest first; some were replaced or forgotten since
        self._tombstones: OrderedDict[bytes, Change] = OrderedDict()  # oldest first
        self._forgotten_version = 0

    def put(self, registration: Registration[P]) -> bool:
        """Add or renew a member; True when others have to know, False when nothing changed for them."""
        entry = Entry(
            registration.public_key,
            registration.name,
            registration.instance,
            registration.candidates,
            registration.nat,
            registration.observed,
            registration.relays,
        )
        self.members[registration.public_key] = registration
        known = self._log.get(registration.public_key)
        if known is not None and known.entry == entry:
            return False
        self._record(entry)
        return True

    def remove(self, public_key: bytes) -> bool:
        """Whether there was such a member."""
        registration = self.members.pop(public_key, None)
        if registration is None:
            return False
        self._record(Entry(public_key, registration.name, b"", ()))
        return True

    def _record(self, entry: Entry) -> None:
        self.version += 1
        key = entry.public_key
        change = Change(self.version, entry, _encoded_size(entry))
        self._log[key] = change
        self._order.append(change)
        self._tombstones.pop(key, None)
        if not entry.instance:
            self._tombstones[key] = change
            self._forget_tombstones()
        if len(self._order) > 2 * len(self._log) + ENTRIES_PER_PAGE_MAX:
            self._order = [one for one in self._order if self._is_last(one)]

    def _is_last(self, change: Change) -> bool:
        return self._log.get(change.entry.public_key) is change

    def _forget_tombstones(self) -> None:
        if len(self._tombstones) > TOMBSTONES_MAX:
            key, change = self._tombstones.popitem(last=False)
            del self._log[key]
            self._forgotten_version = change.version

    def page(self, since: int, base: int = 0) -> DirectoryPage:
        """The changes after `since`, as many as fit in one control message, oldest first.

        A copy that began at version `base` or later knows nobody who left before: for it the forgotten
        tombstones up to there are no loss.
        """
        if max(since, base) < self._forgotten_version or since > self.version:
            since = 0
        entries: list[Entry] = []
        size, version = PAGE_OVERHEAD, since
        for change in self._changes_after(since):
            size += change.size
            if entries and (size > CONTROL_SIZE_MAX or len(entries) == ENTRIES_PER_PAGE_MAX):
                return DirectoryPage(self.epoch, since, version, self.version, tuple(entries))
            version = change.version
            entries.append(change.entry)
        return DirectoryPage(self.epoch, since, self.version, self.version, tuple(entries))

    def _changes_after(self, since: int) -> Iterator[Change]:
        order = self._order
        for index in range(bisect_right(order, since, key=lambda change: change.version), len(order)):
            if self._is_last(order[index]):
                yield order[index]


def _encoded_size(entry: Entry) -> int:
    # Key, instance and name with their msgpack headers; candidates of IP, port and origin; a NAT report.
    candidates = [*entry.candidates, entry.observed] if entry.observed else entry.candidates
    return 32 + 8 + 8 + len(entry.name) + sum(len(candidate.ip) + 7 for candidate in candidates) + 19
