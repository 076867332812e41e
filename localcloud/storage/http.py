"""The storage API on HTTP: which path is which call. Every call passes the cloud's gate, as gRPC calls do.

What is not in the table is answered with 501 and its name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web
from google.api_core import exceptions

from localcloud.cloud import Cloud
from localcloud.routes import Route, chosen, json_object, named, path_pattern
from localcloud.storage import errors
from localcloud.storage.api import Api, Ask, Work
from localcloud.storage.media import Media

LOG = logging.getLogger("localcloud.storage")
_LARGEST_JSON_BYTES = 8 * 1024 * 1024
_THREADS = 64
_B, _O = "/storage/v1/b/{bucket}", "/storage/v1/b/{bucket}/o/{object}"
_TO = "/b/{to_bucket}/o/{to_object}"


def _route(verb: str, path: str, name: str, work: Work, *, writes: bool = True) -> Route[Work]:
    return Route(verb, path, name, work, writes)


ROUTES = (
    _route("POST", "/storage/v1/b", "Buckets.Insert", Api.insert_bucket),
    _route("GET", "/storage/v1/b", "Buckets.List", Api.list_buckets, writes=False),
    _route("GET", _B, "Buckets.Get", Api.get_bucket, writes=False),
    _route("PATCH", _B, "Buckets.Patch", Api.patch_bucket),
    _route("DELETE", _B, "Buckets.Delete", Api.delete_bucket),
    _route("GET", f"{_B}/o", "Objects.List", Api.list_objects, writes=False),
    _route("GET", _O, "Objects.Get", Api.get_object, writes=False),
    _route("PATCH", _O, "Objects.Patch", Api.patch_object),
    _route("PUT", _O, "Objects.Update", Api.update_object),
    _route("DELETE", _O, "Objects.Delete", Api.delete_object),
    _route("POST", f"{_O}/compose", "Objects.Compose", Api.compose_object),
    _route("POST", f"{_O}/copyTo{_TO}", "Objects.Copy", Api.copy_object),
    _route("POST", f"{_O}/rewriteTo{_TO}", "Objects.Rewrite", Api.rewrite_object),
)
_UPLOAD = path_pattern(f"/upload{_B}/o")
_DOWNLOAD = path_pattern(f"(?:/download)?{_O}")


def application(cloud: Cloud) -> web.Application:
    """The storage API of a cloud; ``install`` of localcloud.storage comes first."""
    app = web.Application(client_max_size=_LARGEST_JSON_BYTES)
    app.router.add_route("*", "/{path:.*}", _Storage(cloud).answer)
    return app


class _Storage:
    def __init__(self, cloud: Cloud) -> None:
        self._gate, self._objects = cloud.gate, cloud.storage
        self._api = Api(cloud.storage)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="storage")
        # Bytes have threads of their own: a fault that holds calls does not hold what they wait for.
        self._bytes = ThreadPoolExecutor(8, thread_name_prefix="bytes")
        self._media = Media(cloud.storage, cloud.uploads, cloud.uploads.blobs, self._bytes)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except exceptions.GoogleAPICallError as error:
            return _refusal(error)
        except (ConnectionResetError, web.HTTPException):
            raise
        except Exception as error:
            LOG.exception("%s %s failed inside the local cloud", request.method, request.path)
            return _refusal(exceptions.InternalServerError(f"local cloud: {type(error).__name__}: {error}"))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        if found := _UPLOAD.fullmatch(path):
            return await self._upload(request, _ask(request, named(found)))
        if request.method == "GET" and (found := _DOWNLOAD.fullmatch(path)) and _wants_media(request, path):
            ask = _ask(request, named(found))
            return await self._media.download(request, ask, self._runner(request, ask, writes=False))
        if (called := chosen(ROUTES, request.method, path)) is None:
            raise errors.not_implemented(f"{request.method} {path}")
        return await self._call(request, *called)

    async def _upload(self, request: web.Request, ask: Ask) -> web.StreamResponse:
        calls = {"POST": self._media.insert, "PUT": self._media.add, "DELETE": self._media.cancel}
        call = calls.get(request.method)
        if call is None:
            raise errors.not_implemented(f"{request.method} {request.path}")
        return await call(request, ask, self._runner(request, ask, writes=True))

    async def _call(self, request: web.Request, route: Route[Work], names: Mapping[str, str]) -> web.Response:
        ask = _ask(request, names, json_object(await request.read(), errors.invalid))
        run = self._runner(request, ask, writes=route.writes)
        about = ask.path.get("to_object") or ask.path.get("object", "")
        answer = await run(route.name, about, lambda: route.work(self._api, ask))
        return web.Response(status=204) if answer is None else web.json_response(answer)

    def _runner(self, request: web.Request, ask: Ask, *, writes: bool) -> Callable[[str, str, Callable[[], Any]], Any]:
        """Run work as a call of this request: through the gate, in a thread."""
        bucket = ask.path.get("to_bucket") or ask.path.get("bucket") or str(ask.body.get("name", ""))
        caller = request.headers.get("User-Agent", "")

        def gated(name: str, about: str, work: Callable[[], Any]) -> Any:
            project = ask.query.get("project") or self._objects.buckets.owner(bucket)
            resource = f"buckets/{bucket}" + (f"/objects/{about}" if about else "")
            return self._gate.run(
                name, resource, caller, work, writes=writes, project=project, alive=lambda: _connected(request)
            )

        return lambda *call: asyncio.get_running_loop().run_in_executor(self._pool, gated, *call)


def _ask(request: web.Request, names: Mapping[str, str], body: Mapping[str, Any] | None = None) -> Ask:
    return Ask(names, request.query, body or {}, f"http://{request.host}")


def _wants_media(request: web.Request, path: str) -> bool:
    return path.startswith("/download/") or request.query.get("alt") == "media"


def _connected(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()


def _refusal(error: exceptions.GoogleAPICallError) -> web.Response:
    status, document = errors.document(error)
    if status == 304:
        return web.Response(status=304)
    headers = {"Content-Range": f"bytes */{error.size}"} if isinstance(error, errors.NotInRange) else {}
    return web.json_response(document, status=status, headers=headers)
