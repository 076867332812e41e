"""A week of Cloud Logging page by page, on the local cloud through the official client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client

from tasks.clients import google as google_module
from tasks.clients import log_pages
from tasks.clients.google import UNRETRIED, Google
from tasks.clients.log_pages import LogPages, StaleToken, TooLarge
from tasks.clients.monitoring import Monitoring
from tasks.clients.polling import Pace
from tasks.errors import NotAllowed
from tasks.log_models import Entry
from tests.tasks.clients.conftest import Place

BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
END = BEGIN + timedelta(hours=1)


class Clock:
    """A clock that moves only while somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pages(google: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> LogPages:
    monkeypatch.setattr(log_pages, "PAGE", 10)
    monkeypatch.setattr(log_pages, "FIRST_PAUSE", timedelta(seconds=0.01))
    return LogPages(google, Pace(30, timedelta(minutes=1), lambda: clock.now, clock.sleep))


def put(google: Any, *payloads: dict[str, Any], at: datetime = BEGIN) -> None:
    entries = [
        {
            "log_name": f"projects/{google.project}/logs/run.googleapis.com%2Fstdout",
            "resource": {"type": "cloud_run_revision", "labels": {"service_name": "api"}},
            "timestamp": at + timedelta(seconds=number),
            "labels": {"instanceId": "i1"},
            **payload,
        }
        for number, payload in enumerate(payloads)
    ]
    google.client(LoggingServiceV2Client).write_log_entries(request={"entries": entries}, **UNRETRIED)


def lines(count: int) -> list[dict[str, Any]]:
    return [{"text_payload": f"line {number}"} for number in range(count)]


def read(pages: LogPages, token: str = "") -> list[Entry]:
    return [entry for page in pages.between(BEGIN, END, token=token) for entry in page.entries]


def test_every_page_is_read_once_and_in_order_and_nothing_outside_the_time(google: Any, pages: LogPages) -> None:
    put(google, *lines(35))
    put(google, {"text_payload": "before"}, at=BEGIN - timedelta(seconds=1))
    put(google, {"text_payload": "after"}, at=END)
    assert [entry.text for entry in read(pages)] == [f"line {number}" for number in range(35)]


def test_a_reading_goes_on_at_a_page_token(google: Any, pages: LogPages) -> None:
    put(google, *lines(35))
    first = next(iter(pages.between(BEGIN, END)))
    assert [entry.text for entry in read(pages, first.token)] == [f"line {number}" for number in range(10, 35)]


def test_a_token_that_is_not_taken_is_told_apart_from_other_errors(google: Any, pages: LogPages) -> None:
    put(google, *lines(3))
    with pytest.raises(StaleToken, match="begin the day again"):
        read(pages, "nonsense")


def test_a_refused_and_a_failed_page_are_asked_for_again_and_an_empty_one_goes_on(
    google: Any, pages: LogPages, faults: Any, project: str
) -> None:
    put(google, *lines(35))
    quota = {"code": "RESOURCE_EXHAUSTED", "message": "Quota exceeded for quota metric 'Read requests'"}
    planted = [
        faults.plant(method="LoggingServiceV2.ListLogEntries", kind="error", nth=2, times=2, project=project, **quota),
        faults.plant(method="LoggingServiceV2.ListLogEntries", kind="lost_answer", nth=5, project=project),
        faults.plant(method="LoggingServiceV2.Page", kind="page_cut", nth=2, project=project),
    ]
    assert [entry.text for entry in read(pages)] == [f"line {number}" for number in range(35)]
    assert all(faults.fault(one)["met"] for one in planted)


def test_what_no_retry_clears_is_raised_at_once(google: Any, pages: LogPages, faults: Any, project: str) -> None:
    put(google, *lines(3))
    method = "LoggingServiceV2.ListLogEntries"
    faults.plant(method=method, kind="error", project=project, code="PERMISSION_DENIED", message="no")
    with pytest.raises(NotAllowed, match=r"roles/logging\.viewer"):
        read(pages)


def test_no_more_than_thirty_pages_a_minute_are_asked_for(google: Any, pages: LogPages, clock: Clock) -> None:
    put(google, *lines(310))
    assert len(read(pages)) == 310
    assert clock.slept == [60.0]


def test_entries_of_every_kind_are_read_and_a_line_of_256_kilobytes_is_one(google: Any, pages: LogPages) -> None:
    put(
        google,
        {"json_payload": {"message": "hello", "n": 1}, "severity": "ERROR"},
        {"json_payload": {"b": 1, "a": "x"}},
        {"json_payload": {"message": "boom", "stack_trace": "Traceback (most recent call last):\n  x"}},
        {"text_payload": "x" * 250_000},
        {"text_payload": "bad \ufffd bytes"},
        {"http_request": {"request_method": "GET", "request_url": "http://x/a", "status": 503,
                          "latency": {"nanos": 250_000_000}}},
    )  # fmt: skip
    found = read(pages)
    assert [entry.text for entry in found[:3]] == [
        "hello", '{"a": "x", "b": 1.0}', "boom\nTraceback (most recent call last):\n  x",
    ]  # fmt: skip
    assert (found[0].severity, found[0].service, found[0].log) == (500, "api", "run.googleapis.com/stdout")
    assert (len(found[3].text), found[4].text) == (250_000, "bad \ufffd bytes")
    assert found[3].size > 250_000
    assert found[5].request == ("GET", "http://x/a", 503, 0.25)
    assert found[0].source == "i1"


def test_the_platform_counts_what_was_written_in_a_time(google: Any) -> None:
    put(google, *lines(7))
    put(google, *lines(2), at=END)
    assert Monitoring(google).log_entries(BEGIN, END) == 7
    assert Monitoring(google).log_entries(BEGIN - timedelta(hours=1), BEGIN) is None


@pytest.fixture
def narrow(google: Any, monkeypatch: pytest.MonkeyPatch) -> Google:
    """The same project through a channel that takes answers of 64 KiB."""
    most = 64 * 1024
    options = [option for option in google_module._CHANNEL_OPTIONS if option[0] != google_module._RECEIVED[0]]
    monkeypatch.setattr(google_module, "_CHANNEL_OPTIONS", [*options, (google_module._RECEIVED[0], most)])
    monkeypatch.setattr(google_module, "_channels", {})
    monkeypatch.setattr(log_pages, "MOST_ANSWER_BYTES", most)
    return Google(Place(google.project), google._settings)


def test_pages_of_large_entries_are_shorter_and_grow_back_and_nothing_is_left_out(
    google: Any, narrow: Google, pages: LogPages, monkeypatch: pytest.MonkeyPatch, faults: Any, project: str
) -> None:
    monkeypatch.setattr(log_pages, "PAGE", 64)
    large, small = [{"text_payload": f"{number} {'x' * 20_000}"} for number in range(6)], lines(120)
    put(google, *small[:50], *large, *small[50:])
    found = read(LogPages(narrow, pages._turns))
    assert [entry.text for entry in found] == [one["text_payload"] for one in [*small[:50], *large, *small[50:]]]
    asked = [call for call in faults.calls(project=project) if call.method.endswith("ListLogEntries")]
    assert len(asked) < 20


def test_one_entry_that_is_too_large_alone_is_an_error_that_says_what_to_do(
    google: Any, narrow: Google, pages: LogPages
) -> None:
    put(google, {"text_payload": "x" * 70_000})
    with pytest.raises(TooLarge, match=r"1 entries are too large; leave the logger of such entries out by review"):
        read(LogPages(narrow, pages._turns))


def test_a_filter_that_ends_in_a_comment_does_not_take_the_bounds_of_time_away(google: Any, pages: LogPages) -> None:
    put(google, {"text_payload": "before"}, at=BEGIN - timedelta(seconds=1))
    put(google, {"text_payload": "in"}, {"text_payload": "loud", "severity": "ERROR"})
    found = pages.between(BEGIN, END, filter_="severity<ERROR -- errors are read elsewhere")
    assert [entry.text for page in found for entry in page.entries] == ["in"]


def test_the_channel_to_google_bounds_what_it_takes_and_keeps_its_own_other_options() -> None:
    made: dict[str, Any] = {}

    class Transport:
        @staticmethod
        def create_channel(host: str, **more: Any) -> None:
            made.update(more, host=host)

    theirs = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    google_module.bounded(Transport)("logging.googleapis.com", options=theirs, scopes=None)
    assert made["options"] == [("grpc.max_send_message_length", -1), google_module._RECEIVED]
    assert (made["host"], made["scopes"]) == ("logging.googleapis.com", None)
