"""Runs of the sleeper flow on a stack's worker, over Prefect's own client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.client.schemas.sorting import FlowRunSort

from deployments.environment import POOL
from tasks.analysis.dead_man import VERDICT
from tasks.clients.ledger import Ledger
from tasks.models import Measurement

T = TypeVar("T")
HERE = Path(__file__).parent
COMMAND = {"command": "python -m prefect.engine"}
PATIENCE_SECONDS = 60.0


def start_sleeper(seconds: float, started: Path, **deployment: Any) -> UUID:
    """Create a run, and return once its flow runs. More fields of its deployment may be given."""
    run = ask(lambda client: _create(client, seconds, started, **deployment))
    wait_until(started.exists, f"the run {run} to start")
    return run


def schedule_sleeper(every: timedelta, started: Path, name: str) -> UUID:
    """A deployment with a schedule, whose runs end at once."""
    schedule = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=every), slug="often")
    return ask(lambda client: deploy_sleeper(client, 0, started, name=name, schedules=[schedule]))


def runs_of(deployment: UUID) -> list[FlowRun]:
    """Every run of a deployment, the earliest first."""
    of_it = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    return ask(lambda client: client.read_flow_runs(deployment_filter=of_it, sort=FlowRunSort.EXPECTED_START_TIME_ASC))


def state_of(run: UUID) -> Any:
    """The state of a run."""
    return ask(lambda client: client.read_flow_run(run)).state


def deaths(state: Path) -> list[Measurement]:
    """What the ledger of the stack with this state folder says of runs that died."""
    left = Ledger((state / "secrets" / "ledger-url").read_text()).measurements(VERDICT)
    return [mark for mark in left if mark.labels["state"] == "Crashed"]


def ask(question: Callable[[PrefectClient], Awaitable[T]]) -> T:
    """Ask Prefect's API one thing."""

    async def asked() -> T:
        async with get_client() as client:
            return await question(client)

    return asyncio.run(asked())


def wait_until(true: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> float:
    """Wait, and return how long it took. Fails when it does not come true."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < seconds, f"waited in vain for {what}"
        time.sleep(0.05)
    return time.monotonic() - begun


async def deploy_sleeper(client: PrefectClient, seconds: float, started: Path, **more: Any) -> UUID:
    """Create or update a deployment of the sleeper on the stack's pool."""
    from tests.deployments.sleeper import sleeper

    return await client.create_deployment(
        flow_id=await client.create_flow(sleeper), entrypoint="sleeper.py:sleeper", work_pool_name=POOL,
        job_variables=COMMAND, parameters={"seconds": seconds, "started": str(started)},
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(HERE)}}],
        **{"name": "test", **more},
    )  # fmt: skip


async def _create(client: PrefectClient, seconds: float, started: Path, **more: Any) -> UUID:
    deployment = await deploy_sleeper(client, seconds, started, **more)
    return (await client.create_flow_run_from_deployment(deployment)).id
