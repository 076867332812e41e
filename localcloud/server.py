"""One local cloud, put together: every service, the ports, and the order in which they come and go.

A port that was given must be had; one that was not is the last one used while that is free, so that clients find the
local cloud again after a restart.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from embedded.ports import free_port
from localcloud import control, rpc
from localcloud.bigquery import http as bigquery
from localcloud.cloud import Cloud
from localcloud.state import Ports, announce, taken, withdraw
from localcloud.storage import http as storage

LOG = logging.getLogger("localcloud")
SERVICES = ("secretmanager", "storage", "bigquery", "billing", "sql", "build", "logs", "monitoring", "run")
_GRACE_SECONDS = 1.0
_STOP_SECONDS = 5.0
_TRIES = 5


class Server:
    """The serving half of a local cloud. ``start`` returns once it answers; ``stop`` may be called at any time."""

    def __init__(self, state: Path, ports: Ports) -> None:
        withdraw(state)
        self._asked = ports
        self.cloud = Cloud(state)
        self._last = self.cloud.store.documents("localcloud.ports")
        self._runners: list[web.AppRunner] = []
        self._grpc: Any = None

    def start(self) -> None:
        """Serve everything, then tell so in the state folder. Raises StartError."""
        begun = time.monotonic()
        storage_socket = self._listen("storage", self._asked.storage)
        bigquery_socket = self._listen("bigquery", self._asked.bigquery)
        control_socket = self._listen("control", self._asked.control)
        self.cloud.storage_url = _url(storage_socket)
        servicers = [servicer for name in SERVICES for servicer in _install(name, self.cloud)]
        handlers = rpc.Handlers(self.cloud.gate, [*servicers, self.cloud.operations])
        # The storage API first: operations that are resumed read sources from it.
        self._serve_http(storage.application(self.cloud), storage_socket)
        self.cloud.start()
        self._serve_http(bigquery.application(self.cloud), bigquery_socket)
        grpc_port = self._serve_grpc(handlers)
        self._serve_http(control.application(self.cloud, handlers.paths), control_socket)
        self._announce(grpc_port, _url(bigquery_socket), _url(control_socket))
        LOG.info("ready after %.1f s", time.monotonic() - begun)

    def stop(self) -> None:
        """Answer no more, stop what runs, and let go of the state."""
        withdraw(self.cloud.state)
        if self._grpc is not None:
            self._grpc.stop(_GRACE_SECONDS).wait(_STOP_SECONDS)
        for runner in self._runners:
            try:
                self._on_loop(runner.cleanup())
            except TimeoutError:
                LOG.warning("an HTTP call was still being answered when the local cloud stopped")
        self.cloud.close()

    def _listen(self, name: str, asked: int | None) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._bind(name, asked, lambda port: bound.bind(("127.0.0.1", port)))
        bound.listen(256)
        return bound

    def _serve_grpc(self, handlers: rpc.Handlers) -> int:
        self._grpc, port = self._bind("grpc", self._asked.grpc, lambda port: rpc.serve(handlers, port))
        return int(port)

    def _bind(self, name: str, asked: int | None, bind: Callable[[int], Any]) -> Any:
        """Bind the port asked for, else the last one, else a free one, and remember it."""
        for _ in range(1 if asked else _TRIES):
            port = asked or free_port(self._remembered(name))
            try:
                served = bind(port)
            except (OSError, RuntimeError) as error:
                LOG.info("port %d for %s was taken meanwhile: %s", port, name, error)
                continue
            self._last.put(name, {"port": port})
            return served
        raise taken(port, name)

    def _serve_http(self, application: web.Application, bound: socket.socket) -> None:
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_GRACE_SECONDS)
        self._runners.append(runner)
        self._on_loop(runner.setup())
        self._on_loop(web.SockSite(runner, bound).start())

    def _on_loop(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.cloud.loop).result(timeout=_STOP_SECONDS)

    def _remembered(self, name: str) -> int | None:
        last = self._last.get(name)
        return last["port"] if last else None

    def _announce(self, grpc_port: int, bigquery_url: str, control_url: str) -> None:
        addresses = {
            "grpc": f"127.0.0.1:{grpc_port}",
            "storage": self.cloud.storage_url,
            "bigquery": bigquery_url,
            "control": control_url,
            "sockets": str(self.cloud.sockets),
            "pid": os.getpid(),
        }
        announce(self.cloud.state, addresses)


def _install(name: str, cloud: Cloud) -> list[rpc.Servicer]:
    module = importlib.import_module(f"localcloud.{name}")
    servicers: list[rpc.Servicer] = module.install(cloud)
    return servicers


def _url(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"
