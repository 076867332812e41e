"""The request log of Cloud Run: one entry for each request that the proxy answered, written off the hot path.

The proxy only appends what it saw; a thread makes log entries and facts of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from google.api import monitored_resource_pb2
from google.cloud.logging_v2.types import LogEntry
from google.logging.type import http_request_pb2, log_severity_pb2

from localcloud.run.batches import Batches
from localcloud.run.names import Name
from localcloud.run.requests import RequestFact

if TYPE_CHECKING:
    from localcloud.cloud import Cloud


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as the proxy saw it. ``started`` is seconds since the epoch, ``latency`` seconds."""

    service: Name
    revision: str
    started: float
    latency: float
    method: str
    url: str
    status: int
    user_agent: str
    remote_ip: str
    referer: str
    request_size: int
    response_size: int
    trace: str
    span: str
    text: str = ""


def request_log(cloud: Cloud) -> Batches[Seen]:
    """Takes what the proxy saw; hands it to Monitoring and Logging."""

    def write(batch: list[Seen]) -> None:
        cloud.requests.extend([fact(seen) for seen in batch])
        cloud.logs.write([entry(seen) for seen in batch])

    return Batches("request-log", write)


def fact(seen: Seen) -> RequestFact:
    """What Monitoring keeps of a request; its time is when it was answered."""
    return RequestFact(
        at=seen.started + seen.latency, project=seen.service.project, service=seen.service.id, revision=seen.revision,
        status=seen.status, latency=seen.latency, location=seen.service.location,
    )  # fmt: skip


def entry(seen: Seen) -> LogEntry:
    """A request as the log entry that Cloud Run writes for it."""
    project = seen.service.project
    return LogEntry(
        log_name=f"projects/{project}/logs/run.googleapis.com%2Frequests",
        resource=revision_resource(seen.service, seen.revision),
        timestamp=datetime.fromtimestamp(seen.started, UTC),
        severity=severity(seen.status),
        http_request=_http_request(seen),
        trace=f"projects/{project}/traces/{seen.trace}",
        span_id=seen.span,
        text_payload=seen.text,
    )


def severity(status: int) -> Any:
    """ERROR for 5xx, WARNING for 4xx, else INFO, as in Cloud Run's request log."""
    if status >= 500:
        return log_severity_pb2.LogSeverity.ERROR
    return log_severity_pb2.LogSeverity.WARNING if status >= 400 else log_severity_pb2.LogSeverity.INFO


def revision_resource(service: Name, revision: str) -> Any:
    """The monitored resource that a revision's log entries bear."""
    return monitored_resource_pb2.MonitoredResource(
        type="cloud_run_revision",
        labels={
            "project_id": service.project, "location": service.location, "service_name": service.id,
            "configuration_name": service.id, "revision_name": revision,
        },
    )  # fmt: skip


def _http_request(seen: Seen) -> Any:
    request = http_request_pb2.HttpRequest(
        request_method=seen.method, request_url=seen.url, request_size=seen.request_size, status=seen.status,
        response_size=seen.response_size, user_agent=seen.user_agent, remote_ip=seen.remote_ip, referer=seen.referer,
        protocol="HTTP/1.1",
    )  # fmt: skip
    request.latency.FromTimedelta(timedelta(seconds=seen.latency))
    return request
