"""What runs on the event loop for Cloud Run: fleets, routes, listeners. Other threads talk to it by ``call``.

Safety property: a route is replaced in one step, and only by one whose revisions exist; instances that it no longer
names are stopped when they are idle, never with a request in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
from aiohttp import web
from google.api_core import exceptions

from localcloud.run.attempts import Stopped
from localcloud.run.fleets import Fleet
from localcloud.run.instances import Workshop
from localcloud.run.listeners import Listeners
from localcloud.run.names import Name
from localcloud.run.output import Line
from localcloud.run.proxy import Proxy, Target, upstream_session
from localcloud.run.request_log import Seen
from localcloud.run.routes import Route

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

TEND_SECONDS = 0.25
_STARTERS = 4

Answer = TypeVar("Answer")
#: Makes the fleet and the request timeout of a revision, by its full name.
Maker = Callable[[str, Workshop], tuple[Fleet, float]]


class Engine:
    """The running side of all services."""

    def __init__(
        self, cloud: Cloud, records: Path, maker: Maker, take_line: Callable[[Line], None], log: Callable[[Seen], None]
    ) -> None:
        self._loop, self._records, self._maker = cloud.loop, records, maker
        self._take_line, self._log = take_line, log
        self._stopping = False
        self._ports = cloud.store.documents("run.ports")
        self._fleets: dict[str, tuple[Fleet, float]] = {}
        self._routes: dict[str, Route] = {}
        self._threads = ThreadPoolExecutor(max_workers=_STARTERS, thread_name_prefix="instance")

    def call(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Run a coroutine on the event loop, from another thread, and wait for it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        while not wait((future,), timeout=1).done:
            if not self._loop.is_running():
                raise Stopped
        try:
            return future.result()
        except CancelledError:
            if self._stopping:
                raise Stopped from None
            raise exceptions.Aborted("The revision was deleted while it was being deployed.") from None

    def start(self) -> None:
        self.call(self._open())

    def stop(self) -> None:
        """Answer what is in flight, then stop every instance."""
        self._stopping = True
        self.call(self._shut())
        self._threads.shutdown(wait=False)

    async def ready(self, revision: str) -> None:
        """Have an instance of a revision ready. Raises StartFailure."""
        await self._fleet(revision)[0].ensure()

    async def serve(self, service: Name, route: Route, tags: set[str]) -> dict[str, str]:
        """Put a route in place; return the URL of the service (under the empty tag) and of each tag."""
        self._routes[str(service)] = route
        self._set_floors(service)
        urls = {tag: await self._listeners.url(str(service), tag, self._handler(service, tag)) for tag in ("", *tags)}
        await self._listeners.keep(str(service), {"", *tags})
        return urls

    async def drop(self, revision: str) -> None:
        """Stop a revision's instances once their requests are answered."""
        found = self._fleets.pop(revision, None)
        if found is not None:
            await found[0].close()

    async def remove(self, service: Name) -> None:
        """Stop listening for a service and stop all its instances."""
        self._routes.pop(str(service), None)
        await self._listeners.forget(str(service))
        mine = [revision for revision in self._fleets if revision.startswith(f"{service}/revisions/")]
        await asyncio.gather(*(self.drop(revision) for revision in mine))

    async def _open(self) -> None:
        self._http: aiohttp.ClientSession = upstream_session()
        self._listeners = Listeners(self._ports)
        self._workshop = Workshop(self._records, self._threads, self._http, self._take_line)
        self._tending = asyncio.create_task(self._tend())

    async def _shut(self) -> None:
        self._tending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._tending
        await self._listeners.close()
        await asyncio.gather(*(fleet.close() for fleet, _ in self._fleets.values()))
        await self._http.close()

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(TEND_SECONDS)
            for fleet, _ in list(self._fleets.values()):
                fleet.tend()

    def _fleet(self, revision: str) -> tuple[Fleet, float]:
        if revision not in self._fleets:
            self._fleets[revision] = self._maker(revision, self._workshop)
        return self._fleets[revision]

    def _set_floors(self, service: Name) -> None:
        receiving = self._routes[str(service)].receiving
        mine = {name for name in self._fleets if name.startswith(f"{service}/revisions/")} | receiving
        for revision in mine:
            fleet, _ = self._fleet(revision)
            fleet.floor = fleet.scale.floor if revision in receiving else 0
            fleet.tend()

    def _handler(self, service: Name, tag: str) -> Callable[[web.BaseRequest], Coroutine[Any, Any, web.StreamResponse]]:
        return Proxy(service, lambda: self._target(str(service), tag), self._http, self._log).answer

    def _target(self, service: str, tag: str) -> Target | None:
        route = self._routes.get(service)
        revision = route.pick(tag) if route else None
        if revision is None:
            return None
        fleet, timeout = self._fleet(revision)
        return Target(short(revision), fleet, timeout)


def short(revision: str) -> str:
    """A revision's short name, from its full one."""
    return revision.rpartition("/")[2]
