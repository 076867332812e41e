"""The reverse proxy in front of every service: picks a revision, waits for an instance, streams both bodies.

Safety property: moving traffic never fails a request. A request stays with the instance that took it until it is
answered; one that cannot have reached the container, or that may be repeated, is sent once more when its connection
broke before the first byte of an answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from localcloud.run.conditions import StartFailure
from localcloud.run.fleets import Fleet, NoInstance
from localcloud.run.instances import Instance
from localcloud.run.names import Name
from localcloud.run.request_log import Seen

LOG = logging.getLogger("localcloud.run.proxy")
HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade", "expect")
)  # fmt: skip
IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"))
SMALL_BODY_BYTES = 256 * 1024
CHUNK_BYTES = 64 * 1024
#: Under a second: uvicorn closes idle connections after 5 s, gunicorn after 2; we must be the first to let go.
UPSTREAM_KEEPALIVE_SECONDS = 1.0
_TRACE = re.compile(r"([0-9a-fA-F]{32})(?:/(\d+))?")
_CLIENT_LEFT = 499
_NOT_FOUND = (
    "<html><head>\n<meta http-equiv=\"content-type\" content=\"text/html;charset=utf-8\">\n"
    "<title>404 Page not found</title>\n</head>\n<body text=#000000 bgcolor=#ffffff>\n<h1>Error: Page not found</h1>\n"
    "<h2>The requested URL was not found on this server.</h2>\n<h2></h2>\n</body></html>\n"
)


@dataclass(frozen=True)
class Target:
    """Where a request goes: the revision's short name, its fleet and its request timeout in seconds."""

    revision: str
    fleet: Fleet
    timeout: float


class Refusal(Exception):
    """The platform itself answers: status, body, and the text for the request log."""

    def __init__(self, status: int, body: str, text: str, kind: str = "text/plain") -> None:
        super().__init__(text)
        self.status, self.body, self.text, self.kind = status, body, text, kind


NOT_FOUND = Refusal(404, _NOT_FOUND, "The requested URL was not found on this server.", "text/html")
BUSY = Refusal(429, "Rate exceeded.", "The request was aborted because there was no available instance.")
NOT_STARTED = Refusal(
    500, "Internal Server Error", "The request failed because the instance could not start successfully."
)
LATE = Refusal(504, "upstream request timeout", "The request has been terminated because it has reached the maximum "
               "request timeout.")  # fmt: skip
BROKEN = Refusal(
    503, "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
    "The request failed because either the HTTP response was malformed or connection to the instance had an error.",
)  # fmt: skip


def upstream_session() -> aiohttp.ClientSession:
    """The connections to all instances. Create it on the event loop."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=UPSTREAM_KEEPALIVE_SECONDS, use_dns_cache=False, happy_eyeballs_delay=None
        ),
        cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        read_bufsize=CHUNK_BYTES, max_line_size=65_536, max_field_size=65_536,
    )  # fmt: skip


class Proxy:
    """Answers the requests of one URL of a service (its own, or a tag's)."""

    def __init__(
        self, service: Name, choose: Callable[[], Target | None], http: aiohttp.ClientSession,
        log: Callable[[Seen], None],
    ) -> None:  # fmt: skip
        self._service, self._choose, self._http, self._log = service, choose, http, log

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens to it, and log it."""
        exchange = Exchange(request, self._http)
        target = self._choose()
        try:
            if target is None:
                raise NOT_FOUND
            async with asyncio.timeout(target.timeout):
                return await exchange.run(target)
        except Refusal as refusal:
            return exchange.refuse(refusal)
        except TimeoutError:
            return exchange.late()
        finally:
            self._log(exchange.seen(self._service, target.revision if target else ""))


class Exchange:
    """One request and its answer."""

    def __init__(self, request: web.BaseRequest, http: aiohttp.ClientSession) -> None:
        self._request, self._http = request, http
        self._wall, self._clock = time.time(), time.perf_counter()
        self._trace, self._span = _trace(request.headers)
        self._headers: CIMultiDict[str] | None = None
        self._response: web.StreamResponse | None = None
        self.status, self.sent, self.text = _CLIENT_LEFT, 0, ""

    async def run(self, target: Target) -> web.StreamResponse:
        """Send the request to an instance and its answer to the client. Raises Refusal."""
        instance, upstream = await self._open(target.fleet)
        try:
            async with upstream:
                return await self._relay(upstream)
        except (aiohttp.ClientError, OSError) as error:
            if self._response is None:
                raise BROKEN from error
            LOG.info("an instance broke off its answer to %s %s: %s", self._request.method, self._request.path, error)
            self._abort()
            return self._response
        finally:
            target.fleet.release(instance)

    async def _open(self, fleet: Fleet) -> tuple[Instance, aiohttp.ClientResponse]:
        broken: Instance | None = None
        while True:
            instance = await self._instance(fleet, broken)
            try:
                return instance, await self._send(instance)
            except (aiohttp.ClientError, OSError) as error:
                fleet.release(instance)
                if broken is not None or not self._repeatable(error):
                    raise BROKEN from error
                broken = instance
            except BaseException:
                fleet.release(instance)
                raise

    async def _instance(self, fleet: Fleet, but: Instance | None) -> Instance:
        try:
            return await fleet.acquire(but)
        except NoInstance as error:
            raise BUSY from error
        except StartFailure as error:
            raise NOT_STARTED from error

    async def _send(self, instance: Instance) -> aiohttp.ClientResponse:
        request = self._request
        if self._headers is None:
            self._headers = self._upstream_headers()
            if request.headers.get("Expect", "").lower() == "100-continue":
                await _continue(request)
        return await self._http.request(
            request.method, URL(f"http://127.0.0.1:{instance.port}{request.raw_path}", encoded=True),
            headers=self._headers, data=request.content if request.can_read_body else None, allow_redirects=False,
        )  # fmt: skip

    def _repeatable(self, error: BaseException) -> bool:
        if isinstance(error, aiohttp.ClientConnectorError):
            return True  # nothing was sent
        return self._request.method in IDEMPOTENT and not self._request.can_read_body

    def _upstream_headers(self) -> CIMultiDict[str]:
        request = self._request
        headers = end_to_end(request.headers)
        client = request.remote or ""
        before = request.headers.get("X-Forwarded-For")
        headers["X-Forwarded-For"] = f"{before}, {client}" if before else client
        headers.setdefault("X-Forwarded-Proto", "http")
        headers["X-Cloud-Trace-Context"] = f"{self._trace}/{int(self._span, 16)}"
        headers.setdefault("traceparent", f"00-{self._trace}-{self._span}-00")
        return headers

    async def _relay(self, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        headers = end_to_end(upstream.headers)
        headers["Server"] = "Google Frontend"
        length = upstream.content_length
        self.status = upstream.status
        if self._request.method != "HEAD" and length is not None and 0 < length <= SMALL_BODY_BYTES:
            return await self._relay_small(upstream, headers)
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=headers)
        await response.prepare(self._request)
        self._response = response
        async for chunk in upstream.content.iter_any():
            self.sent += len(chunk)
            await response.write(chunk)
        await response.write_eof()
        return response

    async def _relay_small(self, upstream: aiohttp.ClientResponse, headers: CIMultiDict[str]) -> web.StreamResponse:
        try:
            body = await upstream.read()
        except aiohttp.ClientError as error:
            raise BROKEN from error
        self.sent = len(body)
        headers.popall("Content-Length", None)
        return web.Response(status=upstream.status, reason=upstream.reason, headers=headers, body=body)

    def refuse(self, refusal: Refusal) -> web.StreamResponse:
        """The platform's own answer."""
        self.status, self.text, self.sent = refusal.status, refusal.text, len(refusal.body)
        return web.Response(status=refusal.status, text=refusal.body, content_type=refusal.kind,
                            headers={"Server": "Google Frontend"})  # fmt: skip

    def late(self) -> web.StreamResponse:
        """The request timeout is over: 504, or a cut connection when the answer had begun."""
        if self._response is None:
            return self.refuse(LATE)
        self.text = LATE.text
        self._abort()
        return self._response

    def _abort(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    def seen(self, service: Name, revision: str) -> Seen:
        """What the request log says of it."""
        request, headers = self._request, self._request.headers
        return Seen(
            service=service, revision=revision, started=self._wall, latency=time.perf_counter() - self._clock,
            method=request.method, url=f"http://{request.host}{request.raw_path}", status=self.status,
            user_agent=headers.get("User-Agent", ""), remote_ip=request.remote or "",
            referer=headers.get("Referer", ""), request_size=request.content_length or 0, response_size=self.sent,
            trace=self._trace, span=self._span, text=self.text,
        )  # fmt: skip


def end_to_end(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The headers without those of one connection (RFC 9110, section 7.6.1)."""
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    drop = HOP_BY_HOP | named
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in drop)


def _trace(headers: CIMultiDictProxy[str]) -> tuple[str, str]:
    found = _TRACE.match(headers.get("X-Cloud-Trace-Context", ""))
    if found:
        return found[1].lower(), f"{int(found[2] or 0):016x}"
    return secrets.token_hex(16), secrets.token_hex(8)


async def _continue(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
