"""Runs of the sleeper flow on a stack's worker, over Prefect's own client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client

from deployments.environment import POOL

T = TypeVar("T")
HERE = Path(__file__).parent
COMMAND = {"command": "python -m prefect.engine"}
PATIENCE_SECONDS = 60.0


def start_sleeper(seconds: float, started: Path) -> UUID:
    """Create a run, and return once its flow runs."""
    run = ask(lambda client: _create(client, seconds, started))
    wait_until(started.exists, f"the run {run} to start")
    return run


def state_of(run: UUID) -> Any:
    """The state of a run."""
    return ask(lambda client: client.read_flow_run(run)).state


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


async def _create(client: PrefectClient, seconds: float, started: Path) -> UUID:
    from tests.deployments.sleeper import sleeper

    deployment = await client.create_deployment(
        flow_id=await client.create_flow(sleeper), name="test", entrypoint="sleeper.py:sleeper", work_pool_name=POOL,
        job_variables=COMMAND,
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(HERE)}}],
    )  # fmt: skip
    parameters = {"seconds": seconds, "started": str(started)}
    return (await client.create_flow_run_from_deployment(deployment, parameters=parameters)).id
