"""The work pool of the stack: made by whoever comes first, the registration or the worker."""

from __future__ import annotations

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from deployments.environment import POOL


async def ensure_pool(client: PrefectClient) -> None:
    """Create the work pool unless it is there. One that an operator changed or paused is left as it is."""
    template = ProcessWorker.get_default_base_job_template()
    try:
        await client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
    except ObjectAlreadyExists:
        return
