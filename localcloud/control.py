"""The control API: what a test, or a curious user, asks of the local cloud itself.

The call log, the planted faults, and the list of implemented methods. No call of it passes the gate: it is not a part
of Google's API and never appears in the call log.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import grpc
from aiohttp import web
from google.api_core import exceptions

from localcloud.cloud import Cloud
from localcloud.faults import KINDS, Fault

_NUMBERS = {"nth": 1, "times": 1, "seconds": 0}
_GIVEN = frozenset(f.name for f in dataclasses.fields(Fault)) - {"id", "seen", "met", "released"}


def application(cloud: Cloud, methods: list[str]) -> web.Application:
    """The control API of a cloud that serves these gRPC methods."""
    api = _Control(cloud, methods)
    app = web.Application()
    app.add_routes([
        web.get("/healthz", api.health),
        web.get("/calls", api.calls),
        web.get("/methods", api.methods),
        web.post("/faults", api.plant),
        web.get("/faults", api.faults),
        web.delete("/faults", api.clear),
        web.get("/faults/{id}", api.fault),
        web.delete("/faults/{id}", api.remove),
        web.post("/faults/{id}/release", api.release),
        web.put("/billing-exports", api.export_billing),
        *cloud.sql_control.routes(),
    ])  # fmt: skip
    return app


class _Control:
    def __init__(self, cloud: Cloud, methods: list[str]) -> None:
        self._calls, self._faults, self._methods = cloud.calls, cloud.faults, methods
        self._cloud = cloud

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def methods(self, request: web.Request) -> web.Response:
        return web.json_response(self._methods)

    async def calls(self, request: web.Request) -> web.Response:
        query = request.query
        found = self._calls.list(
            project=query.get("project", ""),
            writes_only=query.get("writes", "") in ("1", "true"),
            after=_number(query.get("after", "0"), "after"),
            limit=_number(query.get("limit", "10000"), "limit"),
        )
        return web.json_response([dataclasses.asdict(call) for call in found])

    async def plant(self, request: web.Request) -> web.Response:
        return web.json_response(self._faults.plant(_fault(await _body(request))).document())

    async def faults(self, request: web.Request) -> web.Response:
        return web.json_response([fault.document() for fault in self._faults.list()])

    async def fault(self, request: web.Request) -> web.Response:
        return web.json_response(self._found(request).document())

    async def release(self, request: web.Request) -> web.Response:
        fault = self._found(request)
        fault.released.set()
        return web.json_response(fault.document())

    async def remove(self, request: web.Request) -> web.Response:
        fault = self._found(request)
        self._faults.remove(fault.id)
        return web.json_response(fault.document())

    async def clear(self, request: web.Request) -> web.Response:
        self._faults.clear(request.query.get("project", ""))
        return web.json_response([fault.document() for fault in self._faults.list()])

    async def export_billing(self, request: web.Request) -> web.Response:
        """On Google a person switches a billing export on in the console: there is no call for it."""
        body = await _body(request)
        try:
            put = await asyncio.to_thread(self._cloud.billing.put, body)
        except exceptions.GoogleAPICallError as error:
            raise _refused(web.HTTPBadRequest, error.message) from error
        return web.json_response(put)

    def _found(self, request: web.Request) -> Fault:
        fault = self._faults.get(request.match_info["id"])
        if fault is None:
            raise _refused(web.HTTPNotFound, f"there is no fault {request.match_info['id']}")
        return fault


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        document = await request.json()
    except ValueError as error:
        raise _refused(web.HTTPBadRequest, f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _refused(web.HTTPBadRequest, "the body is not a JSON object")
    return document


def _fault(document: dict[str, Any]) -> Fault:
    """The fault that a document describes. A misspelt one is refused: it would never be met."""
    unknown = sorted(set(document) - _GIVEN)
    if unknown:
        raise _refused(web.HTTPBadRequest, f"unknown field {unknown[0]}; a fault has {', '.join(sorted(_GIVEN))}")
    if not document.get("method"):
        raise _refused(web.HTTPBadRequest, "a fault needs a method, as Service.Method, or * for any")
    if document.get("kind") not in KINDS:
        raise _refused(web.HTTPBadRequest, f"kind {document.get('kind')!r} is none of {', '.join(KINDS)}")
    if document.get("code", "UNAVAILABLE") not in grpc.StatusCode.__members__:
        raise _refused(web.HTTPBadRequest, f"code {document['code']!r} is no gRPC status")
    for name, least in _NUMBERS.items():
        value = document.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
            raise _refused(web.HTTPBadRequest, f"{name}={value!r} is not a number of at least {least}")
    return Fault(**document)


def _number(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise _refused(web.HTTPBadRequest, f"{name}={text!r} is not a number") from error


def _refused(kind: Callable[..., web.HTTPException], why: str) -> web.HTTPException:
    return kind(text=json.dumps({"error": why}), content_type="application/json")
