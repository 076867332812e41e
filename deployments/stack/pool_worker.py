"""Prefect's process worker, with what it lacks for a stack that is to be left alone.

Safety properties: of a backlog, each schedule runs once; an API that goes away while a run is being submitted does not
take the worker, and all that it runs, with it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.states import Cancelled
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from deployments.stack.backlog import REASON, superseded

log = logging.getLogger("prefect.worker.caretaker")


class PoolWorker(ProcessWorker):
    """The worker of a stack. The methods with an underscore are Prefect's: the lock file pins them, tests hold them."""

    #: What is done when a run's process ended without having told its end. Its flow's hooks have told people by then.
    died: Callable[[FlowRun], Awaitable[None]] | None = None

    @classmethod
    def __dispatch_key__(cls) -> str:
        """The name in Prefect's registry of classes, where "process" is its own."""
        return "caretaker-process"

    @property
    def executing(self) -> Collection[UUID]:
        """The runs that are being submitted, or whose process runs."""
        return [UUID(str(holder)) for holder in self.limiter.statistics().borrowers]

    async def _get_scheduled_flow_runs(self) -> list[WorkerFlowRunResponse]:
        found = await super()._get_scheduled_flow_runs()
        skipped = superseded((one.flow_run for one in found), datetime.now(UTC))
        for run in skipped:
            await self.client.set_flow_run_state(run, Cancelled(message=REASON))
        if skipped:
            log.warning("skipped %d runs that came due meanwhile; the newest of each schedule is run", len(skipped))
        return [one for one in found if one.flow_run.id not in skipped]

    async def run(
        self, flow_run: FlowRun, configuration: ProcessJobConfiguration, task_status: Any = None
    ) -> ProcessWorkerResult:
        """Run a flow run in a process of its own, to its end."""
        result = await super().run(flow_run, configuration, task_status)
        if result.status_code and self.died:
            now = await self.client.read_flow_run(flow_run.id)
            if now.state and now.state.is_crashed():
                await self.died(now)
        return result

    async def _submit_run(self, flow_run: FlowRun) -> None:
        try:
            await super()._submit_run(flow_run)
        except (httpx.HTTPError, OSError) as error:
            log.warning("submitting the run %s failed (%s); it is tried again", flow_run.id, error)
            self._submitting_flow_run_ids.discard(flow_run.id)
            self._release_limit_slot(flow_run.id)
