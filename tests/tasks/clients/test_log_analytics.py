"""A week of logs by one query over BigQuery: what it finds is what Cloud Logging's pages give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud.logging_v2.types import LogEntry

from tasks.analysis import log_review
from tasks.analysis.latency_sketch import GROWTH, SHORTEST_SECONDS
from tasks.analysis.log_patterns import folded
from tasks.analysis.log_tally import Tally
from tasks.clients.bigquery import BigQuery
from tasks.clients.log_analytics import Buckets, LogAnalytics
from tasks.clients.log_pages import read_entry
from tasks.errors import BadInput, Missing, TransientError
from tasks.log_models import Coverage, Entry, History, LogReview, Week
from tasks.review_models import Marks
from tests import corpus, log_analytics

BEGIN = datetime(2026, 11, 16, tzinfo=UTC)
END = BEGIN + timedelta(days=7)
ASKED = datetime(2026, 11, 23, 6, tzinfo=UTC)
MOST = 100_000_000
ENTRIES = 6000


def reader(google: Any, table: str, page_rows: int = 700, most: int = MOST) -> LogAnalytics:
    return LogAnalytics(BigQuery(google, most, page_rows), table, Buckets(GROWTH, SHORTEST_SECONDS))


def entry(number: int, at: float, service: str = "api", log: str = "stderr", **fields: Any) -> Any:
    moment = BEGIN + timedelta(seconds=at)
    made = LogEntry(
        log_name=f"projects/p/logs/run.googleapis.com%2F{log}", timestamp=moment, insert_id=f"{number:06}",
        resource={"type": "cloud_run_revision", "labels": {"service_name": service}}, **fields,
    )  # fmt: skip
    return LogEntry.pb(made)


def plain(tally: Tally) -> dict[str, Any]:
    """Everything in a tally but bytes, which the two sources count differently."""
    def counts(found: dict[Any, Any]) -> dict[Any, Any]:
        return {key: (one.requests, one.errors, one.sketch.buckets) for key, one in found.items()}

    return {
        "read": tally.read, "unmatched": tally.unmatched, "platform": tally.platform,
        "lines": {key: (one.count, one.first, one.last, one.hourly) for key, one in tally.lines.items()},
        "requests": counts(tally.requests), "routes": counts(tally.routes),
        "loggers": {key: entries for key, (entries, _) in tally.loggers.items()},
    }  # fmt: skip


def tallied(entries: Iterable[Entry], start: datetime = BEGIN) -> Tally:
    tally = Tally(start.timestamp(), folded)
    tally.take(entries)
    tally.close()
    return tally


def queried(google: Any, table: str, week: Week | None = None) -> Iterator[Entry]:
    start, end = (week.start, week.end) if week else (BEGIN, END)
    for page in reader(google, table).between(start, end):
        yield from page.entries


def judged(week: Week, tally: Tally, before: History | None) -> tuple[LogReview, History]:
    return log_review.review(week, tally, Coverage(read=tally.read, size=0), before, Marks(), ASKED)


def told(review: LogReview) -> list[tuple[Any, ...]]:
    """What is said of each pattern."""
    return [
        (one.judgement, one.pattern.id, one.pattern.template, one.pattern.count, one.pattern.first, one.since, one.why)
        for one in review.judged
    ]  # fmt: skip


def test_the_same_corpus_gives_the_same_patterns_counts_and_classes(google):
    calendar = [Week.named(name, corpus.ZONE) for name in corpus.WEEKS]
    raw = [list(corpus.entries(number, ENTRIES)) for number in range(len(calendar))]
    table = log_analytics.fill(google, (one for week in raw for one in week))
    paged = by_query = None
    for week, entries in zip(calendar, raw, strict=True):
        one, other = tallied(map(read_entry, entries), week.start), tallied(queried(google, table, week), week.start)
        assert plain(one) == plain(other)
        first, paged = judged(week, one, paged)
        second, by_query = judged(week, other, by_query)
        assert told(first) == told(second)
        assert (first.services, first.routes, first.happened) == (second.services, second.routes, second.happened)
    assert {"new", "escalating", "vanished", "steady"} <= {one.judgement for one in second.judged}
    assert sum(one.requests for one in second.services) > 100


def awkward() -> list[Any]:
    """Entries of every kind that the two sources could take differently."""
    trace = ["Traceback (most recent call last):", '  File "/app/a.py", line 3, in run', "    x()", "ValueError: no 17"]
    printed = [
        entry(number, 100 + number, labels={"instanceId": instance}, text_payload=line)
        for instance in ("i1", "i2")
        for number, line in enumerate(trace)
    ]
    return [
        *printed,
        *(entry(20 + n, 200 + n % 2, text_payload="ready", severity=200) for n in range(9)),
        entry(30, 300, json_payload={"message": "", "msg": "second name", "n": 1}),
        entry(31, 301, json_payload={"message": {"nested": True}, "event": "third name"}),
        entry(32, 302, json_payload={"b": 2, "a": [1, None, "ü\n\"x\""]}),
        entry(33, 303, json_payload={"message": "failed", "stack_trace": "E: x\n    at run (/app/src/a.js:1:2)"}),
        entry(34, 304, json_payload={"message": "failed", "exception": "on one line"}, severity=500),
        entry(35, 305, proto_payload={"type_url": "type.googleapis.com/google.cloud.audit.AuditLog", "value": b""}),
        entry(36, 306, text_payload=""),
        entry(37, 307, text_payload="50% of 'x\\n' \"done\" for a@b.example\ud7ff"),
        entry(38, 308, log="varlog%2Fsystem", text_payload="Memory limit of 512 MiB exceeded"),
        *(request(40 + n, 400 + n, n) for n in range(6)),
        entry(50, 7 * 86400 - 0.000001, text_payload="the last microsecond"),
        entry(51, 7 * 86400, text_payload="the next week's"),
        entry(52, -0.000001, text_payload="the last week's"),
    ]  # fmt: skip


def request(number: int, at: float, seconds: float) -> Any:
    url = f"https://a.example/v/{number}?q=1?r"
    made: dict[str, Any] = {"request_method": "GET", "request_url": url, "status": 499 + number % 2}
    made["latency"] = timedelta(seconds=seconds)
    return entry(number, at, log="requests", text_payload="told twice", http_request=made)


def test_whatever_an_entry_holds_both_sources_take_it_alike(google):
    raw = awkward()
    table = log_analytics.fill(google, raw)
    inside = [one for one in map(read_entry, raw) if BEGIN.timestamp() <= one.at < END.timestamp()]
    by_pages, by_query = tallied(sorted(inside, key=lambda one: one.at)), tallied(queried(google, table))
    assert plain(by_pages) == plain(by_query)
    assert sum(key.kind == "stack" for key in by_query.lines) == 2
    assert by_query.platform == {("api", "out of memory"): [1, BEGIN.timestamp() + 308, BEGIN.timestamp() + 308]}


def test_an_entry_that_is_stored_twice_counts_once(google):
    stored = [entry(n, 0, text_payload="tick") for n in range(3)]
    (found,) = queried(google, log_analytics.fill(google, [*stored, *stored]))
    assert found.times == 3


def test_equal_entries_of_an_hour_come_as_one(google):
    table = log_analytics.fill(google, [entry(n, n * 600, text_payload="tick") for n in range(18)])
    found = list(queried(google, table))
    assert [one.times for one in found] == [6, 6, 6]
    assert [one.last - one.at for one in found] == [3000.0] * 3
    assert [one.size for one in found] == [24] * 3


def test_a_page_that_fails_half_way_is_an_error_and_never_a_shorter_week(google, faults, project):
    table = log_analytics.fill(google, [entry(n, n, text_payload=f"line {n}") for n in range(30)])
    planted = faults.plant("Jobs.GetQueryResults", "error", project=project, nth=2)
    with pytest.raises(TransientError, match="reading the logs of"):
        list(reader(google, table, page_rows=10).between(BEGIN, END))
    assert faults.fault(planted)["met"] == 1
    pages = list(reader(google, table, page_rows=10).between(BEGIN, END))
    assert [(len(page.entries), page.token) for page in pages] == [(10, "more"), (10, "more"), (10, "")]


def test_a_view_that_is_not_there_or_costs_too_much_is_named(google):
    with pytest.raises(Missing, match="check the name in the estate file"):
        list(reader(google, f"{google.project}.none._AllLogs").between(BEGIN, END))
    table = log_analytics.fill(google, [entry(n, n, text_payload="x" * 60_000) for n in range(200)])
    with pytest.raises(BadInput, match="raise maximum_bytes_billed"):
        list(reader(google, table, most=10_485_760).between(BEGIN, END))


def test_a_week_without_entries_is_one_empty_page(google):
    assert list(reader(google, log_analytics.fill(google, [])).between(BEGIN, END)) == [([], "")]
