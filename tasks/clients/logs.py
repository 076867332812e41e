"""Cloud Logging: the request log, a job's output, any other entries, and entries of our own.

Safety property: lists are read page by page until there is no next page (an empty page with a token means "go on"), and
never faster than the quota of 60 calls a minute and project lets us.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from tasks.clients import deadlines
from tasks.clients.google import UNRETRIED, Google
from tasks.clients.operations import moment, required_moment
from tasks.clients.polling import Pace
from tasks.models import LogLine, RequestLog

VIEWER = "roles/logging.viewer"
WRITER = "roles/logging.logWriter"
PAGE = 1000
#: entries.list allows 60 calls a minute per project; people look at logs too.
CALLS_PER_MINUTE = 55
EXECUTION_WINDOW = timedelta(days=1)
_paces: dict[str, Pace] = {}


class Logs:
    """The logs of one project."""

    def __init__(self, google: Google) -> None:
        self._google = google

    def requests(
        self, service: str, revision: str, since: datetime, limit: int = PAGE, without_agent: str = ""
    ) -> list[RequestLog]:
        """Read the request log of a service since a time, oldest first; of every revision where none is named.

        Requests whose user agent holds ``without_agent`` are left out.
        """
        clauses = [
            'resource.type="cloud_run_revision"',
            f'resource.labels.service_name="{service}"',
            f'log_name="projects/{self._google.project}/logs/run.googleapis.com%2Frequests"',
            *([f'resource.labels.revision_name="{revision}"'] if revision else []),
            *([f'NOT httpRequest.userAgent:"{without_agent}"'] if without_agent else []),
        ]
        found = self._read(_since(clauses, since), limit, "timestamp asc")
        return [_read_request(entry) for entry in found]

    def entries(self, filter_: str, since: datetime, limit: int = PAGE) -> list[LogLine]:
        """Read what a filter of Google's syntax finds since a time, oldest first."""
        return [_read_line(entry) for entry in self._read(_since([f"({filter_}\n)"] if filter_ else [], since), limit)]

    def execution_lines(self, execution: str, limit: int) -> list[str]:
        """The last lines that an execution of a job printed, oldest first. ``execution`` is its full resource name."""
        _, job, _, name = execution.rsplit("/", 3)
        clauses = [
            'resource.type="cloud_run_job"',
            f'resource.labels.job_name="{job}"',
            f'labels."run.googleapis.com/execution_name"="{name}"',
        ]
        found = self._read(_since(clauses, datetime.now(UTC) - EXECUTION_WINDOW), limit, "timestamp desc")
        return [_text(_read_line(entry).payload) for entry in reversed(found)]

    def write(
        self, log_id: str, payload: Mapping[str, Any], severity: str = "INFO", labels: Mapping[str, str] | None = None
    ) -> None:
        """Write one entry to a log of this project."""
        from google.cloud.logging_v2.types import LogEntry

        entry = LogEntry(
            log_name=f"projects/{self._google.project}/logs/{log_id.replace('/', '%2F')}",
            resource={"type": "global", "labels": {"project_id": self._google.project}},
            severity=severity, json_payload=dict(payload), labels=dict(labels or {}),
        )
        with self._google.doing(f"writing to log {log_id}", WRITER):
            self._client.write_log_entries(request={"entries": [entry]}, **UNRETRIED)

    @property
    def _client(self) -> Any:
        from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client

        return self._google.client(LoggingServiceV2Client)

    def _read(self, filter_: str, limit: int, order: str = "timestamp asc") -> list[Any]:
        return list(islice(self._pages(filter_, min(limit, PAGE), order), limit))

    def _pages(self, filter_: str, size: int, order: str) -> Iterator[Any]:
        request = {
            "resource_names": [f"projects/{self._google.project}"], "filter": filter_, "order_by": order,
            "page_size": size, "page_token": "",
        }
        while True:
            page = self._page(request)
            yield from page.entries
            request["page_token"] = page.next_page_token
            if not page.next_page_token:
                return

    def _page(self, request: dict[str, Any]) -> Any:
        what = f"reading the logs of {self._google.project}"
        _paces.setdefault(self._google.project, Pace(CALLS_PER_MINUTE, timedelta(minutes=1))).take(deadlines.CALL, what)
        with self._google.doing(what, VIEWER):
            return self._client.list_log_entries(request=request, **UNRETRIED)


def _since(clauses: list[str], since: datetime) -> str:
    moment_ = since.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return " AND ".join([*clauses, f'timestamp>="{moment_}"'])


def _read_request(entry: Any) -> RequestLog:
    from google.cloud.logging_v2.types import LogEntry

    raw = LogEntry.pb(entry)
    request = raw.http_request
    return RequestLog(
        timestamp=required_moment(entry.timestamp),
        service=raw.resource.labels["service_name"],
        revision=raw.resource.labels["revision_name"],
        status=request.status,
        latency=request.latency.ToTimedelta().total_seconds(),
        method=request.request_method,
        url=request.request_url,
        insert_id=raw.insert_id,
        user_agent=request.user_agent,
    )


def _read_line(entry: Any) -> LogLine:
    from google.cloud.logging_v2.types import LogEntry
    from google.logging.type.log_severity_pb2 import LogSeverity
    from google.protobuf.json_format import MessageToDict

    raw = LogEntry.pb(entry)
    payload = MessageToDict(raw.json_payload) if raw.HasField("json_payload") else {"message": raw.text_payload}
    return LogLine(
        timestamp=moment(entry.timestamp) or required_moment(entry.receive_timestamp),
        log=raw.log_name.rsplit("/", 1)[-1].replace("%2F", "/"),
        severity=LogSeverity.Name(raw.severity),
        payload=payload,
        labels=dict(raw.labels),
        insert_id=raw.insert_id,
    )


def _text(payload: dict[str, Any]) -> str:
    return str(payload.get("message", payload))
