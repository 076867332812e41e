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
from typing import Any

from aiohttp import web
from google.api_core import exceptions

from localcloud.bigquery import errors
from localcloud.bigquery.api import Api, Ask, Work
from localcloud.cloud import Cloud
from localcloud.routes import Route, chosen, json_object

LOG = logging.getLogger("localcloud.bigquery")
_LARGEST_JSON_BYTES = 16 * 1024 * 1024
_THREADS = 16
_P = "/bigquery/v2/projects/{project}"
_D = f"{_P}/datasets/{{dataset}}"
_T = f"{_D}/tables/{{table}}"


def _route(verb: str, path: str, name: str, work: Work, *, writes: bool = False) -> Route[Work]:
    return Route(verb, path, name, work, writes)


#: A query changes nothing but the job that it is: it is a read in the call log.
ROUTES = (
    _route("POST", f"{_P}/datasets", "Datasets.Insert", Api.insert_dataset, writes=True),
    _route("GET", f"{_P}/datasets", "Datasets.List", Api.list_datasets),
    _route("GET", _D, "Datasets.Get", Api.get_dataset),
    _route("DELETE", _D, "Datasets.Delete", Api.delete_dataset, writes=True),
    _route("POST", f"{_D}/tables", "Tables.Insert", Api.insert_table, writes=True),
    _route("GET", f"{_D}/tables", "Tables.List", Api.list_tables),
    _route("GET", _T, "Tables.Get", Api.get_table),
    _route("DELETE", _T, "Tables.Delete", Api.delete_table, writes=True),
    _route("POST", f"{_T}/insertAll", "Tabledata.InsertAll", Api.insert_all, writes=True),
    _route("POST", f"{_P}/queries", "Jobs.Query", Api.query),
    _route("GET", f"{_P}/queries/{{job}}", "Jobs.GetQueryResults", Api.query_results),
    _route("POST", f"{_P}/jobs", "Jobs.Insert", Api.insert_job),
    _route("GET", f"{_P}/jobs/{{job}}", "Jobs.Get", Api.get_job),
    _route("POST", f"{_P}/jobs/{{job}}/cancel", "Jobs.Cancel", Api.cancel_job),
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
        if (found := chosen(ROUTES, request.method, path)) is None:
            raise errors.not_implemented(f"{request.method} {path}")
        route, names = found
        ask = Ask(names, request.query, json_object(await request.read(), errors.invalid))
        answer = await asyncio.get_running_loop().run_in_executor(self._pool, self._gated, request, route, ask)
        return _response(answer)

    def _gated(self, request: web.Request, route: Route[Work], ask: Ask) -> bytes | None:
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
