"""Times each stage of the way of a batch, and the whole way out and in."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, TypeVar

from benchmark.profile.engines import Pair
from benchmark.profile.workloads import Workload

T = TypeVar("T")

STAGES = (
    "switch.sort",
    "packer.pack",
    "Keypair.seal",
    "whole tx",
    "Keypair.open",
    "unpacker.unpack",
    "switch.admit",
    "whole rx",
)
"""In the order of the way. Whole tx and rx are the engine's doors, with all that is around the stages."""


@dataclass(frozen=True, slots=True)
class Profile:
    """ns per unit by stage: the median of all batches. `delivered`: frames and superframes per batch."""

    workload: Workload
    ns: dict[str, float]
    datagrams: float
    """Per batch."""
    delivered: float
    dropped: dict[Any, int]


class Stopwatch:
    def __init__(self) -> None:
        self.taken: dict[str, list[int]] = {stage: [] for stage in STAGES}

    def time(self, stage: str, function: Callable[[], T]) -> T:
        begun = perf_counter_ns()
        result = function()
        self.taken[stage].append(perf_counter_ns() - begun)
        return result


def measure(pair: Pair, workload: Workload, passes: int) -> Profile:
    """Stages one by one on their own batches, then the doors on theirs."""
    template = workload.make(pair.receiver_mac, pair.sender_mac)
    watch = Stopwatch()
    datagrams = delivered = 0
    dropped_before = pair.dropped()
    batches = passes * workload.batches
    for _ in range(batches):
        _stages(pair, _batch(template, workload), _batch(template, workload), watch)
        sent, got = _doors(pair, _batch(template, workload), watch)
        datagrams += sent
        delivered += got
    units = workload.batch * workload.units
    ns = {stage: statistics.median(taken) / units for stage, taken in watch.taken.items()}
    return Profile(workload, ns, datagrams / batches, delivered / batches, _more(dropped_before, pair.dropped()))


def _more(before: dict[Any, int], after: dict[Any, int]) -> dict[Any, int]:
    """Counts that went up, by how much."""
    return {key: count - before.get(key, 0) for key, count in after.items() if count > before.get(key, 0)}


def _batch(template: bytes, workload: Workload) -> list[memoryview]:
    """Fresh ones each time: an engine may use up what it gets."""
    return [memoryview(bytearray(template)) for _ in range(workload.batch)]


def _stages(pair: Pair, frames: list[memoryview], again: list[memoryview], watch: Stopwatch) -> None:
    now, edge = pair.now, pair.to_receiver
    watch.time("switch.sort", lambda: pair.sender.switch.sort(frames, now))
    # A plaintext is used up before the next is asked for: timing eats them, `again` keeps them.
    watch.time("packer.pack", lambda: deque(edge.packer.pack(frames, edge.room), maxlen=0))
    plaintexts = [bytes(plaintext) for plaintext in edge.packer.pack(again, edge.room)]
    pair.arena.reset()
    trains = watch.time("Keypair.seal", lambda: pair.sealing.seal(plaintexts, b"", pair.arena))
    opening, drops = pair.opening, pair.receiver.drops
    area, came = pair.plain_area, pair.received(trains)
    area.reset()
    opened = watch.time(
        "Keypair.open", lambda: [opening.open(data, 0, size, 0, drops, area)[0] for data, size in came]
    )
    flat = [plaintext for run in opened for plaintext in run]
    other = pair.from_sender
    deliveries = watch.time("unpacker.unpack", lambda: other.unpacker.unpack(flat, now))
    admit, key, allowed = pair.receiver.switch.admit, other.public_key, other.allowed_macs
    watch.time("switch.admit", lambda: [admit(delivery[0], key, allowed, now) for delivery in deliveries])


def _doors(pair: Pair, frames: list[memoryview], watch: Stopwatch) -> tuple[int, int]:
    """(datagrams, deliveries) of the batch."""
    trains = watch.time("whole tx", lambda: _transmit(pair, frames))
    came = pair.received([(data, size) for _, data, size in trains])
    bursts = [(pair.sender_address, data, size) for data, size in came]
    deliveries = watch.time("whole rx", lambda: _receive(pair, bursts))
    pair.receiver.take_datagrams()
    pair.receiver.take_events()
    pair.sender.take_events()
    return sum(-(-len(data) // size) for _, data, size in bursts), len(deliveries)


def _transmit(pair: Pair, frames: list[memoryview]) -> list[Any]:
    pair.sender.receive_frames(frames, pair.now)
    return pair.sender.take_datagrams()


def _receive(pair: Pair, bursts: list[Any]) -> list[Any]:
    pair.receiver.receive_datagrams(bursts, pair.now)
    return pair.receiver.take_frames()
