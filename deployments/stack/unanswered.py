"""Leaves word of the approvals that nobody gave in time: Prefect ends such a run as failed, and no process is left
that could tell.

Safety property: only runs whose question stands in this stack's ledger are told of, and a question's end is written
once, under a key of its own, after the word was left for the dead-man check; a kill in between leaves that word twice,
and the check tells of a run once.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from deployments.stack.every_run import every_run
from tasks.analysis.dead_man import UNANSWERED
from tasks.clients.ledger import open_ledger
from tasks.errors import OpsError
from tasks.models import Change
from tasks.settings import settings
from tasks.verdicts import tell_death

#: How Prefect ends a run that was paused or suspended for longer than it was to be.
NEVER_RESUMED = "never resumed"
#: At its start the worker looks back this far: it may have been down when the time was over.
LOOKS_BACK = timedelta(days=7)
OVERLAP = timedelta(minutes=5)
MANY = 1000
log = logging.getLogger("prefect.worker.caretaker")


class Unanswered:
    """Looks for runs that ended because nobody answered."""

    def __init__(self, client: PrefectClient) -> None:
        self._client = client
        self._since = datetime.now(UTC) - LOOKS_BACK

    async def look(self) -> None:
        """Leave word of what ended since the last look. A ledger that does not answer is asked at the next one."""
        now = datetime.now(UTC)
        try:
            for run in await self._ended():
                await self._leave_word(run)
        except OpsError as error:
            log.warning("writing down which approvals nobody gave failed: %s", error)
        else:
            self._since = now - OVERLAP

    async def _leave_word(self, run: FlowRun) -> None:
        asked = await asyncio.to_thread(_asked, run)
        if asked:
            flow = await self._client.read_flow(run.flow_id)
            await tell_death(flow.name, run, state=UNANSWERED)
            await asyncio.to_thread(_expire, asked, run)

    async def _ended(self) -> list[FlowRun]:
        failed = {"state": {"name": {"any_": ["Failed"]}}, "end_time": {"after_": self._since}}
        found = await every_run(
            self._client, flow_run_filter=FlowRunFilter.model_validate(failed), sort=FlowRunSort.END_TIME_DESC
        )
        return [run for run in found if run.state and NEVER_RESUMED in (run.state.message or "")]


def _asked(run: FlowRun) -> Change | None:
    """The question that a run waited with. None where it is not ours, or where its end is written down already."""
    ledger = open_ledger(settings().ledger())
    lines = [line for line in ledger.changes("approval", limit=MANY) if line.run == str(run.id)]
    ended = any(line.verdict == "expired" for line in lines)
    return None if ended else next((line for line in lines if line.verdict == "started"), None)


def _expire(asked: Change, run: FlowRun) -> None:
    """Write down that a question was answered by nobody."""
    end = run.end_time or datetime.now(UTC)
    open_ledger(settings().ledger()).append(
        asked.model_copy(
            update={
                "id": 0, "verdict": "expired", "key": asked.key.removesuffix("/asked") + "/expired", "at": end,
                "inputs": {name: asked.inputs[name] for name in ("project", "digest") if name in asked.inputs},
            }
        )
    )  # fmt: skip
