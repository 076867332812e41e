"""google.logging.v2.LoggingServiceV2, on raw messages: a page of a thousand entries is not copied twice.

A fault of the method ``LoggingServiceV2.Page`` and the kind ``page_cut`` makes a page of ListLogEntries empty, with a
token to go on: what Google does when it has searched for long and found nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions
from google.cloud.logging_v2 import types
from google.protobuf import empty_pb2

from localcloud.logs.entries import Position
from localcloud.logs.query import Query
from localcloud.pages import page
from localcloud.rpc import Servicer, rpc

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

DEFAULT_PAGE, MOST_IN_A_PAGE = 50, 1000
_LOG_NAME = re.compile(r"projects/[^/]+/logs/[A-Za-z0-9/_.%-]{1,511}")
_PROJECT = re.compile(r"projects/([^/]+)")
_ORDERS = {"": False, "timestamp": False, "timestamp asc": False, "timestamp desc": True}
_WriteRequest: Any = types.WriteLogEntriesRequest.pb()
_ListRequest: Any = types.ListLogEntriesRequest.pb()
_ListResponse: Any = types.ListLogEntriesResponse.pb()


class Logging(Servicer):
    service = "google.logging.v2.LoggingServiceV2"

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    @rpc("WriteLogEntries", _WriteRequest, types.WriteLogEntriesResponse, writes=True,
         resource=lambda r: r.log_name or (r.entries[0].log_name if r.entries else ""))
    def write_log_entries(self, request: Any) -> types.WriteLogEntriesResponse:
        wrong, good = [], []
        for entry in request.entries:
            _fill(entry, request)
            reason = _reason_against(entry)
            wrong += [reason] if reason else []
            good += [] if reason else [entry]
        if wrong and not request.partial_success:
            raise exceptions.InvalidArgument(wrong[0])
        if not request.dry_run:
            self._cloud.logs.write(good)
            self._cloud.logs.flush()
        if wrong:
            raise exceptions.InvalidArgument(wrong[0])
        return types.WriteLogEntriesResponse()

    @rpc("ListLogEntries", _ListRequest, _ListResponse, writes=False,
         resource=lambda r: r.resource_names[0] if r.resource_names else "")
    def list_log_entries(self, request: Any) -> Any:
        projects = _projects(request.resource_names)
        size = _page_size(request.page_size)
        if request.order_by not in _ORDERS:
            raise exceptions.InvalidArgument(f"order_by '{request.order_by}' is not timestamp asc or timestamp desc.")
        query = Query(request.filter)
        mark = hashlib.sha256(repr((projects, request.filter, request.order_by)).encode()).hexdigest()[:12]
        after = _position(request.page_token, mark)
        fault = self._cloud.faults.inside("LoggingServiceV2.Page", projects[0], request.resource_names[0])
        if fault is not None and fault.kind == "page_cut":
            return _ListResponse(next_page_token=_token(after, mark))
        entries, last = self._cloud.logs.query(
            projects, query, descending=_ORDERS[request.order_by], limit=size, after=after
        )
        return _ListResponse(entries=entries, next_page_token=_token(last, mark) if last else "")

    @rpc("ListLogs", types.ListLogsRequest, types.ListLogsResponse, writes=False, resource=lambda r: r.parent)
    def list_logs(self, request: types.ListLogsRequest) -> types.ListLogsResponse:
        names = self._cloud.logs.logs(_projects([request.parent, *request.resource_names]))
        some, token = page(names, request.page_size, request.page_token, default=DEFAULT_PAGE, most=MOST_IN_A_PAGE)
        return types.ListLogsResponse(log_names=some, next_page_token=token)

    @rpc("DeleteLog", types.DeleteLogRequest, empty_pb2.Empty, writes=True, resource=lambda r: r.log_name)
    def delete_log(self, request: types.DeleteLogRequest) -> empty_pb2.Empty:
        if not _LOG_NAME.fullmatch(request.log_name):
            raise exceptions.InvalidArgument(f"'{request.log_name}' is not the name of a log of a project.")
        if not self._cloud.logs.delete(request.log_name):
            raise exceptions.NotFound(f"Log {request.log_name} does not exist.")
        return empty_pb2.Empty()


def _fill(entry: Any, request: Any) -> None:
    """Give an entry what the request says for all of them; what the entry says itself wins."""
    entry.log_name = entry.log_name or request.log_name
    if not entry.HasField("resource") and request.HasField("resource"):
        entry.resource.CopyFrom(request.resource)
    for key, value in request.labels.items():
        if key not in entry.labels:
            entry.labels[key] = value


def _reason_against(entry: Any) -> str:
    if not _LOG_NAME.fullmatch(entry.log_name):
        return f"Log name '{entry.log_name}' is not projects/PROJECT/logs/LOG_ID."
    if not entry.resource.type:
        return "A log entry has no monitored resource type."
    return ""


def _projects(names: Any) -> list[str]:
    names = [name for name in names if name]
    if not names:
        raise exceptions.InvalidArgument("resource_names is required.")
    for name in names:
        if not _PROJECT.fullmatch(name):
            raise exceptions.InvalidArgument(f"the local cloud has logs of projects only, not of '{name}'.")
    return list(dict.fromkeys(name.split("/")[1] for name in names))


def _page_size(asked: int) -> int:
    if asked < 0:
        raise exceptions.InvalidArgument("page_size must not be negative.")
    return min(asked or DEFAULT_PAGE, MOST_IN_A_PAGE)


def _token(position: Position | None, mark: str) -> str:
    at = [position.ts, position.insert_id, position.id] if position else []
    return base64.urlsafe_b64encode(json.dumps([mark, *at]).encode()).decode()


def _position(token: str, mark: str) -> Position | None:
    """Where a page token says to go on. Raises InvalidArgument for one of another query."""
    if not token:
        return None
    try:
        made_for, *at = json.loads(base64.urlsafe_b64decode(token))
        position = Position(*at) if at else None
    except (ValueError, TypeError) as error:
        raise exceptions.InvalidArgument("page_token is not valid.") from error
    if made_for != mark:
        raise exceptions.InvalidArgument("page_token belongs to another query.")
    return position
