"""One instance of a revision: a real process from an immutable image, on a port of its own.

Safety property: an instance gets requests only between the moment its startup probe passed and the moment it is
drained; it is stopped when its last request is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from embedded.ports import free_port
from embedded.processes import Child
from localcloud.run.containers import Prepared
from localcloud.run.output import Line, PipeReader, Source
from localcloud.run.probes import DEFAULT_STARTUP, Probe, not_started, started, watch

STOP_GRACE_SECONDS = 10.0
_OUTPUT_SECONDS = 1.0


@dataclass(frozen=True)
class Blueprint:
    """How the instances of a revision are made. ``prepare`` is called anew for every instance."""

    prepare: Callable[[], Prepared]
    source: Source
    declared_port: int
    startup: Probe = DEFAULT_STARTUP
    liveness: Probe | None = None


@dataclass(frozen=True)
class Workshop:
    """What instances are made with: the folder of their records, threads that start them, where their output goes."""

    records: Path
    threads: ThreadPoolExecutor
    http: aiohttp.ClientSession
    take: Callable[[Line], None]


class Instance:
    """A running instance. Everything but ``start`` itself happens on the event loop."""

    def __init__(self, blueprint: Blueprint, workshop: Workshop, on_over: Callable[[Instance], None]) -> None:
        self.id = uuid.uuid4().hex
        self.in_flight = 0
        self.idle_since = time.monotonic()
        self.ready_at = 0.0
        self.draining = False
        self._blueprint, self._workshop, self._on_over = blueprint, workshop, on_over
        self._child: Child | None = None
        self._over = asyncio.Event()
        self._idle = asyncio.Event()
        self._readers: list[PipeReader] = []
        self._watch: asyncio.Task[None] | None = None
        self.port = free_port()

    async def start(self) -> None:
        """Start the process and wait until it answers. Raises StartFailure, leaving nothing behind."""
        try:
            await self._launch()
            await started(
                self._blueprint.startup, self._workshop.http, self.port, self._over, self._blueprint.declared_port
            )
        except BaseException:
            await self.stop()
            raise
        self.ready_at = self.idle_since = time.monotonic()
        if self._blueprint.liveness is not None:
            self._watch = asyncio.create_task(
                watch(self._blueprint.liveness, self._workshop.http, self.port, self._unhealthy)
            )

    async def stop(self) -> None:
        """Take no more requests, finish those in flight, then end the process: SIGTERM, 10 s, SIGKILL."""
        self.draining = True
        if self.in_flight:
            await self._idle.wait()
        if self._watch is not None:
            self._watch.cancel()
        if self._child is not None:
            await self._end(self._child)

    def enter(self) -> None:
        """A request begins."""
        self.in_flight += 1

    def leave(self) -> None:
        """A request is over."""
        self.in_flight -= 1
        self.idle_since = time.monotonic()
        if self.draining and not self.in_flight:
            self._idle.set()

    async def _launch(self) -> None:
        spawning = asyncio.get_running_loop().run_in_executor(self._workshop.threads, self._spawn)
        try:
            child = self._own(await asyncio.shield(spawning))
        except asyncio.CancelledError:
            # The thread goes on: its process must be known, or nobody would ever end it.
            await asyncio.wait({spawning})
            if spawning.exception() is None:
                self._own(spawning.result())
            raise
        except (OSError, ValueError) as error:
            self._say(f"Application failed to start: {error}")
            raise not_started(self._blueprint.declared_port) from error
        for stream, pipe in (("stdout", child.stdout), ("stderr", child.stderr)):
            if pipe is not None:
                self._readers.append(await PipeReader.attach(pipe, self._taker(stream)))

    def _own(self, child: Child) -> Child:
        loop = asyncio.get_running_loop()
        self._child = child
        child.on_exit(lambda: _soon(loop, self._ended))
        return child

    def _spawn(self) -> Child:
        prepared = self._blueprint.prepare()
        return Child.start(
            prepared.argv, cwd=prepared.cwd, env=prepared.env | {"PORT": str(self.port)},
            record=self._workshop.records / f"{self.id}.json", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def _taker(self, stream: str) -> Callable[[str], None]:
        return lambda text: self._workshop.take(Line(self._source, stream, text, time.time()))

    @property
    def _source(self) -> Source:
        source = self._blueprint.source
        return Source(source.project, source.resource, {**source.labels, "instanceId": self.id})

    def _say(self, text: str) -> None:
        self._taker("varlog/system")(text)

    def _ended(self) -> None:
        self._over.set()
        if self._child is not None:
            self._child.forget()
            if not self.draining:
                self._say(_obituary(self._child.returncode))
        if self.ready_at:
            self._on_over(self)

    async def _unhealthy(self) -> None:
        self._say("Container failed its liveness probe and is shut down.")
        if self._child is not None:
            self._child.signal(signal.SIGKILL)

    async def _end(self, child: Child) -> None:
        if not self._over.is_set():
            child.signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), STOP_GRACE_SECONDS)
        child.signal(signal.SIGKILL)
        await self._over.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_OUTPUT_SECONDS):
                await asyncio.gather(*(reader.over.wait() for reader in self._readers))


def _obituary(status: int | None) -> str:
    if status is not None and status < 0:
        return f"Container terminated on signal {-status}."
    return f"Container called exit({status})."


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], Any]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: the local cloud has stopped
        loop.call_soon_threadsafe(call)

