"""Percentiles of any number of latencies in little memory, by buckets that grow geometrically.

The relative error is at most 2 %, whatever the numbers are: DDSketch, https://arxiv.org/abs/1908.10693. Buckets are
whole numbers, so that two sketches of the same latencies in any order are equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

ERROR = 0.02
#: A bucket's width, as a natural logarithm.
GROWTH = math.log((1 + ERROR) / (1 - ERROR))
#: Shorter latencies count as this one.
SHORTEST_SECONDS = 1e-5


class Sketch:
    """Counts by bucket."""

    __slots__ = ("buckets",)

    def __init__(self, buckets: Mapping[int, int] | None = None) -> None:
        self.buckets: dict[int, int] = dict(buckets or {})

    def add(self, seconds: float, times: int = 1) -> None:
        """Count a latency, or so many of one bucket."""
        bucket = math.ceil(math.log(max(seconds, SHORTEST_SECONDS)) / GROWTH)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + times

    def merge(self, other: Sketch) -> None:
        """Count what another sketch has counted."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    def percentile(self, percent: float) -> float:
        """The nearest-rank percentile in seconds; 0 of nothing."""
        total = sum(self.buckets.values())
        rank, seen = max(1, math.ceil(total * percent / 100)), 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                return 2 * math.exp(bucket * GROWTH) / (1 + math.exp(GROWTH))
        return 0.0
