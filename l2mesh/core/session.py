"""Sessions: the keys shared with one peer, sealing and opening in batches.

Numbers and rules are WireGuard's (whitepaper, section 6), where they do the same job. A session holds up to
three keypairs:

    next       made by us as responder; may open, may not seal, until the initiator has shown that it has
               the keys too (key confirmation: an authenticated datagram)
    current    seals, opens
    previous   opens, so that no datagram under way over a rekey is lost

                 initiator                          responder
    response     new -> current, current -> previous
    sent response                                   new -> next
    confirmed                                       next -> current, current -> previous
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag

from l2mesh.core.arena import ARENA_BUFFER_SIZE, SLOTS_FROM, Arena
from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.plain_run import PlainArea, PlainRun, expanded
from l2mesh.crypto.aead import Suite, cipher
from l2mesh.crypto.replay import ReplayWindow
from l2mesh.wire.outer import DATA_HEADER_SIZE, DATA_OVERHEAD, DATA_WORD, TAG_SIZE, Buffer, Outer, data_header
from l2mesh.wire.receive_area import ReceiveArea

if TYPE_CHECKING:
    from l2mesh.core.peer import Peer

# Specification: both ends must agree on these (WireGuard whitepaper, 6.1 and 6.2).
REKEY_AFTER_S: Final = 120.0
REJECT_AFTER_S: Final = 180.0
REKEY_AFTER_DATAGRAMS: Final = 1 << 32
# Far below the 2^61 at which WireGuard stops, far above where we rekey: AES-GCM's limits are bytes, not this.
REJECT_AFTER_DATAGRAMS: Final = 1 << 40

# Implementation: what the kernel takes in one UDP_SEGMENT send.
TRAIN_DATAGRAMS_MAX: Final = 64

RUN_MIN: Final = 4
"""Datagrams in a run for which it pays to read all headers at once."""

Plain = bytes | PlainRun
"""One plaintext, or many of equal size."""

_pack_header = data_header.pack_into
_unpack_header = data_header.unpack_from


@lru_cache(512)
def _headers_of(count: int, size: int) -> Struct:
    """The headers of `count` datagrams that lie `size` bytes apart."""
    between = f"{size - DATA_HEADER_SIZE}x"
    return Struct(">" + between.join([data_header.format[1:]] * count))


def in_trains(datagrams: Buffer, size: int) -> Iterator[Buffer]:
    """Contiguous datagrams of `size` bytes, maybe more than one UDP_SEGMENT send takes, as trains."""
    most = max(1, min(TRAIN_DATAGRAMS_MAX, ARENA_BUFFER_SIZE // size)) * size
    for start in range(0, len(datagrams), most):
        yield datagrams[start : start + most]


class Keypair:
    """One direction key each way, their counters, and whose they are."""

    __slots__ = (
        "_decrypt",
        "_decrypt_into",
        "_encrypt_into",
        "_window",
        "created_at",
        "initiator",
        "local_index",
        "peer",
        "remote_index",
        "send_counter",
        "suite",
    )

    def __init__(
        self,
        peer: Peer,
        *,
        suite: Suite,
        send_key: bytes,
        receive_key: bytes,
        local_index: int,
        remote_index: int,
        initiator: bool,
        now: float,
    ) -> None:
        self.peer = peer
        self.suite = suite
        self._encrypt_into = cipher(suite, send_key).encrypt_into
        receiving = cipher(suite, receive_key)
        self._decrypt = receiving.decrypt
        self._decrypt_into = receiving.decrypt_into
        self._window = ReplayWindow()
        self.local_index = local_index
        self.remote_index = remote_index
        self.initiator = initiator
        self.created_at = now
        self.send_counter = 0

    def seal(self, plaintexts: Iterable[Buffer], prefix: bytes, arena: Arena) -> list[tuple[memoryview, int]]:
        """Seal each plaintext into a datagram with `prefix` (a relay header) in front. Hot.

        Returns trains: (contiguous datagrams, size of each; only the last of a train may be shorter). Each
        plaintext is sealed before the next is asked for, so a generator may reuse its buffer.
        """
        encrypt_into = self._encrypt_into
        remote_index = self.remote_index
        counter = self.send_counter
        before = len(prefix)
        overhead = before + DATA_OVERHEAD
        trains: list[tuple[memoryview, int]] = []
        view = arena.view
        start = end = arena.used  # the open train is view[start:end]
        train_size = size = count = 0
        slots: list[tuple[memoryview, memoryview]] = []
        for plaintext in plaintexts:
            closed = size != train_size  # a shorter datagram can only be a train's last
            size = len(plaintext) + overhead
            full = end + size > ARENA_BUFFER_SIZE
            if count and (closed or full or size > train_size or count == TRAIN_DATAGRAMS_MAX):
                trains.append((view[start:end], train_size))
                start, count = end, 0
            if full:
                view = arena.next_view()
                start = end = 0
            if not count:
                train_size = size
                if size >= SLOTS_FROM:
                    view, start, slots = arena.slots(end, size, before)
                    end = start
                else:
                    slots = []
            header = end + before
            if before:
                view[end:header] = prefix
            _pack_header(view, header, DATA_WORD, remote_index, counter)
            if slots and size == train_size:
                nonce, body = slots[end // size]
                encrypt_into(nonce, plaintext, None, body)
                end += size
            else:
                at = header + DATA_HEADER_SIZE
                end += size
                encrypt_into(view[header + 4 : at], plaintext, None, view[at:end])
            counter += 1
            count += 1
        if count:
            trains.append((view[start:end], train_size))
        arena.used = end
        self.send_counter = counter
        return trains

    def open(
        self,
        data: memoryview,
        offset: int,
        size: int,
        skip: int,
        drops: Drops,
        plain_area: PlainArea | None = None,
    ) -> tuple[list[Plain], int]:
        """Open a run of datagrams of this keypair in `data`, from `offset` on. Hot.

        The datagrams are `size` bytes each (the last may be shorter) and begin with `skip` bytes of relay
        header. Returns the plaintexts of those that are genuine and new, and the offset of the first datagram
        that is for someone else. With `plain_area`, many segments may come as one run that lies there. The replay
        window moves only after authentication, and at once for a run of consecutive counters.
        """
        decrypt = self._decrypt
        local_index = self.local_index
        length = len(data)
        plaintexts: list[Plain] = []
        counters: list[int] = []
        if length - offset >= RUN_MIN * size and skip + DATA_OVERHEAD <= size:
            plaintexts, counters = self._open_run(data, offset, size, skip, plain_area)
            offset += len(counters) * size
        while offset < length:
            header = offset + skip
            end = min(offset + size, length)
            body = header + DATA_HEADER_SIZE
            if end < body + TAG_SIZE:
                drops.count(DropReason.MALFORMED)
                offset = end
                continue
            word, index, counter = _unpack_header(data, header)
            if index != local_index or word >> 24 != Outer.DATA:
                break
            offset = end
            try:
                plaintexts.append(decrypt(data[header + 4 : body], data[body:end], None))
            except InvalidTag:
                drops.count(DropReason.NOT_AUTHENTIC)
                continue
            counters.append(counter)
        return self._without_replays(plaintexts, counters, drops), offset

    def _open_run(
        self, data: memoryview, offset: int, size: int, skip: int, plain_area: PlainArea | None
    ) -> tuple[list[Plain], list[int]]:
        """The plaintexts and counters of all datagrams of full size, if each of them is ours and genuine. Hot.

        Else none: then they are looked at one by one.
        """
        decrypt = self._decrypt
        count = (len(data) - offset) // size
        first = offset + skip
        words = _headers_of(count, size).unpack_from(data, first)
        if words[::3].count(DATA_WORD) != count or words[1::3].count(self.local_index) != count:
            return [], []
        area = data.obj
        pieces = area.pieces(data[offset:], count, size, skip) if isinstance(area, ReceiveArea) else None
        if pieces is None:
            nonce, body, end = 4, DATA_HEADER_SIZE, size - skip
            starts = range(first, first + count * size, size)
            pieces = [(data[at + nonce : at + body], data[at + body : at + end]) for at in starts]
        opened: list[Plain] | None = None
        try:
            if plain_area is not None:
                opened = plain_area.open(self._decrypt_into, pieces, size - skip - DATA_OVERHEAD)
            if opened is None:
                opened = [decrypt(nonce_, sealed, None) for nonce_, sealed in pieces]
        except InvalidTag:
            return [], []
        return opened, list(words[2::3])

    def _without_replays(self, plaintexts: list[Plain], counters: list[int], drops: Drops) -> list[Plain]:
        count = len(counters)
        window = self._window
        if not count or (count == 1 and window.accept(counters[0])):
            return plaintexts
        first = counters[0]
        consecutive = counters == list(range(first, first + count))
        if consecutive and window.accept_run(first, count):
            return plaintexts
        singly = zip(expanded(plaintexts), counters, strict=True)
        fresh: list[Plain] = [plain for plain, counter in singly if window.accept(counter)]
        drops.count(DropReason.REPLAYED, count - len(fresh))
        return fresh


class Session:
    """The keypairs shared with one peer. Answers what may seal now, and when to make new keys."""

    __slots__ = ("current", "next", "previous")

    def __init__(self) -> None:
        self.previous: Keypair | None = None
        self.current: Keypair | None = None
        self.next: Keypair | None = None

    def keypairs(self) -> list[Keypair]:
        return [keypair for keypair in (self.previous, self.current, self.next) if keypair]

    def install_as_initiator(self, keypair: Keypair) -> None:
        self.previous, self.current, self.next = self.current, keypair, None

    def install_as_responder(self, keypair: Keypair) -> None:
        self.next = keypair

    def confirm(self, keypair: Keypair) -> bool:
        """An authenticated datagram came under `keypair`; True when this made it current."""
        if keypair is not self.next:
            return False
        self.previous, self.current, self.next = self.current, keypair, None
        return True

    def erase(self) -> None:
        self.previous = self.current = self.next = None

    def expire(self, now: float) -> None:
        """Erase keys older than REJECT_AFTER_S."""
        if self.previous and now - self.previous.created_at >= REJECT_AFTER_S:
            self.previous = None
        if self.current and now - self.current.created_at >= REJECT_AFTER_S:
            self.current = None
        if self.next and now - self.next.created_at >= REJECT_AFTER_S:
            self.next = None

    def sealing_keypair(self, now: float) -> Keypair | None:
        """The keypair to seal with, None when there is none that the peer would still accept."""
        keypair = self.current
        if (
            keypair is None
            or now - keypair.created_at >= REJECT_AFTER_S
            or keypair.send_counter >= REJECT_AFTER_DATAGRAMS
        ):
            return None
        return keypair

    def rekey_at(self, now: float) -> float | None:
        """When to begin a handshake for new keys, None without a session.

        The initiator of a keypair renews it; the responder steps in 15 s before the keys end, should
        the initiator have failed to.
        """
        keypair = self.current
        if keypair is None:
            return None
        if keypair.send_counter >= REKEY_AFTER_DATAGRAMS:
            return now
        return keypair.created_at + (REKEY_AFTER_S if keypair.initiator else REJECT_AFTER_S - 15.0)
