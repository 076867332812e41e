"""``python -m deployments.stack.worker``: runs the deployments' flows, each in a process of its own.

Safety property: it never leaves a run that says "running" without a process. At start it marks what an earlier worker
left as crashed (the supervisor has ended that worker's processes before); on SIGTERM it takes no new run, waits for
those that run, and cancels what is left. Prefect's own worker kills them and leaves them "running" for good
(PrefectHQ/prefect issue 22528). See docs/decisions/0005-worker.md.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

gc.disable()  # while Prefect is imported: half a second
import anyio  # noqa: E402
import httpx  # noqa: E402
import psutil  # noqa: E402
from prefect.client.orchestration import PrefectClient, get_client  # noqa: E402
from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter  # noqa: E402
from prefect.client.schemas.objects import FlowRun, State, StateType  # noqa: E402
from prefect.states import Cancelled, Crashed  # noqa: E402
from prefect.workers.process import ProcessWorker  # noqa: E402

from deployments.environment import POOL  # noqa: E402
from deployments.stack.pool import ensure_pool  # noqa: E402

gc.freeze()
gc.enable()

NAME = "caretaker"
RUNS_AT_ONCE = 8
POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 10
API_PATIENCE_SECONDS = 120.0
KILL_AFTER_SECONDS = 5.0
UNDER_WAY = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
log = logging.getLogger("prefect.worker.caretaker")


def main() -> None:
    """Work until SIGTERM."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--drain", type=float, default=30.0, help="seconds to wait for running flows")
    asyncio.run(work(arguments.parse_args().drain))


async def work(drain_seconds: float) -> None:
    """Poll the pool until SIGTERM or SIGINT, then drain."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with get_client() as client:
        await _api_answers(client, stop)
        await ensure_pool(client)
        await _set_state(client, await _under_way(client), Crashed(message="The worker that ran it was killed."))
    worker = ProcessWorker(POOL, name=NAME, limit=RUNS_AT_ONCE, heartbeat_interval_seconds=HEARTBEAT_SECONDS)
    async with worker, anyio.create_task_group() as loops:
        loops.start_soon(_forever, worker.get_and_submit_flow_runs, POLL_SECONDS)
        loops.start_soon(_forever, worker.sync_with_backend, HEARTBEAT_SECONDS)
        await stop.wait()
        loops.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await _drain(worker, drain_seconds)


async def _forever(step: Callable[[], Awaitable[Any]], interval: float) -> None:
    """Repeat one step of a worker. An API that is away is waited for, however long: Prefect's own loop gives up after
    a minute, and takes the running flows with it."""
    away = False
    while True:
        try:
            await step()
            away = False
        except (httpx.HTTPError, OSError) as error:
            if not away:
                log.warning("Prefect's API does not answer (%s); waiting for it", error)
            away = True
        await anyio.sleep(interval)


async def _drain(worker: ProcessWorker, seconds: float) -> None:
    """Wait until nothing runs; cancel what still runs after this time, and end its processes."""
    with anyio.move_on_after(seconds):
        await _idle(worker)
        return
    runs = await _under_way(worker.client)
    log.warning("cancelling %d flow runs that did not end within %.0f s", len(runs), seconds)
    await _end_processes(worker)
    # Last, for an ended process has reported "crashed" meanwhile.
    await _set_state(worker.client, runs, Cancelled(message="The stack was stopped; run it again, it converges."))


async def _end_processes(worker: ProcessWorker) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        with anyio.move_on_after(KILL_AFTER_SECONDS):
            await _idle(worker)
            return


async def _idle(worker: ProcessWorker) -> None:
    while worker.limiter.borrowed_tokens:
        await anyio.sleep(0.1)


async def _set_state(client: PrefectClient, runs: list[FlowRun], state: State[Any]) -> None:
    for run in runs:
        await client.set_flow_run_state(run.id, state.fresh_copy(), force=True)


async def _under_way(client: PrefectClient) -> list[FlowRun]:
    return await client.read_flow_runs(
        flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": UNDER_WAY}}}),
        work_pool_filter=WorkPoolFilter.model_validate({"name": {"any_": [POOL]}}),
    )


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
