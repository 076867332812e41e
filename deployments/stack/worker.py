"""``python -m deployments.stack.worker``: runs the deployments' flows, each in a process of its own.

Safety property: it never leaves a run that says "running" without a process. At start it closes what an earlier worker
left (the supervisor has ended that worker's processes before), and what dies later it closes too; on SIGTERM it takes
no new run, waits for those that run, and cancels what is left. Prefect's own worker kills them and leaves them
"running" for good (PrefectHQ/prefect issue 22528). See docs/decisions/0005-worker.md and 0013-schedules-and-stack.md.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

gc.disable()  # while Prefect is imported: half a second
import anyio  # noqa: E402
import httpx  # noqa: E402
import psutil  # noqa: E402
import sqlalchemy.dialects.postgresql.psycopg  # noqa: E402, F401  before the fork, so that both have it once
from prefect.client.orchestration import PrefectClient, get_client  # noqa: E402
from prefect.client.schemas.objects import FlowRun, State  # noqa: E402
from prefect.events.clients import get_events_subscriber  # noqa: E402
from prefect.events.filters import EventFilter, EventNameFilter  # noqa: E402
from prefect.states import Cancelled  # noqa: E402

from deployments.environment import POOL  # noqa: E402
from deployments.stack import zygote  # noqa: E402
from deployments.stack.children import Identity  # noqa: E402
from deployments.stack.folder import Folder  # noqa: E402
from deployments.stack.forks import Forks  # noqa: E402
from deployments.stack.lost_runs import LostRuns, under_way  # noqa: E402
from deployments.stack.pool import ensure_pool  # noqa: E402
from deployments.stack.pool_worker import PoolWorker  # noqa: E402
from deployments.stack.programs import HOME  # noqa: E402
from deployments.stack.unanswered import Unanswered  # noqa: E402
from tasks.delivery_models import STACK_STOPPED  # noqa: E402
from tasks.errors import OpsError  # noqa: E402
from tasks.settings import settings  # noqa: E402
from tasks.verdicts import tell_death  # noqa: E402

gc.freeze()
gc.enable()

NAME = "caretaker"
RUNS_AT_ONCE = 8
#: A run that a person or a webhook asks for is heard of at once; a poll finds the scheduled ones.
POLL_SECONDS = 5.0
HEARD_PAUSES_SECONDS = (0.0, 0.2, 0.5)
HEARTBEAT_SECONDS = 10
LOST_RUNS_SECONDS = 30.0
STALE_SECONDS = 30.0
API_PATIENCE_SECONDS = 120.0
KILL_AFTER_SECONDS = 5.0
NEW_RUN = EventFilter(event=EventNameFilter(name=["prefect.flow-run.Scheduled"]))
log = logging.getLogger("prefect.worker.caretaker")


def main() -> None:
    """Work until SIGTERM."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--drain", type=float, default=30.0, help="seconds to wait for running flows")
    drain = arguments.parse_args().drain
    known = zygote.sources(HOME)
    pid, asked = zygote.launch()
    asyncio.run(work(drain, _forks(pid, asked, known)))


def _forks(pid: int, asked: socket.socket, known: zygote.Sources) -> Forks:
    identity = Identity.of(pid)
    assert identity, "the warm process ended at once"
    return Forks(identity, asked, HOME, known)


async def work(drain_seconds: float, forks: Forks) -> None:
    """Take runs until SIGTERM or SIGINT, then drain. Ends too when the code has changed and nothing runs."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await forks.open()
    async with get_client() as client:
        worker = PoolWorker(POOL, name=NAME, limit=RUNS_AT_ONCE, heartbeat_interval_seconds=HEARTBEAT_SECONDS)
        worker.died = partial(_died, client, told=True)
        lost = LostRuns(client, Folder(settings().state), lambda: worker.executing, partial(_died, client))
        unanswered = Unanswered(client)
        await _api_answers(client, stop)
        await ensure_pool(client)
        await lost.at_start()
        async with worker, anyio.create_task_group() as loops:
            heard = asyncio.Event()
            loops.start_soon(_hear_of_runs, heard)
            loops.start_soon(_take_runs, worker, heard)
            loops.start_soon(_forever, worker.sync_with_backend, HEARTBEAT_SECONDS)
            loops.start_soon(_forever, lost.look, LOST_RUNS_SECONDS)
            loops.start_soon(_forever, unanswered.look, LOST_RUNS_SECONDS)
            loops.start_soon(_end_when_stale, worker, forks, stop)
            await stop.wait()
            loops.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await _drain(worker, drain_seconds)


async def _died(client: PrefectClient, run: FlowRun, told: bool = False) -> None:
    """Leave word of a run's death, for the dead-man check, which tells people."""
    try:
        await tell_death((await client.read_flow(run.flow_id)).name, run, told)
    except (OpsError, httpx.HTTPError) as error:
        log.warning("writing down that the run %s died failed: %s", run.id, error)


async def _take_runs(worker: PoolWorker, heard: asyncio.Event) -> None:
    """Take what is due: at once when a run is heard of, else by looking every few seconds."""
    while True:
        pauses = HEARD_PAUSES_SECONDS if heard.is_set() else (0.0,)
        heard.clear()
        for pause in pauses:  # it is heard of a moment before it can be read
            await anyio.sleep(pause)
            if await _patiently(worker.get_and_submit_flow_runs):
                break
        with anyio.move_on_after(POLL_SECONDS):
            await heard.wait()


async def _end_when_stale(worker: PoolWorker, forks: Forks, stop: asyncio.Event) -> None:
    """End when the code on disk has changed and nothing runs: the supervisor then starts a worker that knows it."""
    while not (forks.stale and not worker.executing):
        await anyio.sleep(STALE_SECONDS)
    log.warning("the code has changed: ending, to be started anew with it; runs would start without the warm process")
    stop.set()


async def _hear_of_runs(heard: asyncio.Event) -> None:
    """Hear of new runs over the API's event stream. Without it, runs start a few seconds later."""
    while True:
        try:
            async with get_events_subscriber(filter=NEW_RUN) as events:
                async for _ in events:
                    heard.set()
        except Exception as error:  # noqa: BLE001  the stream ends in many ways, and only speed depends on it
            log.info("the stream of events ended (%s); listening anew", error)
        await anyio.sleep(POLL_SECONDS)


async def _forever(step: Callable[[], Awaitable[Any]], interval: float) -> None:
    while True:
        await _patiently(step)
        await anyio.sleep(interval)


async def _patiently(step: Callable[[], Awaitable[Any]]) -> Any:
    """Take one step of a worker. An API that is away is waited for, however long: Prefect's own loop gives up after a
    minute, and takes the running flows with it."""
    try:
        return await step()
    except (httpx.HTTPError, OSError) as error:
        log.warning("Prefect's API does not answer (%s); waiting for it", error)
        return None


async def _drain(worker: PoolWorker, seconds: float) -> None:
    """Wait until nothing runs; cancel what still runs after this time, and end its processes."""
    with anyio.move_on_after(seconds):
        await _idle(worker)
        return
    runs = await under_way(worker.client)
    log.warning("cancelling %d flow runs that did not end within %.0f s", len(runs), seconds)
    await _end_processes(worker)
    # Last, for an ended process has reported "crashed" meanwhile.
    await _set_state(worker.client, runs, Cancelled(message=STACK_STOPPED))


async def _end_processes(worker: PoolWorker) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in psutil.Process(os.getpid()).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        with anyio.move_on_after(KILL_AFTER_SECONDS):
            await _idle(worker)
            return


async def _idle(worker: PoolWorker) -> None:
    while worker.limiter.borrowed_tokens:
        await anyio.sleep(0.1)


async def _set_state(client: PrefectClient, runs: list[FlowRun], state: State[Any]) -> None:
    for run in runs:
        await client.set_flow_run_state(run.id, state.fresh_copy(), force=True)


async def _api_answers(client: PrefectClient, stop: asyncio.Event) -> None:
    """Wait for the API. Raises its last error after two minutes."""
    with anyio.move_on_after(API_PATIENCE_SECONDS):
        while not stop.is_set():
            if await client.api_healthcheck() is None:
                return
            await anyio.sleep(0.1)
    if not stop.is_set():
        raise httpx.ConnectError(f"Prefect's API at {client.api_url} did not answer in {API_PATIENCE_SECONDS:.0f} s")


if __name__ == "__main__":
    main()
