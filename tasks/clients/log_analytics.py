"""Logs in a Log Analytics view of BigQuery: one aggregating query for what is left of a week.

Safety property: an answer is read to its last row or an error is raised, and a page of it is all that is in memory. A
row stands for as many entries as it says, all of one hour of the week and alike in everything that the review counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tasks.clients import log_analytics_sql
from tasks.clients.bigquery import BigQuery, Value
from tasks.clients.log_pages import log_of, structured_text, typed_text
from tasks.log_models import Entry, Page, Request

FAILED = 500
AUDIT = "type.googleapis.com/google.cloud.audit.AuditLog"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Buckets:
    """How latencies are counted: the natural logarithm of a bucket's width, and the shortest latency in seconds."""

    growth: float
    shortest: float

    def middle(self, bucket: int) -> float:
        """A latency that lies within a bucket, far from both of its edges."""
        return math.exp((bucket - 0.5) * self.growth)


#: For a question that is only estimated: whatever the buckets are, it reads the same.
ANY_BUCKETS = Buckets(0.1, 0.001)


def week_parameters(start: datetime, end: datetime, buckets: Buckets = ANY_BUCKETS) -> dict[str, Value]:
    """What the query is asked with."""
    return {
        "since": start, "until": end, "start": (start - _EPOCH) // (datetime.resolution),
        "per_bucket": 1 / buckets.growth, "shortest": buckets.shortest, "audit": AUDIT,
    }  # fmt: skip


class LogAnalytics:
    """The entries of one view, ``project.dataset._AllLogs``."""

    def __init__(self, bigquery: BigQuery, table: str, buckets: Buckets) -> None:
        self._bigquery, self._table, self._buckets = bigquery, table, buckets

    def between(self, start: datetime, end: datetime) -> Iterator[Page]:
        """The entries from ``start`` up to, not including, ``end``, in pages; the token tells that more follow.

        Hours are counted from ``start``. Raises what BigQuery.pages raises.
        """
        parameters = week_parameters(start, end, self._buckets)
        text = log_analytics_sql.WEEK.format(table=self._table)
        waiting: list[Entry] | None = None
        for rows in self._bigquery.pages(text, parameters, f"reading the logs of {self._table}"):
            if waiting is not None:
                yield Page(waiting, "more")
            waiting = [self._entry(row) for row in rows]
        yield Page(waiting or [], "")

    def _entry(self, row: Mapping[str, Any]) -> Entry:
        return Entry(
            at=_seconds(row["first_at"]), last=_seconds(row["last_at"]), times=row["times"], size=row["size"],
            service=row["service"], log=log_of(row["log"]), severity=_severity(row["level"]), source=row["source"],
            text=_text(row), request=self._request(row) if row["requested"] else None,
        )  # fmt: skip

    def _request(self, row: Mapping[str, Any]) -> Request:
        latency = self._buckets.middle(row["bucket"])
        return Request(row["method"] or "", row["address"] or "", FAILED if row["failed"] else 0, latency)


def _seconds(micros: int) -> float:
    """As an entry of Cloud Logging is read, to the last bit."""
    return micros // 1_000_000 + micros % 1_000_000 * 1000 / 1e9


def _severity(name: str | None) -> int:
    from google.logging.type.log_severity_pb2 import LogSeverity

    return int(LogSeverity.Value(name)) if name else 0


def _text(row: Mapping[str, Any]) -> str:
    if row["kind"]:
        return typed_text(row["kind"])
    whole = json.loads(row["rest"], parse_int=float) if row["rest"] else {}
    return structured_text(row["said"] or "", row["trace"] or "", whole)
