"""Closes runs that died without a word: Prefect says "running", and there is no process any more.

Prefect's own way is to miss heartbeats, which an outage of the server looks like too: it then ends healthy runs. One
stack has one worker, and that worker knows what it runs, so nothing is guessed here. Safety property: a run is closed
only when this worker has no process of it in two looks, half a minute apart (or, at its start, when the supervisor has
ended all that the last worker left), or when the process that a foreground run wrote down is gone.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, WorkPoolFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed

from deployments.environment import POOL
from deployments.stack import foreground
from deployments.stack.every_run import every_run
from deployments.stack.folder import Folder

AT_START = "The worker that ran it was killed, or the machine was restarted. Run it again: it converges."
NO_PROCESS = "Its process is gone and told no end. Run it again: it converges."
FOREGROUND = "The 'caretaker run' that ran it was killed. Run it again: it converges."
UNDER_WAY = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING, StateType.PAUSED]
log = logging.getLogger("prefect.worker.caretaker")


class LostRuns:
    """Looks for runs without a process, on behalf of the one worker of a stack."""

    def __init__(
        self, client: PrefectClient, folder: Folder, executing: Callable[[], Collection[UUID]],
        died: Callable[[FlowRun], Awaitable[None]],
    ) -> None:
        self._client, self._folder, self._executing, self._died = client, folder, executing, died
        self._suspects: set[UUID] = set()

    async def at_start(self) -> None:
        """Close what an earlier worker left, and foreground runs that were killed."""
        await self._close(await under_way(self._client), AT_START)
        await self._foreground()

    async def look(self) -> None:
        """Close what has had no process since the last look."""
        found = [run for run in await under_way(self._client) if run.id not in self._executing()]
        await self._close((run for run in found if run.id in self._suspects), NO_PROCESS)
        self._suspects = {run.id for run in found}
        await self._foreground()

    async def _foreground(self) -> None:
        for run in foreground.dead(self._folder):
            with suppress(ObjectNotFound):
                await self._close([await self._client.read_flow_run(run)], FOREGROUND)
            foreground.forget(self._folder, run)

    async def _close(self, runs: Iterable[FlowRun], message: str) -> None:
        for run in runs:
            now = await self._client.read_flow_run(run.id)
            if now.state is None or now.state.is_final() or now.state.state_details.pause_reschedule:
                continue  # a suspended run has no process, and waits without
            end: State[Any] = Cancelled(message=message) if now.state.is_cancelling() else Crashed(message=message)
            log.warning("closing the run %s (%s): %s", now.name, now.id, message)
            await self._client.set_flow_run_state(now.id, end, force=True)
            await self._died(now)


async def under_way(client: PrefectClient) -> list[FlowRun]:
    """Every run of the pool that should have a process. One that is suspended has none, and waits without."""
    found = await every_run(
        client,
        flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": UNDER_WAY}}}),
        work_pool_filter=WorkPoolFilter.model_validate({"name": {"any_": [POOL]}}),
    )
    return [run for run in found if run.state and not run.state.state_details.pause_reschedule]
