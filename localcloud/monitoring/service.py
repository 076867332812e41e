"""google.monitoring.v3.MetricService: ListTimeSeries.

Google's points appear up to three minutes late; here an aligned point is exact at once, and a raw one is there when its
minute is over.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from google.api.metric_pb2 import Metric as MetricLabels
from google.api.monitored_resource_pb2 import MonitoredResource
from google.api_core import exceptions
from google.cloud.monitoring_v3.types import ListTimeSeriesRequest, ListTimeSeriesResponse, Point, TimeSeries

from localcloud.monitoring import log_entries
from localcloud.monitoring.aggregation import Shape, kinds, series, shape
from localcloud.monitoring.metric_filter import select
from localcloud.monitoring.metrics import RESOURCE_TYPE, Labels, labels_of
from localcloud.pages import page
from localcloud.rpc import Servicer, rpc

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

_MOST_IN_A_PAGE = 100_000
_PROJECT = re.compile(r"projects/([^/]+)")


class MetricService(Servicer):
    service = "google.monitoring.v3.MetricService"

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    @rpc("ListTimeSeries", ListTimeSeriesRequest, ListTimeSeriesResponse, writes=False, resource=lambda r: r.name)
    def list_time_series(self, request: ListTimeSeriesRequest) -> ListTimeSeriesResponse:
        project = _check(request)
        if log_entries.is_asked_for(request.filter):
            return log_entries.answer(request, project, self._cloud.logs.count, time.time())
        selection = select(request.filter)
        wanted = shape(selection.metric, request.interval, request.aggregation, time.time())
        seen = self._cloud.requests.between(project, selection.service, wanted.first, wanted.last)
        found = series((fact for fact in seen if selection.matches(labels_of(fact))), wanted)
        some, token = page(
            found, request.page_size, request.page_token, default=_MOST_IN_A_PAGE, most=_MOST_IN_A_PAGE
        )
        headers = request.view == ListTimeSeriesRequest.TimeSeriesView.HEADERS
        return ListTimeSeriesResponse(
            time_series=[_message(labels, [] if headers else points, wanted) for labels, points in some],
            next_page_token=token, unit=wanted.metric.unit,
        )


def _check(request: ListTimeSeriesRequest) -> str:
    """The project that a request is about. Raises InvalidArgument or MethodNotImplemented."""
    found = _PROJECT.fullmatch(request.name)
    if found is None:
        raise exceptions.InvalidArgument(f"the local cloud has time series of projects only, not of '{request.name}'.")
    if request.order_by:
        raise exceptions.InvalidArgument("Field order_by is not supported; it must be left blank.")
    if "secondary_aggregation" in request:
        raise exceptions.MethodNotImplemented("the local cloud does not implement secondary_aggregation")
    return found.group(1)


def _message(labels: Labels, points: list[Point], wanted: Shape) -> TimeSeries:
    kind, value_type = kinds(wanted)
    return TimeSeries(
        metric=MetricLabels(type=wanted.metric.type, labels=dict(labels.metric)),
        resource=MonitoredResource(type=RESOURCE_TYPE, labels=dict(labels.resource)),
        metric_kind=kind, value_type=value_type, points=points,
    )
