"""The metrics of Cloud Run that the local cloud has, and the series that its request facts fall into.

A series is one combination of revision, location and response code, as on Google. A point is made from the facts of its
window, so counts are exact and there is no lag.
https://cloud.google.com/monitoring/api/metrics_gcp_p_z#gcp-run
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.api.distribution_pb2 import Distribution
from google.api.metric_pb2 import MetricDescriptor
from google.cloud.monitoring_v3.types import TypedValue

if TYPE_CHECKING:
    from localcloud.run.requests import RequestFact

RESOURCE_TYPE = "cloud_run_revision"
_BUCKETS, _GROWTH, _SCALE = 66, 1.4, 1.0
_BOUNDS = [_SCALE * _GROWTH**i for i in range(_BUCKETS + 1)]
Kind: Any = MetricDescriptor.MetricKind
ValueType: Any = MetricDescriptor.ValueType


@dataclass(frozen=True)
class Metric:
    """A metric as Google describes it. Both are of the kind DELTA and sampled every 60 seconds."""

    type: str
    unit: str
    is_distribution: bool

    def value(self, facts: Sequence[RequestFact]) -> TypedValue:
        """The value of some facts together."""
        if self.is_distribution:
            return TypedValue(distribution_value=_distribution([fact.latency * 1000 for fact in facts]))
        return TypedValue(int64_value=len(facts))


METRICS = {
    metric.type: metric
    for metric in (
        Metric("run.googleapis.com/request_count", "1", is_distribution=False),
        Metric("run.googleapis.com/request_latencies", "ms", is_distribution=True),
    )
}


@dataclass(frozen=True)
class Labels:
    """What tells one series from another: pairs sorted by name."""

    metric: tuple[tuple[str, str], ...]
    resource: tuple[tuple[str, str], ...]


def labels_of(fact: RequestFact) -> Labels:
    """The series that a fact belongs to."""
    return Labels(
        metric=(("response_code", str(fact.status)), ("response_code_class", f"{fact.status // 100}xx")),
        resource=(
            ("configuration_name", fact.service), ("location", fact.location), ("project_id", fact.project),
            ("revision_name", fact.revision), ("service_name", fact.service),
        ),
    )


def percentile(values: Iterable[float], percent: int) -> float:
    """The nearest-rank percentile. Google estimates it from the distribution's buckets; this one is exact."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def _distribution(values: Sequence[float]) -> Any:
    mean = math.fsum(values) / len(values) if values else 0.0
    counts = [0] * (_BUCKETS + 2)
    for value in values:
        counts[bisect.bisect_right(_BOUNDS, value)] += 1
    while counts and not counts[-1]:
        counts.pop()
    exponential = Distribution.BucketOptions.Exponential(
        num_finite_buckets=_BUCKETS, growth_factor=_GROWTH, scale=_SCALE
    )
    return Distribution(
        count=len(values), mean=mean, sum_of_squared_deviation=math.fsum((value - mean) ** 2 for value in values),
        bucket_options=Distribution.BucketOptions(exponential_buckets=exponential), bucket_counts=counts,
    )
