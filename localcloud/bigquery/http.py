"""BigQuery's API on HTTP: which path is which call. Every call passes the cloud's gate, as gRPC calls do.

What is not in the table is answered with 501 and its name. Queries never run on the event loop, which also carries the
traffic of Cloud Run's services.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from google.api_core import exceptions

from localcloud.bigquery import errors
from localcloud.bigquery.api import Api, Ask, Work
from localcloud.cloud import Cloud

LOG = logging.getLogger("localcloud.bigquery")
_LARGEST_JSON_BYTES = 16 * 1024 * 1024
_THREADS = 16
_P = "/bigquery/v2/projects/{project}"
_D = f"{_P}/datasets/{{dataset}}"
_T = f"{_D}/tables/{{table}}"


@dataclass(frozen=True)
class Route:
    """One call: its verb and path, its name in the call log, what does its work."""

    verb: str
    path: str
    name: str
    work: Work
    writes: bool = False
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path)
        object.__setattr__(self, "pattern", re.compile(pattern))


#: A query changes nothing but the job that it is: it is a read in the call log.
ROUTES = (
    Route("POST", f"{_P}/datasets", "Datasets.Insert", Api.insert_dataset, writes=True),
    Route("GET", f"{_P}/datasets", "Datasets.List", Api.list_datasets),
    Route("GET", _D, "Datasets.Get", Api.get_dataset),
    Route("DELETE", _D, "Datasets.Delete", Api.delete_dataset, writes=True),
    Route("POST", f"{_D}/tables", "Tables.Insert", Api.insert_table, writes=True),
    Route("GET", f"{_D}/tables", "Tables.List", Api.list_tables),
    Route("GET", _T, "Tables.Get", Api.get_table),
    Route("DELETE", _T, "Tables.Delete", Api.delete_table, writes=True),
    Route("POST", f"{_T}/insertAll", "Tabledata.InsertAll", Api.insert_all, writes=True),
    Route("POST", f"{_P}/queries", "Jobs.Query", Api.query),
    Route("GET", f"{_P}/queries/{{job}}", "Jobs.GetQueryResults", Api.query_results),
    Route("POST", f"{_P}/jobs", "Jobs.Insert", Api.insert_job),
    Route("GET", f"{_P}/jobs/{{job}}", "Jobs.Get", Api.get_job),
    Route("POST", f"{_P}/jobs/{{job}}/cancel", "Jobs.Cancel", Api.cancel_job),
)


def application(cloud: Cloud) -> web.Application:
    """The BigQuery API of a cloud; ``install`` of localcloud.bigquery comes first."""
    app = web.Application(client_max_size=_LARGEST_JSON_BYTES)
    app.router.add_route("*", "/{path:.*}", _BigQuery(cloud).answer)
    return app


class _BigQuery:
    def __init__(self, cloud: Cloud) -> None:
        self._gate, self._api = cloud.gate, cloud.bigquery
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="bigquery")

    async def answer(self, request: web.Request) -> web.Response:
        try:
            return await self._answer(request)
        except exceptions.GoogleAPICallError as error:
            status, document = errors.document(error)
            return web.json_response(document, status=status)
        except (ConnectionResetError, web.HTTPException):
            raise
        except Exception as error:
            LOG.exception("%s %s failed inside the local cloud", request.method, request.path)
            _, document = errors.document(exceptions.InternalServerError(f"local cloud: {type(error).__name__}"))
            return web.json_response(document, status=500)

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.raw_path.partition("?")[0]
        for route in ROUTES:
            if route.verb == request.method and (found := route.pattern.fullmatch(path)):
                ask = _ask(request, found, await request.read())
                answer = await asyncio.get_running_loop().run_in_executor(self._pool, self._gated, request, route, ask)
                return _response(answer)
        raise errors.not_implemented(f"{request.method} {path}")

    def _gated(self, request: web.Request, route: Route, ask: Ask) -> bytes | None:
        """One call through the gate, in a thread; the answer is written there too, for it may be large."""
        caller = request.headers.get("User-Agent", "")
        transport = request.transport
        answer = self._gate.run(
            route.name, resource_of(ask), caller, lambda: route.work(self._api, ask), writes=route.writes,
            project=ask.project, alive=lambda: transport is not None and not transport.is_closing(),
        )  # fmt: skip
        return None if answer is None else json.dumps(answer).encode()


def resource_of(ask: Ask) -> str:
    """What a call is about: a table, a dataset, a job, or of a query the tables that its text names."""
    kinds = {"dataset": "datasets", "table": "tables", "job": "jobs"}
    parts = [f"projects/{ask.project}"]
    parts += [f"{kinds[name]}/{ask.path[name]}" for name in kinds if name in ask.path]
    query: Any = ask.body.get("query") or ((ask.body.get("configuration") or {}).get("query") or {}).get("query") or ""
    named = re.findall(r"`([^`]+)`", query if isinstance(query, str) else "")
    return "/".join(parts) + (f" {named[0]}" if named else "")


def _response(answer: bytes | None) -> web.Response:
    if answer is None:
        return web.Response(status=204)
    return web.Response(body=answer, content_type="application/json")


def _ask(request: web.Request, found: re.Match[str], body: bytes) -> Ask:
    path = {name: unquote(text) for name, text in found.groupdict().items()}
    return Ask(path, request.query, _json(body))


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError as error:
        raise errors.invalid(f"Parse Error: {error}") from error
    if not isinstance(found, dict):
        raise errors.invalid("Parse Error: the body is not a JSON object")
    return found
