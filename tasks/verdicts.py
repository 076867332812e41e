"""What a run of a schedule leaves in the ledger, so that its absence is noticed by somebody who does not ask Prefect.

A run that begins says until when it has a verdict at the latest; a run that ends says how. A run that was killed says
nothing, and that is noticed too. Safety property: these are Prefect's hooks, so a ledger that does not answer never
fails a flow; what is missing is then reported as missing, which it is.

    @flow(name="verify-backups", timeout_seconds=6 * 3600, **SCHEDULED)
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tasks.analysis.dead_man import BEGAN, BY_HAND, CRASHED, VERDICT, subject
from tasks.clients.ledger import open_ledger
from tasks.notifications import TELLS
from tasks.settings import settings

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State

#: A flow that must end sooner than this is told late by its missing verdict alone: it leaves no word of its beginning.
SHORT = timedelta(minutes=20)


async def tell_begun(flow: Flow[Any, Any], run: FlowRun, state: State[Any]) -> None:
    """Say that a scheduled run began, and when it ends at the latest."""
    longest = timedelta(seconds=flow.timeout_seconds or 24 * 3600)
    if _schedule(run) != BY_HAND and longest > SHORT:
        until = (datetime.now(UTC) + longest).isoformat()
        await asyncio.to_thread(_measure, BEGAN, flow.name, run, 0.0, {"until": until})


async def tell_verdict(flow: Flow[Any, Any], run: FlowRun, state: State[Any]) -> None:
    """Say how a scheduled run ended. A failure is a verdict too: it is reported by the flow."""
    if _schedule(run) != BY_HAND:
        labels = {"state": str(state.name)}
        await asyncio.to_thread(_measure, VERDICT, flow.name, run, float(state.is_completed()), labels)


async def tell_death(flow_name: str, run: FlowRun, told: bool = False, state: str = CRASHED) -> None:
    """Say, for a run that can no longer, that it died; ``told``: its flow's own hook has told people.

    ``state`` is ``UNANSWERED`` for one that waited for a person in vain.
    """
    labels = {"state": state} | ({"told": "by the flow's hook"} if told else {})
    await asyncio.to_thread(_measure, VERDICT, flow_name, run, 0.0, labels)


#: What a flow with a schedule is given: to tell of its failures, and to leave its verdict.
SCHEDULED: dict[str, Any] = {
    **TELLS, "on_running": [tell_begun], "on_completion": [tell_verdict],
    "on_failure": [tell_verdict, *TELLS["on_failure"]],
}  # fmt: skip


def _measure(name: str, flow_name: str, run: FlowRun, value: float, labels: dict[str, str]) -> None:
    ledger = open_ledger(settings().ledger())
    due = run.expected_start_time or datetime.now(UTC)
    known: dict[str, str] = {"due": due.astimezone(UTC).isoformat(), "run": str(run.id), "named": str(run.name)}
    ledger.measure(name, subject(flow_name, _schedule(run)), value, "1", labels={**known, **labels})


def _schedule(run: FlowRun) -> str:
    """The slug of the schedule that made a run."""
    by = run.created_by
    return str(by.display_value) if by and by.type == "SCHEDULE" else BY_HAND
