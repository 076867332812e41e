"""Bytes in and out: uploads in one piece or resumable, downloads whole or of a range.

Bytes never wait for the disk on the event loop, which also carries the traffic of Cloud Run's services.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor
from contextlib import closing
from typing import Any, BinaryIO
from urllib.parse import quote

from aiohttp import BodyPartReader, web

from localcloud.routes import json_object
from localcloud.storage import errors
from localcloud.storage.api import Ask, object_document
from localcloud.storage.blobs import CHUNK_BYTES, Blobs, Incoming
from localcloud.storage.checksums import Checksums
from localcloud.storage.objects import Objects, Resource
from localcloud.storage.uploads import Session, Span, Uploads

_RANGE = re.compile(r"bytes=(?P<first>\d*)-(?P<last>\d*)")
#: Runs a piece of work as a named call: through the gate, in a thread.
Run = Callable[[str, str, Callable[[], Any]], Any]


class Media:
    """The calls that carry an object's bytes."""

    def __init__(self, objects: Objects, uploads: Uploads, blobs: Blobs, pool: Executor) -> None:
        self._objects, self._uploads, self._blobs, self._pool = objects, uploads, blobs, pool

    async def download(self, request: web.Request, ask: Ask, run: Run) -> web.StreamResponse:
        bucket, name, generation = ask.object
        resource, file = await run(
            "Objects.Get", name, lambda: self._objects.open(bucket, name, generation, ask.conditions)
        )
        with file:
            return await self._send(request, resource, file)

    async def insert(self, request: web.Request, ask: Ask, run: Run) -> web.StreamResponse:
        kind = ask.query.get("uploadType", "")
        if kind == "resumable":
            return await self._begin(request, ask, run)
        if kind not in ("media", "multipart"):
            raise errors.invalid(f"Invalid upload request: uploadType '{kind}'")
        with closing(self._blobs.receive()) as incoming:
            read = self._multipart if kind == "multipart" else self._plain
            given = await read(request, incoming)
            return await self._keep(request, ask, run, given, incoming)

    async def add(self, request: web.Request, ask: Ask, run: Run) -> web.StreamResponse:
        """A chunk of a resumable upload, or a question after its state."""
        session = self._uploads.get(ask.query.get("upload_id", ""))
        with closing(self._blobs.receive()) as chunk:
            length = await self._receive(request.content.iter_chunked(CHUNK_BYTES), chunk)
            span = Span.read(request.headers.get("Content-Range", ""), length)
            if session.finished is not None:
                return web.json_response(object_document(session.finished, ask.base))
            if span is None:
                return _incomplete(session)
            return await self._add(request, ask, run, session, span, chunk)

    async def cancel(self, request: web.Request, ask: Ask, run: Run) -> web.StreamResponse:
        session = self._uploads.get(ask.query.get("upload_id", ""))
        await run("Objects.CancelUpload", session.name, lambda: self._uploads.cancel(session))
        return web.Response(status=499)

    async def _keep(
        self, request: web.Request, ask: Ask, run: Run, given: Mapping[str, Any], incoming: Incoming
    ) -> web.Response:
        name = _name(ask, given)
        checksums = Checksums.read(given, request.headers.get("x-goog-hash", ""))

        def work() -> Resource:
            self._objects.check_insert(ask.path["bucket"], name, ask.conditions)
            return self._objects.insert(ask.path["bucket"], name, given, incoming.keep(), ask.conditions, checksums)

        return web.json_response(object_document(await run("Objects.Insert", name, work), ask.base))

    async def _begin(self, request: web.Request, ask: Ask, run: Run) -> web.Response:
        given = json_object(await request.read(), errors.invalid)
        given.setdefault("contentType", request.headers.get("X-Upload-Content-Type", "application/octet-stream"))
        bucket, name = ask.path["bucket"], _name(ask, given)
        session = await run(
            "Objects.BeginUpload", name, lambda: self._uploads.begin(bucket, name, given, ask.conditions)
        )
        location = f"{ask.base}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name={quote(name, safe='')}"
        headers = {"Location": f"{location}&upload_id={session.id}", "X-GUploader-UploadID": session.id}
        return web.Response(headers=headers)

    async def _add(
        self, request: web.Request, ask: Ask, run: Run, session: Session, span: Span, chunk: Incoming
    ) -> web.Response:
        last = span.total == span.first + span.length
        checksums = Checksums.read(session.given, request.headers.get("x-goog-hash", ""))

        def work() -> Session | Resource:
            grown = self._uploads.add(session, span, chunk.spooled())
            return self._uploads.finish(grown, checksums) if last else grown

        answer = await run("Objects.Insert" if last else "Objects.UploadChunk", session.name, work)
        return _incomplete(answer) if isinstance(answer, Session) else web.json_response(
            object_document(answer, ask.base)
        )  # fmt: skip

    async def _multipart(self, request: web.Request, incoming: Incoming) -> dict[str, Any]:
        """The metadata and the bytes of a ``multipart/related`` body."""
        if not request.content_type.startswith("multipart/"):
            raise errors.invalid(f"Invalid multipart request: Content-Type is {request.content_type}")
        reader = await request.multipart()
        described, media = await reader.next(), None
        if isinstance(described, BodyPartReader):
            given = json_object(bytes(await described.read()), errors.invalid)
            media = await reader.next()
        if not isinstance(media, BodyPartReader):
            raise errors.invalid("Invalid multipart request with 0 mime parts: metadata and media are needed.")
        given.setdefault("contentType", media.headers.get("Content-Type", "application/octet-stream"))
        await self._receive(_parts(media), incoming)
        return given

    async def _plain(self, request: web.Request, incoming: Incoming) -> dict[str, Any]:
        await self._receive(request.content.iter_chunked(CHUNK_BYTES), incoming)
        return {"contentType": request.headers.get("Content-Type", "application/octet-stream")}

    async def _receive(self, chunks: AsyncIterator[bytes], incoming: Incoming) -> int:
        length, loop = 0, asyncio.get_running_loop()
        async for chunk in chunks:
            length += len(chunk)
            await loop.run_in_executor(self._pool, incoming.write, chunk)
        return length

    async def _send(self, request: web.Request, resource: Resource, file: BinaryIO) -> web.StreamResponse:
        size = int(resource["size"])
        first, end, partial = _span(request.headers.get("Range", ""), size)
        response = web.StreamResponse(status=206 if partial else 200, headers=_headers(request, resource))
        response.content_length = end - first
        if partial:
            response.headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        file.seek(first)
        while first < end:
            data = await loop.run_in_executor(self._pool, file.read, min(CHUNK_BYTES, end - first))
            first += len(data)
            await response.write(data)
        await response.write_eof()
        return response


async def _parts(media: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await media.read_chunk(CHUNK_BYTES):
        yield bytes(chunk)


def _name(ask: Ask, given: Mapping[str, Any]) -> str:
    return str(ask.query.get("name") or given.get("name") or "")


def _incomplete(session: Session) -> web.Response:
    """What of an upload is here: HTTP 308 with the range that was received."""
    headers = {"Range": f"bytes=0-{session.received - 1}"} if session.received else {}
    return web.Response(status=308, reason="Resume Incomplete", headers=headers)


def _span(header: str, size: int) -> tuple[int, int, bool]:
    """First byte, the end, and whether that is a part. Several ranges are answered with the whole, as Google does."""
    found = _RANGE.fullmatch(header)
    if found is None or not (found["first"] or found["last"]):
        return 0, size, False
    if not found["first"]:
        first, end = max(0, size - int(found["last"])), size
    else:
        first, end = int(found["first"]), min(size, int(found["last"] or size) + 1) if found["last"] else size
    if first >= end:
        raise errors.NotInRange(size)
    return first, end, True


def _headers(request: web.Request, resource: Resource) -> dict[str, str]:
    encoding = resource.get("contentEncoding", "")
    if encoding == "gzip" and "gzip" not in request.headers.get("Accept-Encoding", ""):
        raise errors.not_implemented("Objects.Get that unpacks gzip (send Accept-Encoding: gzip)")
    md5 = f",md5={resource['md5Hash']}" if "md5Hash" in resource else ""
    headers = {
        "ETag": resource["etag"],
        "Accept-Ranges": "bytes",
        "Content-Type": resource.get("contentType", "application/octet-stream"),
        "x-goog-generation": resource["generation"],
        "x-goog-metageneration": resource["metageneration"],
        "x-goog-hash": f"crc32c={resource['crc32c']}{md5}",
        "x-goog-storage-class": resource["storageClass"],
        "x-goog-stored-content-encoding": encoding or "identity",
        "x-goog-stored-content-length": resource["size"],
    }
    told = (("contentEncoding", "Content-Encoding"), ("contentDisposition", "Content-Disposition"),
            ("contentLanguage", "Content-Language"), ("cacheControl", "Cache-Control"))  # fmt: skip
    return headers | {header: resource[field] for field, header in told if resource.get(field)}
