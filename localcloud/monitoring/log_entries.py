"""The system metric of Cloud Logging that the local cloud has: how many entries were written.

It is made from the entries that are kept, by their own time; on Google it is counted as they arrive.
https://cloud.google.com/monitoring/api/metrics_gcp_i_o#gcp-logging
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from google.api.metric_pb2 import Metric as MetricLabels
from google.api.monitored_resource_pb2 import MonitoredResource
from google.api_core import exceptions
from google.cloud.monitoring_v3.types import (
    Aggregation,
    ListTimeSeriesRequest,
    ListTimeSeriesResponse,
    Point,
    TimeInterval,
    TimeSeries,
    TypedValue,
)

from localcloud import filters
from localcloud.monitoring.aggregation import shape
from localcloud.monitoring.metrics import Kind, Metric, ValueType

COUNT = Metric("logging.googleapis.com/log_entry_count", "1", is_distribution=False)
#: How many entries of a project bear a time from the first second up to, not including, the second.
Counter = Callable[[str, float, float], int]


def is_asked_for(text: str) -> bool:
    """Whether a filter is about this metric. Raises InvalidArgument where it asks for more than the metric."""
    parts = filters.conjuncts(filters.parse(text))
    types = [part for part in parts if isinstance(part, filters.Comparison) and part.path == ("metric", "type")]
    if [part.value.text for part in types] != [COUNT.type]:
        return False
    if len(parts) > 1:
        raise exceptions.InvalidArgument(f"The local cloud knows no labels of {COUNT.type}.")
    return True


def answer(request: ListTimeSeriesRequest, project: str, count: Counter, now: float) -> ListTimeSeriesResponse:
    """One series over all logs. Raises InvalidArgument, and MethodNotImplemented for series of single logs."""
    aggregation = request.aggregation
    wanted = shape(COUNT, request.interval, aggregation, now)
    if aggregation.cross_series_reducer != Aggregation.Reducer.REDUCE_SUM or aggregation.group_by_fields:
        raise exceptions.MethodNotImplemented(f"the local cloud has {COUNT.type} as a sum over all logs only")
    points = [point for point in _points(project, count, wanted) if point.value.int64_value]
    series = TimeSeries(
        metric=MetricLabels(type=COUNT.type), resource=MonitoredResource(labels={"project_id": project}),
        metric_kind=Kind.DELTA, value_type=ValueType.INT64, points=points,
    )  # fmt: skip
    return ListTimeSeriesResponse(time_series=[series] if points else [], unit=COUNT.unit)


def _points(project: str, count: Counter, wanted: Any) -> list[Point]:
    points, end = [], wanted.end
    while end > wanted.first:
        begin = end - wanted.period
        start, until = (datetime.fromtimestamp(moment, UTC) for moment in (begin, end))
        interval = TimeInterval(start_time=start, end_time=until)
        points.append(Point(interval=interval, value=TypedValue(int64_value=count(project, begin, end))))
        end = begin
    return points
