"""Logging through the official client: writing, the query language, pages, and what survives a kill."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
from google.cloud.logging_v2.services.logging_service_v2.transports import LoggingServiceV2GrpcTransport
from google.cloud.logging_v2.types import LogEntry
from google.logging.type.log_severity_pb2 import ERROR, INFO, WARNING

from localcloud.control_client import Control
from tests.conftest import LocalCloud, open_channel

NOW = datetime.now(UTC).replace(microsecond=0)
REQUESTS = "run.googleapis.com%2Frequests"


class Logs:
    """The official client of one project."""

    def __init__(self, channel: grpc.Channel, project: str) -> None:
        self.client = LoggingServiceV2Client(transport=LoggingServiceV2GrpcTransport(channel=channel))
        self.parent = f"projects/{project}"

    def write(self, *entries: dict[str, Any], log: str = REQUESTS, **more: Any) -> None:
        self.client.write_log_entries({
            "log_name": f"{self.parent}/logs/{log}",
            "resource": {"type": "cloud_run_revision", "labels": {"service_name": "api", "revision_name": "api-1"}},
            "entries": [LogEntry(entry) for entry in entries], **more,
        })

    def query(self, text: str = "", **more: Any) -> list[LogEntry]:
        return list(self.client.list_log_entries({"resource_names": [self.parent], "filter": text, **more}))

    def ids(self, text: str = "", **more: Any) -> str:
        return "".join(entry.insert_id for entry in self.query(text, **more))


@pytest.fixture
def logs(channel: grpc.Channel, project: str) -> Logs:
    return Logs(channel, project)


@pytest.fixture
def four(logs: Logs) -> Logs:
    """Four entries, a to d, a second apart."""
    revision_two = {"type": "cloud_run_revision", "labels": {"service_name": "web", "revision_name": "web-2"}}
    logs.write(
        {"insert_id": "a", "severity": INFO, "text_payload": "Started the server", "timestamp": NOW},
        {"insert_id": "b", "severity": WARNING, "json_payload": {"message": "slow query", "ms": 1500, "user": {
            "name": "Ada", "roles": ["admin", "ops"]}, "cached": False}, "timestamp": NOW + timedelta(seconds=1)},
        {"insert_id": "c", "severity": ERROR, "resource": revision_two, "labels": {"k8s-pod/app": "front"},
         "http_request": {"status": 503, "request_url": "/plots/42?fresh=1", "latency": timedelta(seconds=3.5)},
         "timestamp": NOW + timedelta(seconds=2)},
        {"insert_id": "d", "severity": INFO, "json_payload": {"message": "ok", "ms": 20, "user": None},
         "trace": "abc", "timestamp": NOW + timedelta(seconds=3)},
    )  # fmt: skip
    return logs


QUERIES = {
    "": "abcd",
    "severity=INFO": "ad",
    "severity>=WARNING": "bc",
    "severity=(WARNING OR ERROR)": "bc",
    "severity>=warning -- and what follows is a comment": "bc",
    'resource.type="cloud_run_revision" resource.labels.service_name="WEB"': "c",
    'resource.labels.revision_name="api-1" AND NOT severity=INFO': "b",
    'NOT resource.labels.service_name="api"': "c",
    'resource.labels.zone!="x"': "",
    'NOT resource.labels.zone="x"': "abcd",
    'labels."k8s-pod/app"=front': "c",
    'labels."k8s-pod/app":*': "c",
    "labels:k8s-pod/app": "c",
    "textPayload:SERVER": "a",
    'textPayload=~"^Started .* server$"': "a",
    'textPayload=~"^started"': "",
    'textPayload!~"server"': "bcd",
    "text_payload:server": "a",
    "jsonPayload.ms>100": "b",
    "jsonPayload.ms=20": "d",
    "jsonPayload.ms!=20": "b",
    "jsonPayload.ms:*": "bd",
    "jsonPayload.user.name=ada": "b",
    "jsonPayload.user.roles=ops": "b",
    "jsonPayload.user=NULL_VALUE": "d",
    "jsonPayload.cached=false": "b",
    "jsonPayload:query": "b",
    "httpRequest.status>=500": "c",
    "httpRequest.status=0": "abd",
    "httpRequest:*": "c",
    "httpRequest.latency>3400ms": "c",
    "httpRequest.latency>=3.6s": "",
    r'httpRequest.requestUrl=~"/plots/\d+\?"': "c",
    'trace="abc"': "d",
    "insertId=(a OR d)": "ad",
    'log_id("run.googleapis.com/requests")': "abcd",
    'log_id("run.googleapis.com/stderr")': "",
    f'timestamp>="{NOW + timedelta(seconds=1):%FT%TZ}" AND timestamp<"{NOW + timedelta(seconds=3):%FT%TZ}"': "bc",
    'timestamp>="2001-01-01"': "abcd",
    "ada": "b",
    '"slow query" OR "started the"': "ab",
    "-slow": "acd",
    "severity=INFO OR severity=ERROR AND slow": "",
    "severity=INFO OR (severity=WARNING AND slow)": "abd",
}  # fmt: skip


@pytest.mark.parametrize("query", QUERIES, ids=[f"query {number}" for number in range(len(QUERIES))])
def test_a_filter_finds_what_googles_query_language_says(four: Logs, query: str) -> None:
    assert four.ids(query) == QUERIES[query]


@pytest.mark.parametrize(("query", "named"), [
    ("thud=1", "thud"),
    ("textPayload.part=1", "textPayload.part"),
    ("severity>=FATAL", "FATAL"),
    ('SEARCH("x")', "SEARCH"),
    ("sample(insertId, 0.1)", "sample"),
    ('textPayload=upper("x")', "upper"),
    ("protoPayload.methodName=x", "protoPayload"),
    ("timestamp>yesterday", "yesterday"),
    ("httpRequest.latency>5", "5"),
    ('textPayload=~"(?=x)"', "lookaround"),
    ('textPayload=~"("', "cannot be read"),
    ("httpRequest=x", "httpRequest"),
    ("insertId=abc:def", "':'"),
    ("severity=INFO AND", "at the end"),
    ("(severity=INFO", "at the end"),
    ("severity=INFO)", r"'\)'"),
    ("'single'", "single"),
    ("x" * 20_001, "20000"),
    ("(" * 9000 + "x" + ")" * 9000, "nested"),
])  # fmt: skip
def test_a_filter_that_is_not_known_is_refused_by_name(logs: Logs, query: str, named: str) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=named):
        logs.query(query)


def test_entries_come_back_as_they_were_written_with_what_the_request_says_for_all(logs: Logs, project: str) -> None:
    logs.write({"text_payload": "hello", "labels": {"a": "mine"}}, labels={"a": "theirs", "b": "2"})

    (entry,) = logs.query()

    assert entry.text_payload == "hello"
    assert entry.log_name == f"projects/{project}/logs/{REQUESTS}"
    assert entry.resource.labels["service_name"] == "api"
    assert dict(entry.labels) == {"a": "mine", "b": "2"}
    assert entry.insert_id
    assert abs((entry.timestamp - datetime.now(UTC)).total_seconds()) < 60
    assert entry.receive_timestamp >= entry.timestamp


def test_entries_are_paged_in_both_orders_without_loss_or_repetition(logs: Logs) -> None:
    logs.write(*({"insert_id": f"{n:02}", "text_payload": "x", "timestamp": NOW + timedelta(seconds=n // 3)}
                 for n in range(20)))  # fmt: skip
    forwards = "".join(f"{n:02}" for n in range(20))
    backwards = "".join(f"{n:02}" for n in reversed(range(20)))

    assert logs.ids(page_size=3) == forwards
    assert logs.ids(page_size=3, order_by="timestamp desc", filter="x") == backwards
    assert logs.ids(page_size=20) == forwards


def test_an_empty_page_with_a_token_means_go_on(four: Logs, faults: Control, project: str) -> None:
    fault = faults.plant(method="LoggingServiceV2.Page", kind="page_cut", nth=2, project=project)

    pages = list(four.client.list_log_entries({"resource_names": [four.parent], "page_size": 2}).pages)

    assert [len(page.entries) for page in pages] == [2, 0, 2]
    assert faults.fault(fault)["met"] == 1


def test_a_token_of_another_query_is_refused(four: Logs) -> None:
    page = next(four.client.list_log_entries({"resource_names": [four.parent], "page_size": 2}).pages)

    with pytest.raises(exceptions.InvalidArgument, match="another query"):
        four.query("severity=INFO", page_token=page.next_page_token)
    with pytest.raises(exceptions.InvalidArgument, match="not valid"):
        four.query(page_token="nonsense")


def test_an_entry_that_is_written_twice_is_there_once(logs: Logs) -> None:
    entry = {"insert_id": "same", "text_payload": "x", "timestamp": NOW}
    logs.write(entry)
    logs.write(entry, {**entry, "timestamp": NOW + timedelta(seconds=1)})

    assert logs.ids() == "samesame"


def test_an_invalid_entry_stops_the_whole_request_unless_partial_success_is_asked_for(logs: Logs) -> None:
    bad = {"log_name": "nowhere", "text_payload": "bad"}

    with pytest.raises(exceptions.InvalidArgument, match="nowhere"):
        logs.write({"text_payload": "good"}, bad)
    assert logs.query() == []
    with pytest.raises(exceptions.InvalidArgument, match="nowhere"):
        logs.write({"text_payload": "good"}, bad, partial_success=True)
    assert [entry.text_payload for entry in logs.query()] == ["good"]


def test_a_dry_run_writes_nothing(logs: Logs) -> None:
    logs.write({"text_payload": "x"}, dry_run=True)

    assert logs.query() == []


def test_entries_beyond_the_retention_or_a_day_ahead_are_not_found(logs: Logs) -> None:
    logs.write({"text_payload": "old", "timestamp": NOW - timedelta(days=31)},
               {"text_payload": "ahead", "timestamp": NOW + timedelta(days=2)})  # fmt: skip

    assert logs.query() == []


def test_logs_are_listed_and_deleted(logs: Logs) -> None:
    logs.write({"text_payload": "x"})
    logs.write({"text_payload": "y"}, log="other")

    assert list(logs.client.list_logs(parent=logs.parent)) == [
        f"{logs.parent}/logs/other", f"{logs.parent}/logs/{REQUESTS}",
    ]
    logs.client.delete_log(log_name=f"{logs.parent}/logs/other")
    assert list(logs.client.list_logs(parent=logs.parent)) == [f"{logs.parent}/logs/{REQUESTS}"]
    with pytest.raises(exceptions.NotFound):
        logs.client.delete_log(log_name=f"{logs.parent}/logs/other")


def test_a_project_does_not_see_the_entries_of_another(four: Logs) -> None:
    assert list(four.client.list_log_entries(resource_names=[f"{four.parent}-other"])) == []
    with pytest.raises(exceptions.InvalidArgument, match="folders"):
        four.client.list_log_entries(resource_names=["folders/1"])


def test_acknowledged_entries_survive_a_kill(own_local_cloud: LocalCloud, project: str) -> None:
    with open_channel(own_local_cloud) as opened:
        Logs(opened, project).write({"text_payload": "kept", "insert_id": "k"})
        own_local_cloud.restart(kill=True)
    with open_channel(own_local_cloud) as opened:
        assert Logs(opened, project).ids() == "k"


def test_ten_thousand_entries_are_written_and_searched_in_seconds(logs: Logs) -> None:
    entries = [{"severity": INFO, "json_payload": {"message": f"line {n}", "n": n}} for n in range(10_000)]

    begun = time.monotonic()
    for start in range(0, len(entries), 1000):
        logs.write(*entries[start:start + 1000])
    written = time.monotonic()
    found = logs.query("severity=INFO AND jsonPayload.n>=9000", page_size=1000)
    searched = time.monotonic()

    print(f"10,000 entries: written in {written - begun:.2f} s, searched in {searched - written:.2f} s")
    assert len(found) == 1000
    assert searched - begun < 15
