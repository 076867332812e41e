"""Cloud Logging, on the local cloud through the official client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client

from tasks.clients.google import UNRETRIED
from tasks.clients.logs import Logs

BEGIN = datetime.now(UTC) - timedelta(minutes=1)


@pytest.fixture
def logs(google) -> Logs:
    return Logs(google)


def put(google, *entries: dict) -> None:
    google.client(LoggingServiceV2Client).write_log_entries(request={"entries": list(entries)}, **UNRETRIED)


def request_entry(project: str, number: int, revision: str = "api-1", status: int = 200) -> dict:
    return {
        "log_name": f"projects/{project}/logs/run.googleapis.com%2Frequests",
        "resource": {"type": "cloud_run_revision", "labels": {"service_name": "api", "revision_name": revision}},
        "timestamp": BEGIN + timedelta(milliseconds=number),
        "insert_id": f"i{number:05}",
        "http_request": {
            "request_method": "GET", "request_url": f"http://api/specs?n={number}", "status": status,
            "latency": {"seconds": 1, "nanos": 500_000_000}, "user_agent": "curl/8",
        },
    }  # fmt: skip


def test_the_request_log_is_read_oldest_first_by_revision(logs, google, project):
    put(google, request_entry(project, 2, "api-2", 503), request_entry(project, 1), request_entry(project, 3))
    found = logs.requests("api", "", BEGIN)
    assert [line.insert_id for line in found] == ["i00001", "i00002", "i00003"]
    (line,) = logs.requests("api", "api-2", BEGIN)
    assert (line.service, line.revision, line.status, line.latency) == ("api", "api-2", 503, 1.5)
    assert (line.method, line.url, line.user_agent) == ("GET", "http://api/specs?n=2", "curl/8")
    assert line.timestamp == BEGIN + timedelta(milliseconds=2)
    assert logs.requests("other", "", BEGIN) == []
    assert [line.insert_id for line in logs.requests("api", "", BEGIN + timedelta(milliseconds=3))] == ["i00003"]


def test_a_log_of_several_pages_is_read_to_the_last(logs, google, project):
    for begin in range(0, 1500, 500):
        put(google, *(request_entry(project, number) for number in range(begin, begin + 500)))
    assert len(logs.requests("api", "", BEGIN, limit=5000)) == 1500
    assert len(logs.requests("api", "", BEGIN, limit=1200)) == 1200


def test_what_an_execution_printed_is_told_oldest_first_and_only_its_end(logs, google, project):
    put(google, *(
        {
            "log_name": f"projects/{project}/logs/run.googleapis.com%2Fstdout",
            "resource": {"type": "cloud_run_job", "labels": {"job_name": "migrate"}},
            "labels": {"run.googleapis.com/execution_name": name},
            "timestamp": BEGIN + timedelta(seconds=number), "text_payload": f"line {number} of {name}",
        }
        for name in ("migrate-a", "migrate-b") for number in range(5)
    ))  # fmt: skip
    execution = f"projects/{project}/locations/europe-west4/jobs/migrate/executions/migrate-a"
    assert logs.execution_lines(execution, 2) == ["line 3 of migrate-a", "line 4 of migrate-a"]


def test_an_entry_of_ours_is_written_and_found_again(logs):
    logs.write("caretaker/changes", {"message": "released api", "percent": 100}, "NOTICE", {"run": "r1"})
    (line,) = logs.entries('severity>=NOTICE AND labels.run="r1"', BEGIN)
    assert (line.log, line.severity, line.labels) == ("caretaker/changes", "NOTICE", {"run": "r1"})
    assert line.payload == {"message": "released api", "percent": 100}
