"""A run of a deployment that may be suspended: carried out, answered on its form, and resumed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow_async


class SuspendedRun:
    """A run of a deployment, carried out in the test's own process each time a worker would start it."""

    def __init__(self, client: PrefectClient, flow: Any, run: Any) -> None:
        self.client, self.flow, self.id = client, flow, run.id

    async def work(self) -> Any:
        """Carry the run out until it ends or is suspended; its state."""
        run = await self.client.read_flow_run(self.id)
        with suppress(Pause):
            await run_flow_async(self.flow, flow_run=run, parameters=run.parameters, return_type="state")
        return await self.state()

    async def work_elsewhere(self, file: Path) -> Any:
        """Carry the run out in a process of its own, by the command with which a worker starts one; its state."""
        command = [sys.executable, "-m", "prefect.flow_engine", f"{file}:{self.flow.fn.__name__}"]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=file.parent.parent, env={**os.environ, "PREFECT__FLOW_RUN_ID": str(self.id)}
        )
        await asyncio.wait_for(process.wait(), 120)
        return await self.state()

    async def another(self) -> SuspendedRun:
        """Another run of the same deployment, with the same parameters."""
        run = await self.client.read_flow_run(self.id)
        made = await self.client.create_flow_run_from_deployment(run.deployment_id, parameters=run.parameters)
        return SuspendedRun(self.client, self.flow, made)

    async def state(self) -> Any:
        return (await self.client.read_flow_run(self.id)).state

    async def resume(self, **form: Any) -> str:
        """Send the form, as the UI does; whether it was taken."""
        answer = await self.client.resume_flow_run(self.id, run_input=form)
        return answer.status.value


def with_run(flow: Any, name: str, parameters: dict[str, Any], steps: Callable[[SuspendedRun], Any]) -> Any:
    """Make a deployment of a flow and a run of it, and do steps with the run."""

    async def both() -> Any:
        async with get_client() as client:
            deployment = await client.create_deployment(
                flow_id=await client.create_flow(flow), name=name, entrypoint=f"here:{flow.fn.__name__}"
            )
            run = await client.create_flow_run_from_deployment(deployment, parameters=parameters)
            return await steps(SuspendedRun(client, flow, run))

    return asyncio.run(both())
