"""Percentiles of Cloud Monitoring's distributions, which come as counts per bucket.

Bucket bounds are those of google.api.Distribution: linear, exponential or explicit, with an underflow bucket first and
an overflow bucket last. Inside a bucket values are taken as spread evenly, as Monitoring does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tasks.models import Latencies

Buckets = dict[tuple[float, float], int]


def latencies(distributions: Iterable[Any], unit_seconds: float) -> Latencies | None:
    """Percentiles over several distributions together, in seconds; None where nothing was counted."""
    buckets: Buckets = {}
    for distribution in distributions:
        for bounds, count in _buckets(distribution):
            buckets[bounds] = buckets.get(bounds, 0) + count
    if not (total := sum(buckets.values())):
        return None
    p50, p95, p99 = (percentile(buckets, fraction) * unit_seconds for fraction in (0.50, 0.95, 0.99))
    return Latencies(count=total, p50=p50, p95=p95, p99=p99)


def percentile(buckets: Buckets, fraction: float) -> float:
    """The value below which a fraction of what was counted lies."""
    rank, below = fraction * sum(buckets.values()), 0
    for (low, high), count in sorted(buckets.items()):
        if below + count >= rank:
            return low + (high - low) * (rank - below) / count
        below += count
    return 0.0


def _buckets(distribution: Any) -> Iterable[tuple[tuple[float, float], int]]:
    bounds = _bounds(distribution.bucket_options)
    edges = [0.0, *bounds, bounds[-1] if bounds else 0.0]
    for index, count in enumerate(distribution.bucket_counts):
        if count:
            yield (edges[index], edges[index + 1]), int(count)


def _bounds(options: Any) -> list[float]:
    kind = options.WhichOneof("options")
    if kind == "explicit_buckets":
        return list(options.explicit_buckets.bounds)
    if kind == "exponential_buckets":
        e = options.exponential_buckets
        return [e.scale * e.growth_factor**i for i in range(e.num_finite_buckets + 1)]
    if kind == "linear_buckets":
        lin = options.linear_buckets
        return [lin.offset + lin.width * i for i in range(lin.num_finite_buckets + 1)]
    return []
