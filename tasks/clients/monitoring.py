"""Cloud Monitoring: how many requests each revision answered, and how fast.

It lags by up to 3 minutes: good for a review, not for the verdict on a canary.
"""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from tasks.clients.distributions import latencies
from tasks.clients.google import UNRETRIED, Google
from tasks.models import Latencies

VIEWER = "roles/monitoring.viewer"
COUNT = "run.googleapis.com/request_count"
LATENCY = "run.googleapis.com/request_latencies"
LOG_ENTRIES = "logging.googleapis.com/log_entry_count"
MILLISECOND = 0.001
#: The shortest alignment period that Monitoring accepts.
SHORTEST = 60
REVISION = "resource.label.revision_name"
STATUS_CLASS = "metric.label.response_code_class"


class Monitoring:
    """The metrics of one project."""

    def __init__(self, google: Google) -> None:
        self._google = google

    def request_counts(self, service: str, start: datetime, end: datetime) -> dict[tuple[str, str], int]:
        """How many requests a service answered, by revision and class of status (``2xx`` … ``5xx``).

        An interval under a minute is counted as the whole minute that ends with it: Monitoring knows none shorter.
        """
        counts: dict[tuple[str, str], int] = defaultdict(int)
        for series in self._series(COUNT, service, start, end, (REVISION, STATUS_CLASS)):
            key = series.resource.labels["revision_name"], series.metric.labels["response_code_class"]
            counts[key] += sum(point.value.int64_value for point in series.points)
        return dict(counts)

    def request_latencies(self, service: str, start: datetime, end: datetime) -> dict[str, Latencies]:
        """Median, 95th and 99th percentile of a service's answers, in seconds, by revision."""
        from google.cloud import monitoring_v3

        found: dict[str, list[Any]] = defaultdict(list)
        for series in self._series(LATENCY, service, start, end, (REVISION,)):
            for point in monitoring_v3.TimeSeries.pb(series).points:
                found[series.resource.labels["revision_name"]].append(point.value.distribution_value)
        measured = {revision: latencies(points, MILLISECOND) for revision, points in found.items()}
        return {revision: value for revision, value in measured.items() if value is not None}

    def log_entries(self, start: datetime, end: datetime) -> int | None:
        """How many log entries the project wrote in a time; None where the metric has no point in it."""
        from google.cloud import monitoring_v3

        request = monitoring_v3.ListTimeSeriesRequest(
            name=f"projects/{self._google.project}",
            filter=f'metric.type="{LOG_ENTRIES}"',
            interval={"start_time": start, "end_time": end},
            aggregation={
                "alignment_period": timedelta(seconds=max(SHORTEST, math.ceil((end - start).total_seconds()))),
                "per_series_aligner": monitoring_v3.Aggregation.Aligner.ALIGN_DELTA,
                "cross_series_reducer": monitoring_v3.Aggregation.Reducer.REDUCE_SUM,
            },
            view=monitoring_v3.ListTimeSeriesRequest.TimeSeriesView.FULL,
        )
        client = self._google.client(monitoring_v3.MetricServiceClient)
        with self._google.doing(f"reading {LOG_ENTRIES}", VIEWER):
            found = client.list_time_series(request=request, **UNRETRIED)
            counts = [point.value.int64_value for series in found for point in series.points]
        return sum(counts) if counts else None

    def _series(self, metric: str, service: str, start: datetime, end: datetime, by: tuple[str, ...]) -> list[Any]:
        """One point over the whole interval for each group."""
        from google.cloud import monitoring_v3

        request = monitoring_v3.ListTimeSeriesRequest(
            name=f"projects/{self._google.project}",
            filter=(
                f'metric.type="{metric}" AND resource.type="cloud_run_revision" '
                f'AND resource.labels.service_name="{service}"'
            ),
            interval={"start_time": start, "end_time": end},
            aggregation={
                "alignment_period": timedelta(seconds=max(SHORTEST, math.ceil((end - start).total_seconds()))),
                "per_series_aligner": monitoring_v3.Aggregation.Aligner.ALIGN_DELTA,
                "cross_series_reducer": monitoring_v3.Aggregation.Reducer.REDUCE_SUM,
                "group_by_fields": list(by),
            },
            view=monitoring_v3.ListTimeSeriesRequest.TimeSeriesView.FULL,
        )
        client = self._google.client(monitoring_v3.MetricServiceClient)
        with self._google.doing(f"reading {metric} of {service}", VIEWER):
            return list(client.list_time_series(request=request, **UNRETRIED))
