"""What follows from the answers of STUN servers for the NAT before us: pure functions, with tables in their tests.

A class is said only when the answers leave no other; else it is unknown. After RFC 5780, section 4, of which they
differ in one thing: any servers will do, if only there are two addresses, or two ports, among them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from math import gcd
from typing import Final

from l2mesh.core import nat
from l2mesh.core.nat import PORTS_HIGH, PORTS_LOW, Allocation, AllocationKind, Filtering
from l2mesh.wire.address import Address

SAMPLES_LEAST: Final = 5
"""Ports to judge an allocation by. Of five at random over all ports, all lie in a block of 8192 by chance once in
800 times; of eight, once in 240 000."""
BLOCK_SIZES: Final = (512, 1024, 2048, 4096, 8192)
"""Ports a carrier's NAT gives a subscriber. More is no help to anybody who has to guess one."""
STEP_MAX: Final = 32
"""Ports from one sample to the next at which the allocator still goes in order: some for the flows of others
between. Of eight at random out of 512 ports, five of the steps are so less than once in 10 000 times."""
IN_ORDER: Final = 2 / 3
"""Part of the steps that must be so: one may be lost to the end of the range, one to reordering."""


def classify_mapping(seen: Mapping[Address, Address], own: Collection[Address]) -> nat.Mapping:
    """`seen`: by server address, where it sees our main socket; `own`: that socket's addresses on this host.

    A server that sees our own address has no NAT between it and us; where another one has, that one counts.
    """
    outside = {server: reflexive for server, reflexive in seen.items() if reflexive not in own}
    if not outside:
        return nat.Mapping.NONE if seen else nat.Mapping.UNKNOWN
    pairs = list(combinations(outside, 2))
    by_port = [outside[a] == outside[b] for a, b in pairs if a[0] == b[0]]
    by_host = [outside[a] == outside[b] for a, b in pairs if a[0] != b[0]]
    if not all(by_port):
        return nat.Mapping.ADDRESS_AND_PORT_DEPENDENT
    if not all(by_host):
        return nat.Mapping.ADDRESS_DEPENDENT if by_port else nat.Mapping.DESTINATION_DEPENDENT
    return nat.Mapping.ENDPOINT_INDEPENDENT if by_host else nat.Mapping.UNKNOWN


def classify_filtering(*, other_host: bool | None, other_port: bool | None) -> Filtering:
    """Whether an answer came in from a host, and from a port of the known host, that we never sent to.

    None: no server could be asked to answer so.
    """
    if other_host:
        return Filtering.ENDPOINT_INDEPENDENT
    if other_port is False:
        return Filtering.ADDRESS_AND_PORT_DEPENDENT
    if other_port and other_host is False:
        return Filtering.ADDRESS_DEPENDENT
    return Filtering.UNKNOWN


def estimate_allocation(in_order: Sequence[int], others: Collection[int] = ()) -> Allocation:
    """`in_order`: outside ports in the order in which the NAT gave them; `others`: further ones that it gave."""
    if not in_order or len(in_order) + len(others) < SAMPLES_LEAST:
        return nat.NO_ALLOCATION
    last = in_order[-1]
    step = sequence_step(in_order)
    if step:
        return Allocation(AllocationKind.SEQUENTIAL, PORTS_LOW, PORTS_HIGH, step, last)
    low, high = surrounding_block(min(*in_order, *others), max(*in_order, *others))
    kind = AllocationKind.RANDOM if (low, high) == (PORTS_LOW, PORTS_HIGH) else AllocationKind.BLOCK
    return Allocation(kind, low, high, last=last)


def update_allocation(before: Allocation, found: Allocation, samples: Collection[int]) -> Allocation:
    """What holds when a later survey found this: what was known, if it found nothing; and the block that was
    estimated, if the samples lie in it, for an estimate that differs each time would be news each time.
    """
    if found.kind is AllocationKind.UNKNOWN:
        return before
    both_blocks = before.kind is found.kind is AllocationKind.BLOCK
    if both_blocks and before.low <= min(samples) and max(samples) <= before.high:
        return replace(before, last=found.last)
    return found


def sequence_step(ports: Sequence[int]) -> int:
    """Ports from one mapping to the next, negative when it counts down; 0 when these are in no order.

    Flows of others take ports between ours, so the step is what all the distances are multiples of.
    """
    distances = [after - before for before, after in pairwise(ports)]
    if len(distances) < SAMPLES_LEAST - 1:
        return 0
    for sign in (1, -1):
        small = [distance for distance in distances if 0 < distance * sign <= STEP_MAX]
        if len(small) >= len(distances) * IN_ORDER:
            return sign * gcd(*small)
    return 0


def surrounding_block(least: int, most: int) -> tuple[int, int]:
    """The smallest block that two ports fit in: at a multiple of its size, if there is such a one, else around
    them; all ports, if they lie too far apart for any.
    """
    for size in BLOCK_SIZES:
        if most - least >= size:
            continue
        low = least - least % size
        if most >= low + size:
            low = (least + most - size + 1) // 2
        low = min(low, PORTS_HIGH + 1 - size)
        return max(low, 1), low + size - 1
    return PORTS_LOW, PORTS_HIGH
