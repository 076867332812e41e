"""The worker's side of the zygote: a run is forked from it where that is as good as a fresh start, else started fresh.

Safety property: a forked run is to the worker what a started one is: it has a process id, an exit status that is waited
for, and it is the only process of its run. Where the zygote is not ready, is gone, or knows older code than the files
hold, Prefect's own way is taken; nothing depends on the zygote but speed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect.runner import _starter_engine
from prefect.utilities.processutils import run_process as start_process

from deployments.stack.children import Identity
from deployments.stack.zygote import Sources, sources

ENGINE = ["-m", "prefect.engine"]
#: A flow that ends while Prefect's server is away keeps trying to say so: 2 + 4 + … + 512 s, 17 minutes.
PATIENT = {"PREFECT_CLIENT_MAX_RETRIES": "9"}
ANSWER_SECONDS = 15.0
GONE = -int(signal.SIGKILL)
log = logging.getLogger("prefect.worker.caretaker")


class ForkedRun:
    """The process of one run, with what Prefect asks of a process: ``pid`` and ``returncode``."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.returncode: int | None = None
        self.born: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()

    def end(self, status: int) -> None:
        self.returncode = status
        if not self.born.done():
            self.born.set_result(False)
        self.ended.set()


class Forks:
    """Asks the zygote for runs, and hears of their ends."""

    def __init__(self, zygote: Identity, asked: socket.socket, home: Path, known: Sources) -> None:
        self._zygote, self._asked, self._home, self._known = zygote, asked, home, known
        self._runs: dict[str, ForkedRun] = {}
        self._count = 0
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self.ready = False

    async def open(self) -> None:
        """Begin to listen, and take the place of Prefect's way to start a process."""
        reader, self._writer = await asyncio.open_unix_connection(sock=self._asked, limit=1 << 20)
        self._listening = asyncio.create_task(self._listen(reader))
        setattr(_starter_engine, "run_process", self.run_process)  # noqa: B010  its seam: "patch the module to override"

    @property
    def stale(self) -> bool:
        """Whether the code on disk is not the code that was loaded."""
        return sources(self._home) != self._known

    async def run_process(
        self, command: list[str], *, task_status: Any, task_status_handler: Callable[[Any], Any], **options: Any
    ) -> Any:
        """Run Prefect's engine to its end, as Prefect's function of this name does, in a fork where one can be had."""
        options["env"] = {**options["env"], **PATIENT}
        run = await self._fork(options) if command[1:] == ENGINE else None
        if run is None:
            handlers: dict[str, Any] = {"task_status": task_status, "task_status_handler": task_status_handler}
            return await start_process(command, **handlers, **options)
        task_status.started(task_status_handler(run))
        await run.ended.wait()
        return run

    async def _fork(self, options: dict[str, Any]) -> ForkedRun | None:
        """A fork of the zygote; None where a fresh process is the right way."""
        if not self.ready or self._writer is None or self.stale:
            return None
        self._count += 1
        key, run = str(self._count), ForkedRun()
        self._runs[key] = run
        request = {"key": key, "env": options["env"], "cwd": str(options["cwd"])}
        self._writer.write(json.dumps(request).encode() + b"\n")
        answered, _ = await asyncio.wait([run.born], timeout=ANSWER_SECONDS)
        if not answered:
            log.warning("the warm process did not answer in %.0f s and is ended; runs start without it", ANSWER_SECONDS)
            self._zygote.signal(signal.SIGKILL)  # so that it cannot fork this run later, beside the fresh one
        return run if await run.born else None

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self._hear(json.loads(line))
        self.ready = False
        await asyncio.gather(*(_outlive(run) for run in self._runs.values()))

    def _hear(self, told: dict[str, Any]) -> None:
        if "ready" in told:
            self.ready = True
        elif "pid" in told:
            run = self._runs[told["key"]]
            run.pid = told["pid"]
            run.born.set_result(True)
        else:
            if "refused" in told:
                log.warning("a run starts without the warm process: %s", told["refused"])
            self._runs.pop(told["key"]).end(told.get("status", GONE))


async def _outlive(run: ForkedRun) -> None:
    """Wait for a run whose zygote is gone, so that nobody can tell how it ended: to Prefect it was killed."""
    identity = Identity.of(run.pid) if run.pid else None
    while identity and identity.alive:
        await asyncio.sleep(0.2)
    run.end(GONE)

