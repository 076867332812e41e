"""The loopback ports of services: one for each service, one for each of its tags, kept as long as the service exists.

A URL that was given out is given again after a restart. Runs on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from embedded.ports import free_port
from localcloud.store import Documents

LOG = logging.getLogger("localcloud.run.listeners")
_TRIES = 20
DRAIN_SECONDS = 10.0

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listeners:
    """Open ports, by service and tag; the empty tag is the service's own URL."""

    def __init__(self, ports: Documents) -> None:
        self._ports = ports
        self._open: dict[tuple[str, str], tuple[asyncio.Server, web.Server]] = {}
        self._lock = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def url(self, service: str, tag: str, handler: Handler) -> str:
        """The URL of a service or of one of its tags; begins to listen if nothing does yet."""
        async with self._lock:
            if (service, tag) not in self._open:
                await self._listen(service, tag, handler)
            return f"http://127.0.0.1:{self._remembered(service)[tag]}"

    async def keep(self, service: str, tags: set[str]) -> None:
        """Stop listening for every other tag of the service; without any tag, also for the service itself."""
        async with self._lock:
            for key in [key for key in self._open if key[0] == service and key[1] not in tags]:
                self._close(key)

    async def forget(self, service: str) -> None:
        """The service is gone, and its ports with it."""
        await self.keep(service, set())
        self._ports.delete(service)

    async def close(self) -> None:
        for key in list(self._open):
            self._close(key)
        await asyncio.gather(*self._closing)

    async def _listen(self, service: str, tag: str, handler: Handler) -> None:
        preferred = self._remembered(service).get(tag)
        app = web.Server(
            handler, handler_cancellation=True, auto_decompress=False, access_log=None, max_line_size=65_536,
            max_field_size=65_536,
        )  # fmt: skip
        server = await _bind(app, preferred)
        self._open[service, tag] = (server, app)
        port = server.sockets[0].getsockname()[1]
        if port != preferred:
            self._ports.put(service, {**self._remembered(service), tag: port})

    def _close(self, key: tuple[str, str]) -> None:
        server, app = self._open.pop(key)
        server.close()
        app.pre_shutdown()  # idle connections have nothing to wait for
        task = asyncio.create_task(app.shutdown(timeout=DRAIN_SECONDS))  # lets requests in flight finish
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _remembered(self, service: str) -> dict[str, Any]:
        return self._ports.get(service) or {}


async def _bind(app: web.Server, preferred: int | None) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    for attempt in range(_TRIES):
        port = free_port(preferred if attempt == 0 else None)
        try:
            return await loop.create_server(app, "127.0.0.1", port, backlog=1024, reuse_address=True)
        except OSError:
            LOG.info("port %d was taken before we could listen on it", port)
    raise OSError("no port could be bound on 127.0.0.1")
