"""All samples of a run, by system, underlay and metric; to JSON and back."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from benchmark.measures.base import Samples
from benchmark.metrics import METRICS
from benchmark.statistics import Summary, summarise
from benchmark.underlay import Underlay

Key = tuple[str, Underlay, str]
"""Name of the system, underlay, key of the metric."""


@dataclass(frozen=True, slots=True)
class Failure:
    system: str
    underlay: Underlay
    round: int
    text: str
    details: str = ""


class Results:
    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.skipped: dict[str, str] = {}
        """By system: why it was not run."""
        self.titles: dict[str, str] = {}
        """Of the systems, in order."""
        self._values: dict[Key, list[float]] = defaultdict(list)

    def add(self, system: str, underlay: Underlay, samples: Samples) -> None:
        for metric, value in samples.items():
            self._values[system, underlay, metric].append(value)

    def values(self, system: str, underlay: Underlay, metric: str) -> list[float]:
        """One of each round that gave one."""
        return list(self._values.get((system, underlay, metric), ()))

    def summary(self, system: str, underlay: Underlay, metric: str) -> Summary | None:
        return summarise(self.values(system, underlay, metric))

    def median(self, system: str, underlay: Underlay, metric: str) -> float | None:
        found = self.summary(system, underlay, metric)
        return found.median if found else None

    def __bool__(self) -> bool:
        return bool(self._values)

    def document(self) -> dict[str, Any]:
        """For JSON: every sample, in the order of the rounds, and what was made of them."""
        samples: list[dict[str, Any]] = []
        for (system, underlay, metric), values in self._values.items():
            summary = summarise(values)
            assert summary
            samples.append(
                {
                    "system": system,
                    "underlay": underlay.value,
                    "metric": metric,
                    "unit": METRICS[metric].unit,
                    "median": summary.median,
                    "min": summary.low,
                    "max": summary.high,
                    "values": values,
                }
            )
        failures = [
            {
                "system": one.system,
                "underlay": one.underlay.value,
                "round": one.round,
                "failure": one.text,
                "details": one.details,
            }
            for one in self.failures
        ]
        return {"systems": self.titles, "skipped": self.skipped, "samples": samples, "failures": failures}


def from_document(document: Any) -> Results:
    """What `document` made."""
    results = Results()
    results.titles, results.skipped = dict(document["systems"]), dict(document["skipped"])
    for one in document["samples"]:
        for value in one["values"]:
            results.add(one["system"], Underlay(one["underlay"]), {one["metric"]: value})
    results.failures = [
        Failure(one["system"], Underlay(one["underlay"]), one["round"], one["failure"], one["details"])
        for one in document["failures"]
    ]
    return results
