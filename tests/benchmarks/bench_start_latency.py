"""From a request to the flow's first cloud call, and its parts: taken by the worker, process, flow, first call.

A request is a run of the deployment ``deploy/pyplots`` (dry), created over Prefect's API as the webhook receiver and
the UI do. The first call is read from the local cloud's own log.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient

from tests.deployments.runs import ask, state_of, wait_until
from tests.memory import temporary_folder
from tests.stack import Stack, running_stack

RUNS = 9
PAUSE_SECONDS = 3.0
GOAL_SECONDS = 3.0
REQUEST = {"estate": "estate.toml", "dry_run": True, "reason": "measuring the start of a run"}


@dataclass(frozen=True)
class Start:
    """Moments of one start, in seconds since the request."""

    taken: float
    flow: float
    first_call: float


def bench() -> list[dict[str, Any]]:
    """Measure starts on a warm worker, one after the other."""
    with temporary_folder() as folder, running_stack(folder / "s", "--no-deploy", "--no-sample") as stack:
        time.sleep(15)  # the warm process warms up, the first schedules are made
        starts = [start(stack) for _ in range(RUNS)]
    whole = [one.first_call for one in starts]
    return [
        row("request → taken by the worker", [one.taken for one in starts], None),
        row("taken → the flow runs", [one.flow - one.taken for one in starts], None),
        row("the flow runs → first cloud call", [one.first_call - one.flow for one in starts], None),
        row("request → first cloud call, median", whole, GOAL_SECONDS),
        {**row("request → first cloud call, slowest", [max(whole)], None), "against": f"{RUNS} runs"},
    ]


def start(stack: Stack) -> Start:
    """Ask for one run and wait for its end."""
    time.sleep(PAUSE_SECONDS)
    seen = max((call.seq for call in stack.control.calls()), default=0)
    asked, run = ask(_create)
    wait_until(lambda: state_of(run).is_final(), "the run to end")
    calls = [call for call in stack.control.calls(after=seen) if call.started >= asked]
    assert calls, f"the flow made no call: {state_of(run)}"
    taken, flow = (moment - asked for moment in ask(lambda client: _moments(client, run)))
    return Start(taken, flow, min(call.started for call in calls) - asked)


async def _create(client: PrefectClient) -> tuple[float, UUID]:
    """Ask for a run over a connection that is there already, as the receiver has one. When it was asked, and its id."""
    deployment = await client.read_deployment_by_name("deploy/pyplots")
    asked = time.time()
    return asked, (await client.create_flow_run_from_deployment(deployment.id, parameters={"request": REQUEST})).id


async def _moments(client: PrefectClient, run: UUID) -> tuple[float, float]:
    """When the run was taken (pending) and when its flow began (running)."""
    at: dict[str, datetime] = {state.name: state.timestamp for state in await client.read_flow_run_states(run)}
    return at["Pending"].timestamp(), at["Running"].timestamp()


def row(name: str, seconds: list[float], goal: float | None) -> dict[str, Any]:
    value = statistics.median(seconds)
    return {
        "name": name, "value": round(value, 2), "unit": "s", "goal": None if goal is None else f"<= {goal:g}",
        "ok": goal is None or value <= goal, "against": "Prefect as it comes: 7 to 15 s",
    }  # fmt: skip
