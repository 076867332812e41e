"""Time series through the official client, over request facts whose times are known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.api.metric_pb2 import MetricDescriptor
from google.api_core import exceptions
from google.cloud.monitoring_v3 import Aggregation, ListTimeSeriesRequest, MetricServiceClient, TimeSeries
from google.cloud.monitoring_v3.services.metric_service.transports import MetricServiceGrpcTransport

from localcloud import rpc
from localcloud.cloud import Cloud
from localcloud.monitoring import install
from localcloud.run.requests import RequestFact, Requests

COUNT = 'metric.type="run.googleapis.com/request_count"'
LATENCIES = 'metric.type="run.googleapis.com/request_latencies"'
END = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=5)
START = END - timedelta(minutes=3)
Aligner, Reducer = Aggregation.Aligner, Aggregation.Reducer


class Series:
    """The official client of one project, and the place where its facts go."""

    def __init__(self, channel: grpc.Channel, requests: Requests, project: str) -> None:
        self.client = MetricServiceClient(transport=MetricServiceGrpcTransport(channel=channel))
        self._requests, self._project = requests, project

    def add(self, seconds: float, *, status: int = 200, ms: float = 10.0, revision: str = "api-1") -> None:
        """One request to a service, so many seconds after START."""
        service = revision.rsplit("-", 1)[0]
        at = START.timestamp() + seconds
        self._requests.add(RequestFact(at, self._project, service, revision, status, ms / 1000, "europe-west4"))

    def list(self, text: str, *aggregation: Any, group_by: tuple[str, ...] = (), **more: Any) -> list[TimeSeries]:
        aligner, reducer = (*aggregation, Reducer.REDUCE_NONE)[:2] if aggregation else (None, None)
        if aligner is not None:
            more["aggregation"] = {
                "alignment_period": {"seconds": more.pop("period", 60)}, "per_series_aligner": aligner,
                "cross_series_reducer": reducer, "group_by_fields": group_by,
            }
        interval = more.pop("interval", {"start_time": START, "end_time": END})
        return list(self.client.list_time_series(
            {"name": f"projects/{self._project}", "filter": text, "interval": interval, **more}))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[grpc.Channel, Requests]]:
    """Monitoring on a real gRPC server in this process, because here the tests and not a proxy say what was seen."""
    cloud = Cloud(tmp_path_factory.mktemp("monitoring"))
    cloud.requests = Requests(cloud.state / "requests.db")
    server, port = rpc.serve(rpc.Handlers(cloud.gate, install(cloud)), 0)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel, cloud.requests
    server.stop(None).wait()
    cloud.requests.close()
    cloud.close()


@pytest.fixture
def series(served: tuple[grpc.Channel, Requests], project: str) -> Series:
    """Three minutes: 2 requests, then none, then 3, of which one fails, one by a second revision and one elsewhere."""
    made = Series(*served, project)
    made.add(5, ms=10)
    made.add(59, ms=20)
    made.add(120, ms=30)
    made.add(130, ms=40)
    made.add(140, status=500, ms=1000)
    made.add(150, ms=50, revision="api-2")
    made.add(155, ms=5, revision="web-1")
    return made


def values(found: TimeSeries, kind: str = "int64_value") -> list[tuple[int, Any]]:
    """(minutes from START to the point's end, value), newest first."""
    return [((point.interval.end_time - START) / timedelta(minutes=1), getattr(point.value, kind))
            for point in found.points]  # fmt: skip


def test_raw_counts_come_by_revision_and_response_code_in_minutes(series: Series) -> None:
    found = series.list(f'{COUNT} AND resource.labels.service_name="api"')

    assert [(s.resource.labels["revision_name"], s.metric.labels["response_code"], values(s)) for s in found] == [
        ("api-1", "200", [(3, 2), (1, 2)]), ("api-2", "200", [(3, 1)]), ("api-1", "500", [(3, 1)]),
    ]
    assert found[0].resource.type == "cloud_run_revision"
    assert found[0].metric_kind == MetricDescriptor.MetricKind.DELTA
    assert found[0].value_type == MetricDescriptor.ValueType.INT64
    assert found[0].points[0].interval.start_time == END - timedelta(minutes=1)


def test_counts_are_summed_over_a_service_by_response_class(series: Series) -> None:
    found = series.list(
        f'{COUNT} AND resource.type="cloud_run_revision" AND resource.label.service_name="api"', Aligner.ALIGN_DELTA,
        Reducer.REDUCE_SUM, group_by=("metric.labels.response_code_class",), period=180,
    )

    assert [(dict(s.metric.labels), values(s)) for s in found] == [
        ({"response_code_class": "2xx"}, [(3, 5)]), ({"response_code_class": "5xx"}, [(3, 1)]),
    ]


def test_a_rate_is_a_gauge_per_second(series: Series) -> None:
    (found,) = series.list(f'{COUNT} resource.labels.revision_name="api-2"', Aligner.ALIGN_RATE)

    assert values(found, "double_value") == [(3, pytest.approx(1 / 60))]
    assert found.metric_kind == MetricDescriptor.MetricKind.GAUGE
    assert found.value_type == MetricDescriptor.ValueType.DOUBLE


def test_windows_are_counted_back_from_the_end_of_the_interval(series: Series) -> None:
    late = {"start_time": START, "end_time": END - timedelta(seconds=25)}

    (found,) = series.list(f'{COUNT} resource.labels.revision_name="api-1"', Aligner.ALIGN_DELTA, Reducer.REDUCE_SUM,
                           interval=late)  # fmt: skip

    assert [(round(at * 60), count) for at, count in values(found)] == [(155, 3), (95, 1), (35, 1)]


def test_latencies_are_distributions_in_milliseconds(series: Series) -> None:
    found = series.list(f'{LATENCIES} AND resource.labels.revision_name="api-1" AND metric.labels.response_code="200"')

    distribution = found[0].points[0].value.distribution_value
    assert found[0].value_type == MetricDescriptor.ValueType.DISTRIBUTION
    assert (distribution.count, distribution.mean) == (2, pytest.approx(35))
    assert distribution.sum_of_squared_deviation == pytest.approx(50)
    options = distribution.bucket_options.exponential_buckets
    bounds = [options.scale * options.growth_factor**n for n in range(options.num_finite_buckets + 1)]
    filled = [(bounds[at - 1], bounds[at]) for at, count in enumerate(distribution.bucket_counts) if count]
    assert sum(distribution.bucket_counts) == 2
    assert filled[0][0] <= 30 < filled[0][1]
    assert filled[-1][0] <= 40 < filled[-1][1]


@pytest.mark.parametrize(("aligner", "reducer", "expected"), [
    (Aligner.ALIGN_DELTA, Reducer.REDUCE_PERCENTILE_50, 30.0),
    (Aligner.ALIGN_DELTA, Reducer.REDUCE_PERCENTILE_99, 1000.0),
    (Aligner.ALIGN_PERCENTILE_95, Reducer.REDUCE_NONE, 40.0),
])  # fmt: skip
def test_percentiles_of_latencies(series: Series, aligner: Any, reducer: Any, expected: float) -> None:
    found = series.list(f'{LATENCIES} resource.labels.service_name="api"', aligner, reducer, period=180)

    assert values(found[0], "double_value") == [(3, expected)]


def test_headers_have_no_points_and_series_come_in_pages(series: Series) -> None:
    headers = series.list(COUNT, view=ListTimeSeriesRequest.TimeSeriesView.HEADERS)
    pages = list(series.client.list_time_series({
        "name": series.client.common_project_path(headers[0].resource.labels["project_id"]), "filter": COUNT,
        "interval": {"start_time": START, "end_time": END}, "page_size": 1}).pages)  # fmt: skip

    assert len(headers) == 4
    assert all(not s.points for s in headers)
    assert [len(page.time_series) for page in pages] == [1, 1, 1, 1]


def test_labels_can_be_excluded_and_alternatives_named(series: Series) -> None:
    failed = series.list(f'{COUNT} AND metric.labels.response_code_class!="2xx"')
    either = series.list(f'{COUNT} AND (resource.labels.revision_name="api-2" OR resource.labels.service_name="web")')

    assert [s.metric.labels["response_code"] for s in failed] == ["500"]
    assert [s.resource.labels["revision_name"] for s in either] == ["api-2", "web-1"]


@pytest.mark.parametrize(("text", "error", "named"), [
    ('metric.type="run.googleapis.com/nothing"', exceptions.NotFound, "run.googleapis.com/nothing"),
    ('resource.type="cloud_run_revision"', exceptions.InvalidArgument, "exactly one metric type"),
    (f'{COUNT} AND resource.labels.zone="x"', exceptions.InvalidArgument, "resource.labels.zone"),
    (f'{COUNT} AND metadata.user_labels.x="y"', exceptions.InvalidArgument, "metadata.user_labels.x"),
    (f'{COUNT} AND resource.labels.service_name=starts_with("a")', exceptions.InvalidArgument, "starts_with"),
    (f'{COUNT} AND resource.labels.service_name:"a"', exceptions.InvalidArgument, "service_name :"),
])  # fmt: skip
def test_a_filter_that_is_not_known_is_refused_by_name(
    series: Series, text: str, error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        series.list(text)


@pytest.mark.parametrize(("metric", "aligner", "reducer", "more"), [
    (COUNT, Aligner.ALIGN_PERCENTILE_99, Reducer.REDUCE_NONE, {}),
    (LATENCIES, Aligner.ALIGN_RATE, Reducer.REDUCE_NONE, {}),
    (LATENCIES, Aligner.ALIGN_MEAN, Reducer.REDUCE_NONE, {}),
    (COUNT, Aligner.ALIGN_NONE, Reducer.REDUCE_SUM, {}),
    (COUNT, Aligner.ALIGN_DELTA, Reducer.REDUCE_MAX, {}),
    (COUNT, Aligner.ALIGN_DELTA, Reducer.REDUCE_NONE, {"period": 10}),
    (COUNT, Aligner.ALIGN_DELTA, Reducer.REDUCE_SUM, {"group_by": ("metadata.x",)}),
    (COUNT, Aligner.ALIGN_DELTA, Reducer.REDUCE_NONE, {"interval": {"start_time": END, "end_time": START}}),
    (COUNT, Aligner.ALIGN_DELTA, Reducer.REDUCE_NONE, {"interval": {}}),
    (COUNT, Aligner.ALIGN_DELTA, Reducer.REDUCE_NONE, {"order_by": "x"}),
])  # fmt: skip
def test_an_aggregation_that_google_or_the_local_cloud_does_not_have_is_refused(
    series: Series, metric: str, aligner: Any, reducer: Any, more: dict[str, Any]
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        series.list(metric, aligner, reducer, **more)


def test_a_project_has_only_its_own_series(series: Series) -> None:
    found = series.client.list_time_series({
        "name": "projects/another", "filter": COUNT, "interval": {"start_time": START, "end_time": END}})  # fmt: skip

    assert list(found) == []
