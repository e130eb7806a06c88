"""How large a datagram one path carries: RFC 8899 (DPLPMTUD) in short. No ICMP is believed, it only hastens.

    base        every path begins with what IPv6 guarantees
    searching   padded probes of a table of sizes, the largest first, three of each: the first that is answered
                is the size of this path
    found       the larger ones are tried again after 10 s, 30 s ... 10 minutes. While much is sent in datagrams
                of this size, a probe of it four times a second says whether they arrive
    in doubt    that one had no answer. At once frames are cut small, and each round is a probe of this size and a
                small one. An answer to the large one ends the doubt. Five rounds in which only the small one is
                answered show a black hole: down to the base, where that is in doubt too down to the least, and the
                search begins anew

A TCP that runs into a black hole does not fall silent: the small ends of its bursts arrive, and are acknowledged.
Its retransmissions are each twice as far apart as the last, from 0.2 s on, so what counts is the time until the
first of them is cut small, not the time until all is proven.

A lossy path loses both kinds alike: each small probe that is lost takes three more rounds to prove anything. With
a fifth of all datagrams lost each way, five large ones are lost and five small ones answered once in 1500 doubts,
and then the search is back at the old size in a second.
"""

from __future__ import annotations

from typing import Final

BASE_SIZE: Final = 1232
"""UDP payload every IPv6 path carries (1280 - 40 - 8), and practically every IPv4 one."""
LEAST_SIZE: Final = 552
"""What IPv4 hosts must be able to take is 548 (RFC 791: 576 with all headers). Below this nothing works."""
SIZES: Final = {4: (1472, 1452, 1432, 1392, 1352, 1312, 1272), 6: (1452, 1432, 1412, 1372, 1332, 1292, 1252)}
"""UDP payloads to try by IP version: Ethernet, PPPoE, tunnels over them, then in steps of 40."""
SMALL_SIZES: Final = (BASE_SIZE, 1200, 1100, 1000, 900, 800, 700, 600)
"""And these, on a path that does not carry even the base."""

TRIES: Final = 3
TRY_AFTER_S: Final = 0.3
SEARCH_AGAIN_AFTER_S: Final = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""RFC 8899's PMTU_RAISE_TIMER is the last. Sooner at first: a full queue can look like a black hole."""
CONFIRM_EVERY_S: Final = 0.25
CONFIRM_AFTER_DATAGRAMS: Final = 8
"""So many of this size were sent, or might have been: a probe adds an eighth to the slowest stream. Less than the
ten segments with which TCP begins."""
BLACK_HOLE_ROUNDS: Final = 5
ROUNDS_FOR_A_LOST_ONE: Final = 3
ROUNDS_MAX: Final = 20
"""So lossy that nothing can be learned."""


class PathSize:
    """Doors: search, doubt, refused, answered; due, confirm, round; next_at, overdue_at. `size` is in bytes of UDP
    payload, and `safe_size` what frames are to be cut to.
    """

    __slots__ = (
        "_answered",
        "_confirm_at",
        "_confirmed_bytes",
        "_found",
        "_rounds",
        "_sizes",
        "_tries",
        "_trying",
        "next_at",
        "overdue_at",
        "size",
    )

    def __init__(self, version: int) -> None:
        """`version`: of IP."""
        self.size = BASE_SIZE
        self.next_at = float("inf")
        """When `due` has a size to try. Only a path that is valid needs to ask."""
        self.overdue_at = float("inf")
        """When a missing answer to what `confirm` had sent is to raise doubt."""
        self._confirm_at = float("-inf")
        self._confirmed_bytes = 0
        self._sizes = SIZES[version]
        self._trying: list[int] = []
        """Sizes that are left to be tried in this search."""
        self._tries = 0
        self._found = 0
        """Searches in a row that ended where they began."""
        self._rounds: int | None = None
        """Of the doubt: how many there were. None: there is no doubt."""
        self._answered = 0
        """Small probes that were answered in these rounds."""

    @property
    def doubted(self) -> bool:
        return self._rounds is not None

    @property
    def safe_size(self) -> int:
        """Small at once while there is doubt: if it was for nothing, that cost a few headers. What everybody
        carries takes one round in vain to be given up.
        """
        if self._rounds is None:
            return self.size
        if self.size > BASE_SIZE:
            return BASE_SIZE
        return LEAST_SIZE if self._rounds > 1 else self.size

    # ---- facts

    def search(self, now: float) -> None:
        """The path was found to work, maybe after a change: begin with the base."""
        self.size = BASE_SIZE
        self._rounds = None
        self.overdue_at = float("inf")
        self._found = 0
        self._begin(now)

    def doubt(self) -> None:
        """A datagram of this size may have been too large: let rounds find out."""
        self.overdue_at = float("inf")
        if self._rounds is None:
            self._rounds = self._answered = 0

    def refused(self, now: float) -> None:
        """Our own link does not take a datagram: the one that is being tried, or else one of this size."""
        if self._tries:
            self._tries = TRIES
            self.next_at = now
        elif self.size > BASE_SIZE:
            self.search(now)
        else:
            self.doubt()

    def answered(self, size: int, now: float) -> None:
        """A probe in a datagram of `size` bytes was."""
        if size >= self.size:
            self.overdue_at = float("inf")
        if size > self.size:
            self.size = size
            self._found = 0
            self._rounds = None
            self._end(now)
        elif size == self.size:
            self._rounds = None
        else:
            self._answered += 1

    # ---- what to send

    def due(self, now: float) -> int | None:
        """The size to try now."""
        if now < self.next_at:
            return None
        if not self._trying:
            self._begin(now)
        if self._tries >= TRIES:
            self._trying.pop(0)
            self._tries = 0
        if not self._trying:
            self._end(now)
            return None
        self._tries += 1
        self.next_at = now + TRY_AFTER_S
        return self._trying[0]

    def confirm(self, sent_bytes: int, patience: float, now: float) -> int | None:
        """The size of a probe to send now, to see that it passes. `sent_bytes`: to the peer so far, in all;
        `patience`: how long the answer may take.
        """
        enough = sent_bytes - self._confirmed_bytes >= CONFIRM_AFTER_DATAGRAMS * self.size
        if not enough or self.doubted or now < self._confirm_at:
            return None
        self._confirm_at = now + CONFIRM_EVERY_S
        self._confirmed_bytes = sent_bytes
        self.overdue_at = min(self.overdue_at, now + patience)
        return self.size

    def round(self, now: float) -> int | None:
        """The size to send beside a small probe, if there is doubt."""
        if self._rounds is None:
            return None
        lost = max(0, self._rounds - self._answered)
        black_hole = self._rounds >= BLACK_HOLE_ROUNDS + ROUNDS_FOR_A_LOST_ONE * lost
        if self._rounds >= ROUNDS_MAX or (black_hole and self.size == LEAST_SIZE):
            self._rounds = None
            return None
        if black_hole:
            self._go_down(now)
        self._rounds += 1
        return self.size

    # ---- details

    def _go_down(self, now: float) -> None:
        """The new size is in doubt too, until it is answered."""
        self.size = BASE_SIZE if self.size > BASE_SIZE else LEAST_SIZE
        self._rounds = self._answered = self._found = 0
        self._begin(now)

    def _begin(self, now: float) -> None:
        table = self._sizes + SMALL_SIZES
        self._trying = [size for size in table if size > self.size]
        self._tries = 0
        self.next_at = now

    def _end(self, now: float) -> None:
        self._trying = []
        self._tries = 0
        if self.size == self._sizes[0]:
            self.next_at = float("inf")
            return
        if self.size == BASE_SIZE:
            self.doubt()  # nobody has seen it pass yet
        self.next_at = now + SEARCH_AGAIN_AFTER_S[min(self._found, len(SEARCH_AGAIN_AFTER_S) - 1)]
        self._found += 1
