"""BigQuery: one parameterised query at a time, bounded in bytes and in time.

Safety property: an answer is whole or an error. Every page is read, and the rows are counted against what BigQuery
says there are. No query is sent without ``maximum_bytes_billed``, and values travel as parameters alone.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from tasks.clients import deadlines
from tasks.clients.google import Google
from tasks.clients.google_errors import Attempt
from tasks.errors import BadInput, Missing, OpsError, TransientError

ROLES = "roles/bigquery.jobUser"
PAGE_ROWS = 5000
#: A bool is an int to Python, so it comes first.
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "BOOL"), (int, "INT64"), (Decimal, "NUMERIC"), (float, "FLOAT64"), (datetime, "TIMESTAMP"), (date, "DATE"),
    (str, "STRING"),
)  # fmt: skip
Value = bool | int | Decimal | float | datetime | date | str | tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """The rows of a query, by column, and how many bytes it read."""

    rows: tuple[dict[str, Any], ...]
    bytes_processed: int


class BigQuery:
    """Queries that the project of the estate pays for."""

    def __init__(self, google: Google, maximum_bytes_billed: int, page_rows: int = PAGE_ROWS) -> None:
        self._google, self._most, self._page_rows = google, maximum_bytes_billed, page_rows

    def query(self, sql: str, parameters: Mapping[str, Value], what: str) -> Answer:
        """Run a query and read its whole answer. ``what`` is what is attempted, for an error's message."""
        with _translated(self._google.attempt(what, ROLES)):
            found = self._run(sql, parameters)
            rows = tuple(dict(row.items()) for row in found)
            _check_whole(len(rows), found.total_rows, what)
            return Answer(rows, int(found.total_bytes_processed or 0))

    def pages(self, sql: str, parameters: Mapping[str, Value], what: str) -> Iterator[list[dict[str, Any]]]:
        """Run a query and give its answer page by page: for one that is too large to be kept.

        Raises as query() does, also after the first pages: what was read is whole only when this ends without an error.
        """
        with _translated(self._google.attempt(what, ROLES)):
            found, count = self._run(sql, parameters), 0
            pages = iter(found.pages)
        while True:
            with _translated(self._google.attempt(what, ROLES)):
                page = next(pages, None)
                rows = [dict(row.items()) for row in page] if page is not None else []
            if page is None:
                break
            count += len(rows)
            yield rows
        _check_whole(count, found.total_rows, what)

    def _run(self, sql: str, parameters: Mapping[str, Value]) -> Any:
        return self._client.query_and_wait(
            sql, job_config=self._config(parameters), page_size=self._page_rows, retry=None, job_retry=None,
            wait_timeout=deadlines.QUERY.total_seconds(), api_timeout=deadlines.CALL_SECONDS,
        )  # fmt: skip

    def estimate(self, sql: str, parameters: Mapping[str, Value], what: str) -> int:
        """How many bytes a query would read. Nothing is run, and nothing billed."""
        with _translated(self._google.attempt(what, ROLES)):
            config = self._config(parameters)
            config.dry_run = True
            job = self._client.query(sql, job_config=config, retry=None, job_retry=None, timeout=deadlines.CALL_SECONDS)
            return int(job.total_bytes_processed or 0)

    @property
    def _client(self) -> Any:
        return self._google.bigquery

    def _config(self, parameters: Mapping[str, Value]) -> Any:
        from google.cloud import bigquery

        return bigquery.QueryJobConfig(
            query_parameters=[_parameter(name, value) for name, value in parameters.items()],
            maximum_bytes_billed=self._most, use_legacy_sql=False, use_query_cache=False,
            labels={"made-by": "caretaker"},
        )  # fmt: skip


def _check_whole(count: int, total: int, what: str) -> None:
    if count != total:
        raise TransientError(f"{what} failed: {count} rows of {total} came; retrying may help")


def _parameter(name: str, value: Value) -> Any:
    from google.cloud import bigquery

    if isinstance(value, tuple):
        return bigquery.ArrayQueryParameter(name, "STRING", list(value))
    kind = next(named for python, named in _TYPES if isinstance(value, python))
    return bigquery.ScalarQueryParameter(name, kind, value)


@contextmanager
def _translated(attempt: Attempt) -> Iterator[None]:
    """Raise our error in the place of BigQuery's: its reason says what the HTTP status alone does not."""
    from tasks.clients.google_errors import translated

    with translated(attempt):
        try:
            yield
        except concurrent.futures.TimeoutError as error:
            raise TimeoutError from error
        except Exception as error:
            ours = _by_reason(error, attempt)
            if ours is None:
                raise
            raise ours from error


def _by_reason(error: Exception, attempt: Attempt) -> OpsError | None:
    """A quota is 403, which looks like a missing role; a query that would read too much is 500 to the library.

    https://cloud.google.com/bigquery/docs/error-messages
    """
    told = getattr(error, "errors", None) or [{}]
    first = told[0] if isinstance(told[0], dict) else {}
    reason, said = first.get("reason", ""), first.get("message") or getattr(error, "message", "") or ""
    if reason in ("quotaExceeded", "rateLimitExceeded", "jobRateLimitExceeded"):
        return attempt.failed(TransientError, f"{reason}: {said}", "retrying in some minutes may clear this")
    if reason == "bytesBilledLimitExceeded":
        way_out = "raise maximum_bytes_billed in the estate file, or ask for less"
        return attempt.failed(BadInput, f"bytesBilledLimitExceeded: {said}", way_out)
    if reason == "notFound":
        way_out = "check the name in the estate file, and that the export is switched on"
        return attempt.failed(Missing, f"NOT_FOUND {said}", way_out)
    return None
