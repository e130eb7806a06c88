"""What l2mesh has to reach here: ratios of medians of one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmark.metrics import METRICS, Better
from benchmark.results import Results
from benchmark.underlay import Underlay

US, RELAYED, CROWDED, TINC, FASTD, RAW = "l2mesh", "l2mesh-relay", "l2mesh-3-peers", "tinc", "fastd", "raw"
BOTH = (Underlay.VETH, Underlay.PLAIN)
MEMORY_MB = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """`factor` times the metric of `peer` is the least (or, of what is better low, the most).

    `peer` None: `factor` is the bound itself.
    """

    metric: str
    factor: float
    peer: str | None = TINC
    underlays: tuple[Underlay, ...] = BOTH
    system: str = US


TARGETS = (
    Target("tcp_mbit", 6, underlays=(Underlay.VETH,)),
    Target("tcp_mbit", 3.5, underlays=(Underlay.PLAIN,)),
    Target("udp64_rate", 3),
    Target("udp64_rate", 1.4, peer=FASTD),
    Target("flood64_rate", 2.5),
    Target("udp1400_mbit", 4),
    Target("rtt_us", 1),
    Target("rtt_p99_us", 1),
    Target("loaded_rtt_us", 1),
    Target("cpu_s_per_gb", 1 / 5, underlays=(Underlay.VETH,)),
    Target("cpu_s_per_gb", 2 / 5, underlays=(Underlay.PLAIN,)),
    Target("loss_mbit", 1, underlays=(Underlay.PLAIN,)),
    Target("loss_mbit", 0.9, peer=RAW, underlays=(Underlay.PLAIN,)),
    Target("tcp_mbit", 3, system=RELAYED),
    Target("memory_mb", MEMORY_MB, peer=None, system=CROWDED),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of a target on one underlay. None: there are no figures."""

    target: Target
    underlay: Underlay
    ours: float | None
    theirs: float | None
    """1 where there is no peer."""

    @property
    def ratio(self) -> float | None:
        if self.ours is None or not self.theirs:
            return None
        return self.ours / self.theirs

    @property
    def met(self) -> bool | None:
        if self.ratio is None:
            return None
        if METRICS[self.target.metric].better is Better.HIGHER:
            return self.ratio >= self.target.factor
        return self.ratio <= self.target.factor


def verdicts(results: Results) -> Iterator[Verdict]:
    for target in TARGETS:
        for underlay in target.underlays:
            ours = results.median(target.system, underlay, target.metric)
            theirs = results.median(target.peer, underlay, target.metric) if target.peer else 1.0
            yield Verdict(target, underlay, ours, theirs)
