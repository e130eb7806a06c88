"""What becomes of samples: percentiles, and how a cost grows with a number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benchmark.statistics import percentile


def spread(samples: Sequence[float]) -> dict[str, float]:
    """count, p50, p99, max; NaN of nothing."""
    if not samples:
        return {"count": 0, "p50": math.nan, "p99": math.nan, "max": math.nan}
    return {
        "count": len(samples),
        "p50": percentile(samples, 50),
        "p99": percentile(samples, 99),
        "max": percentile(samples, 100),
    }


def growth(costs: Mapping[int, float]) -> float:
    """The exponent k of cost ~ n^k between the smallest and the largest n: 1 is linear. NaN if unknown."""
    known = sorted((n, cost) for n, cost in costs.items() if n > 0 and cost > 0)
    if len(known) < 2 or known[0][0] == known[-1][0]:
        return math.nan
    (low, low_cost), (high, high_cost) = known[0], known[-1]
    return math.log(high_cost / low_cost) / math.log(high / low)
