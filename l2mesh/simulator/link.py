"""What the way between two places does to the datagrams on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from l2mesh.simulator.burst import clean_size, cut

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

IP_AND_UDP_HEADER = {4: 20 + 8, 6: 40 + 8}
"""Bytes in front of a UDP payload, by IP version."""


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of a path. Probabilities (0 to 1) fall on each datagram by itself; times are seconds.

    Jitter falls on each run of datagrams sent at once, and like netem's it may let a later run overtake.
    """

    delay: float = 0.010
    """One way."""
    jitter: float = 0.0
    """Up to this much is added to the delay, evenly spread."""
    loss: float = 0.0
    duplicate: float = 0.0
    """The copy arrives as if sent again at once: right after the first, or held back like any other."""
    reorder: float = 0.0
    """Is held back by up to `held`, so that later ones overtake it."""
    held: float = 0.020
    mtu: int = 1500
    """Largest IP packet, bytes. One datagram larger than that vanishes: there is no ICMP here."""

    shuffles: bool = field(init=False, repr=False, compare=False)
    """Whether chance falls on single datagrams."""
    safe_payload: int = field(init=False, repr=False, compare=False)
    """Bytes of UDP payload that fit by either IP version."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shuffles", bool(self.loss or self.duplicate or self.reorder))
        object.__setattr__(self, "safe_payload", self.mtu - max(IP_AND_UDP_HEADER.values()))
        for chance in (self.loss, self.duplicate, self.reorder):
            if not 0 <= chance <= 1:
                raise ValueError(f"{chance} is not a probability")
        if min(self.delay, self.jitter, self.held) < 0:
            raise ValueError("time does not run backwards")

    def largest_payload(self, host: str) -> int:
        """Bytes of UDP payload that fit in a packet to `host`."""
        return self.mtu - IP_AND_UDP_HEADER[6 if ":" in host else 4]

    def run_delay(self, random: Random) -> float:
        return self.delay + self.jitter * random.random() if self.jitter else self.delay


@dataclass(frozen=True, slots=True)
class Passage:
    """What came of one run of datagrams on a link."""

    arriving: list[tuple[float, bytes, int]]
    """(delay, run, size of each datagram): first the run without the lost, then the stragglers."""
    lost: list[bytes]


def pass_through(link: Link, data: bytes, size: int, random: Random) -> Passage:
    """Throw the dice for each datagram of the run `data`."""
    delay = link.run_delay(random)
    prompt: list[bytes] = []
    late: list[tuple[float, bytes, int]] = []
    lost: list[bytes] = []
    for datagram in _copies(link, data, size, random):
        if link.loss and random.random() < link.loss:
            lost.append(datagram)
        elif link.reorder and random.random() < link.reorder:
            late.append((delay + link.held * random.random(), datagram, clean_size(datagram, size)))
        else:
            prompt.append(datagram)
    return Passage([*_runs(delay, prompt, size), *late], lost)


def _copies(link: Link, data: bytes, size: int, random: Random) -> Iterator[bytes]:
    for datagram in cut(data, size):
        yield datagram
        if link.duplicate and random.random() < link.duplicate:
            yield datagram


def _runs(delay: float, datagrams: list[bytes], size: int) -> list[tuple[float, bytes, int]]:
    """What is left of a run is a run; but the copy of a short last datagram is one of its own."""
    if len(datagrams) > 1 and len(datagrams[-2]) < size:
        return [*_runs(delay, datagrams[:-1], size), *_runs(delay, datagrams[-1:], size)]
    data = b"".join(datagrams)
    return [(delay, data, clean_size(data, size))] if datagrams else []
