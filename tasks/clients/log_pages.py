"""A week of Cloud Logging, page by page, within the quota and within bounds of memory.

Safety property: a page is given once and in order, or an error is raised: a page that fails is asked for again with
the same token, an empty page with a token means "go on", and only a page without a token is the last. So whoever reads
to the end has read everything.

``entries.list`` allows 60 calls a minute and project (https://cloud.google.com/logging/quotas). A review takes half of
them at most: people look at logs too, and so does a deploy.

An entry has up to 256 KB, so a thousand of them may be 256 MB. The channel takes no answer above ``MOST_ANSWER_BYTES``
and refuses it by its length, before it is read; such a page is asked for again, a quarter as long, and pages grow back
once they are small. Google says that a page's token should be presented with the same parameters: where another length
were refused, StaleToken makes the reader begin its day again, with pages of the shorter length from the first one on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NoReturn

from tasks.clients.google import MOST_ANSWER_BYTES, UNRETRIED, Google
from tasks.clients.logs import VIEWER
from tasks.clients.polling import Turns, wait_for
from tasks.errors import BadInput, PermanentError
from tasks.log_models import Entry, Page, Request

PAGE = 1000
#: A refused or failed page is asked for again for so long: the quota is one of a minute.
PATIENCE = timedelta(minutes=10)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=1), timedelta(seconds=60)
#: Below this a payload's own words for its text are looked for in this order.
MESSAGES = ("message", "msg", "log", "text", "event")
TRACES = ("stack_trace", "exception", "exc_info", "stack", "traceback")
SERVICES = ("service_name", "job_name", "database_id", "bucket_name", "module_id", "function_name")


#: A page is this much shorter where one was too large, and longer again where it was far from it.
STEP = 4
TOO_LARGE = "message larger than max"


class StaleToken(BadInput):
    """A page token that the API does not take any more: the reading must begin again at a known place."""


class TooLarge(PermanentError):
    """An answer of more bytes than are taken at once."""


class LogPages:
    """Pages of a project's entries, each at its turn."""

    def __init__(self, google: Google, turns: Turns) -> None:
        self._google, self._turns = google, turns
        self._size = PAGE

    def between(self, start: datetime, end: datetime, filter_: str = "", token: str = "") -> Iterator[Page]:
        """The entries from ``start`` up to, not including, ``end``, oldest first, from a page token on.

        Raises StaleToken for a token that is not taken, TransientError when a page does not come for ten minutes.
        """
        bounds = [f'timestamp>="{_text(start)}"', f'timestamp<"{_text(end)}"']
        clauses = [*bounds, *([f"({filter_}\n)"] if filter_ else [])]  # a comment in it ends with its own line
        request = {
            "resource_names": [f"projects/{self._google.project}"], "filter": " AND ".join(clauses),
            "order_by": "timestamp asc", "page_token": token,
        }  # fmt: skip
        while True:
            page = self._page(request)
            read = Page([read_entry(raw) for raw in page.entries], page.next_page_token)
            request["page_token"] = read.token
            del page  # else it would be in memory beside the next one
            yield read
            if not read.token:
                return

    def _page(self, request: dict[str, Any]) -> Any:
        """The next page, as long as its bytes let it be."""
        while True:
            try:
                page = self._patiently({**request, "page_size": self._size})
            except TooLarge:
                if self._size == 1:
                    raise
                self._size = max(1, self._size // STEP)
                continue
            if self._size < PAGE and page.ByteSize() < MOST_ANSWER_BYTES // (2 * STEP):
                self._size = min(PAGE, self._size * STEP)
            return page

    def _patiently(self, request: dict[str, Any]) -> Any:
        what = f"reading the logs of {self._google.project}"
        return wait_for(
            lambda: self._call(request, what), lambda _: True, PATIENCE, what, first=FIRST_PAUSE, most=LONGEST_PAUSE
        )

    def _call(self, request: dict[str, Any], what: str) -> Any:
        from google.api_core import exceptions
        from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
        from google.cloud.logging_v2.types import ListLogEntriesResponse

        self._turns.take(timedelta(minutes=2), what)
        with self._google.doing(what, VIEWER):
            try:
                pages = self._google.client(LoggingServiceV2Client).list_log_entries(request=request, **UNRETRIED)
                return ListLogEntriesResponse.pb(next(pages.pages))
            except exceptions.InvalidArgument as error:
                _refuse(error, request, what)
            except exceptions.ResourceExhausted as error:  # also the word of a quota, which is worth a retry
                if TOO_LARGE in error.message:
                    way_out = "leave the logger of such entries out by review.log_filter"
                    raise TooLarge(f"{what} failed: {request['page_size']} entries are too large; {way_out}") from error
                raise


def _refuse(error: Any, request: dict[str, Any], what: str) -> NoReturn:
    if request["page_token"] and "token" in str(error.message).lower():
        raise StaleToken(f"{what} failed: the page token is not taken any more; begin the day again") from error
    raise error


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read_entry(raw: Any) -> Entry:
    """An entry of Google's (the raw message) as ours."""
    labels = raw.resource.labels
    at = raw.timestamp.seconds + raw.timestamp.nanos / 1e9
    return Entry(
        at=at,
        service=next((labels[name] for name in SERVICES if name in labels), raw.resource.type),
        log=log_of(raw.log_name),
        severity=raw.severity,
        text=_payload(raw),
        size=raw.ByteSize(),
        source=raw.labels.get("instanceId", ""),
        request=_request(raw.http_request) if raw.HasField("http_request") else None,
    )


def _request(request: Any) -> Request:
    latency = request.latency
    seconds = latency.seconds + latency.nanos / 1e9
    return Request(request.request_method, request.request_url, request.status, seconds)


def _payload(raw: Any) -> str:
    kind = raw.WhichOneof("payload")
    if kind == "text_payload":
        return str(raw.text_payload)
    return _structured(raw.json_payload) if kind == "json_payload" else _audit(raw) if kind else ""


def _structured(payload: Any) -> str:
    """The text of a structured entry, its trace where it has one, else its fields in the order of their names."""
    message, trace = _first(payload.fields, MESSAGES), _first(payload.fields, TRACES)
    if message or "\n" in trace:
        return structured_text(message, trace, {})
    from google.protobuf.json_format import MessageToDict

    return structured_text("", "", MessageToDict(payload))


def _first(fields: Any, names: tuple[str, ...]) -> str:
    """The first of these fields that is a string and not empty."""
    found = (str(fields[name].string_value) for name in names if name in fields)
    return next((text for text in found if text), "")


def structured_text(message: str, trace: str, whole: dict[str, Any]) -> str:
    """The text of an entry, from its message, its trace, and, where it has neither, all that it holds."""
    if "\n" in trace:
        return f"{message}\n{trace}" if message else trace
    return message or (json.dumps(whole, sort_keys=True, ensure_ascii=False) if whole else "")


@lru_cache(maxsize=10_000)
def log_of(name: str) -> str:
    """The id of a log, from its full name."""
    return name.rpartition("/")[2].replace("%2F", "/")


def _audit(raw: Any) -> str:
    """A payload of a type of its own, as an audit log's: the type is known, what it holds is not read."""
    return typed_text(raw.proto_payload.type_url)


def typed_text(url: str) -> str:
    """The text of an entry whose payload is of a type of its own."""
    return f"entry of type {url.rpartition('/')[2]}"
