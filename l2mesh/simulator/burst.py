"""Runs of datagrams: equal in size but for the last, which may be shorter, in one buffer.

They leave an engine so (UDP GSO) and reach one so (UDP GRO), and inside the simulator a run travels as one as
long as nothing happens to a single datagram of it: what 200 edges send one another stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from l2mesh.simulator.engine import Address

MAX_DATAGRAMS = 64
"""In one run: UDP_MAX_SEGMENTS of older kernels."""
MAX_BYTES = 65_000
"""In one run: a UDP GRO buffer ends at 64 KB."""


def clean_size(data: bytes, size: int) -> int:
    """Size of each datagram of the run `data` as the rest here wants it: at least 1, at most all of it."""
    return size if 0 < size <= len(data) else len(data) or 1


def count(data: bytes, size: int) -> int:
    """How many datagrams the run `data` holds. An empty run is one empty datagram."""
    return 1 if len(data) <= size else -(-len(data) // size)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """The datagrams of the run `data`, one by one."""
    if len(data) <= size:
        return iter((data,))
    return (data[start : start + size] for start in range(0, len(data), size))


def join(runs: Iterable[tuple[Address, bytes, int]]) -> Iterator[tuple[Address, bytearray, int]]:
    """Join neighbouring (source, run, size) of one source into runs as long as can be, as UDP GRO does.

    The buffers are new, one for each run that comes out.
    """
    source: Address | None = None
    joined = bytearray()
    size = 0
    for next_source, data, next_size in runs:
        if source == next_source and _continues(joined, size, data, next_size):
            joined += data
            continue
        if source is not None:
            yield source, joined, size
        source, joined, size = next_source, bytearray(data), next_size
    if source is not None:
        yield source, joined, size


def _continues(run: bytearray, size: int, data: bytes, next_size: int) -> bool:
    """Whether `data` can follow: the run ends with a full datagram, and `data` goes on in that size."""
    if not run or not data or len(run) % size:
        return False
    if next_size != size and not len(data) <= next_size < size:
        return False
    total = len(run) + len(data)
    return total <= MAX_BYTES and -(-total // size) <= MAX_DATAGRAMS
