"""Alignment and reduction: facts into windows, windows into points, series into fewer series.

Windows are counted back from the end of the interval, as Google's are; raw data has the minutes of the clock. A window
without a request has no point.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions
from google.cloud.monitoring_v3.types import Aggregation, Point, TimeInterval, TypedValue

from localcloud.monitoring.metric_filter import label_path
from localcloud.monitoring.metrics import Kind, Labels, Metric, ValueType, labels_of, percentile

if TYPE_CHECKING:
    from localcloud.run.requests import RequestFact

SAMPLED_SECONDS = 60.0
Aligner, Reducer = Aggregation.Aligner, Aggregation.Reducer
_PERCENTILE = re.compile(r"(?:ALIGN|REDUCE)_PERCENTILE_(\d+)")
_PERCENTS = (5, 50, 95, 99)
Facts = list["RequestFact"]


@dataclass(frozen=True)
class Shape:
    """What is asked for: windows of ``period`` seconds that end at ``end``, reaching back over ``start``."""

    metric: Metric
    start: float
    end: float
    period: float
    aligner: Any
    reducer: Any
    group_by: tuple[str, ...]

    @property
    def first(self) -> float:
        """Where the oldest window begins: an aligned one is whole, even when the interval begins within it."""
        if self.aligner == Aligner.ALIGN_NONE:
            return -(-self.start // SAMPLED_SECONDS) * SAMPLED_SECONDS
        return self.end - -(-(self.end - self.start) // self.period) * self.period

    @property
    def last(self) -> float:
        """Where the newest window ends; raw data has a minute when it is over."""
        return self.end // SAMPLED_SECONDS * SAMPLED_SECONDS if self.aligner == Aligner.ALIGN_NONE else self.end


def shape(metric: Metric, interval: TimeInterval, aggregation: Aggregation, now: float) -> Shape:
    """Check a request's interval and aggregation. Raises InvalidArgument as Google does."""
    if "end_time" not in interval:
        raise exceptions.InvalidArgument("Field interval.end_time is required.")
    end = interval.end_time.timestamp()
    start = interval.start_time.timestamp() if "start_time" in interval else end
    if start > end:
        raise exceptions.InvalidArgument("Field interval.start_time must not be later than interval.end_time.")
    aligner, reducer = aggregation.per_series_aligner, aggregation.cross_series_reducer
    period = aggregation.alignment_period.total_seconds()
    _check(metric, aligner, reducer, period, list(aggregation.group_by_fields))
    raw = aligner == Aligner.ALIGN_NONE
    return Shape(metric, start, min(end, now) if raw else end, SAMPLED_SECONDS if raw else period, aligner, reducer,
                 tuple(aggregation.group_by_fields))


def series(facts: Iterable[RequestFact], wanted: Shape) -> list[tuple[Labels, list[Point]]]:
    """The series of some facts, each with its points, newest first."""
    windows: defaultdict[Labels, defaultdict[int, Facts]] = defaultdict(lambda: defaultdict(list))
    for fact in facts:
        windows[labels_of(fact)][int((fact.at - wanted.first) // wanted.period)].append(fact)
    if wanted.reducer == Reducer.REDUCE_NONE:
        return [(labels, _points({at: _aligned(some, wanted) for at, some in of_series.items()}, wanted))
                for labels, of_series in sorted(windows.items(), key=lambda item: repr(item[0]))]
    groups: defaultdict[Labels, defaultdict[int, list[Facts]]] = defaultdict(lambda: defaultdict(list))
    for labels, of_series in windows.items():
        for at, some in of_series.items():
            groups[_group(labels, wanted.group_by)][at].append(some)
    return [(labels, _points({at: _reduced(parts, wanted) for at, parts in of_group.items()}, wanted))
            for labels, of_group in sorted(groups.items(), key=lambda item: repr(item[0]))]


def kinds(wanted: Shape) -> tuple[Any, Any]:
    """Metric kind and value type of the result."""
    if _percent(wanted.aligner) or _percent(wanted.reducer) or wanted.aligner == Aligner.ALIGN_RATE:
        return Kind.GAUGE, ValueType.DOUBLE
    return Kind.DELTA, ValueType.DISTRIBUTION if wanted.metric.is_distribution else ValueType.INT64


def _check(metric: Metric, aligner: Any, reducer: Any, period: float, group_by: Sequence[str]) -> None:
    if aligner == Aligner.ALIGN_NONE:
        if reducer != Reducer.REDUCE_NONE or group_by:
            raise exceptions.InvalidArgument("A cross_series_reducer needs a per_series_aligner other than ALIGN_NONE.")
        return
    if period < SAMPLED_SECONDS:
        raise exceptions.InvalidArgument("Field aggregation.alignment_period must be at least 60 seconds.")
    if not _known(metric, aligner):
        raise exceptions.InvalidArgument(f"The aligner {aligner.name} cannot be used with {metric.type} here.")
    whole = aligner in (Aligner.ALIGN_DELTA, Aligner.ALIGN_SUM)
    if reducer not in (Reducer.REDUCE_NONE, Reducer.REDUCE_SUM) and not (
        _percent(reducer) and metric.is_distribution and whole
    ):
        raise exceptions.InvalidArgument(f"The reducer {reducer.name} cannot be used with {metric.type} here.")
    for field in group_by:
        if field not in ("project", "resource.type") and label_path(field) is None:
            raise exceptions.InvalidArgument(f"The local cloud cannot group by '{field}'.")


def _known(metric: Metric, aligner: Any) -> bool:
    if aligner in (Aligner.ALIGN_DELTA, Aligner.ALIGN_SUM):
        return True
    return _percent(aligner) > 0 if metric.is_distribution else aligner == Aligner.ALIGN_RATE


def _percent(operation: Any) -> int:
    """The percentile that an aligner or reducer computes, or 0."""
    found = _PERCENTILE.fullmatch(operation.name)
    percent = int(found.group(1)) if found else 0
    return percent if percent in _PERCENTS else 0


def _aligned(facts: Facts, wanted: Shape) -> TypedValue:
    if percent := _percent(wanted.aligner):
        return TypedValue(double_value=percentile((fact.latency * 1000 for fact in facts), percent))
    if wanted.aligner == Aligner.ALIGN_RATE:
        return TypedValue(double_value=len(facts) / wanted.period)
    return wanted.metric.value(facts)


def _reduced(parts: Sequence[Facts], wanted: Shape) -> TypedValue:
    together = [fact for facts in parts for fact in facts]
    if percent := _percent(wanted.reducer):
        return TypedValue(double_value=percentile((fact.latency * 1000 for fact in together), percent))
    if _percent(wanted.aligner):
        return TypedValue(double_value=sum(_aligned(facts, wanted).double_value for facts in parts))
    return _aligned(together, wanted)


def _group(labels: Labels, group_by: Sequence[str]) -> Labels:
    kept = {("resource", "project_id"), *(label_path(field) for field in group_by)}
    return Labels(
        metric=tuple(pair for pair in labels.metric if ("metric", pair[0]) in kept),
        resource=tuple(pair for pair in labels.resource if ("resource", pair[0]) in kept),
    )


def _points(values: dict[int, TypedValue], wanted: Shape) -> list[Point]:
    return [
        Point(interval=TimeInterval(start_time=_time(wanted, at), end_time=_time(wanted, at + 1)), value=values[at])
        for at in sorted(values, reverse=True)
    ]


def _time(wanted: Shape, window: int) -> datetime:
    return datetime.fromtimestamp(wanted.first + window * wanted.period, UTC)
