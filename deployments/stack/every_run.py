"""Reads flow runs without a limit: Prefect's server gives 200 at most in one answer."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun

PAGE = 200


async def every_run(client: PrefectClient, **asked: Any) -> list[FlowRun]:
    """Every run that ``PrefectClient.read_flow_runs`` finds with these filters and this order, however many."""
    found: list[FlowRun] = []
    while len(page := await client.read_flow_runs(**asked, limit=PAGE, offset=len(found))) == PAGE:
        found += page
    return found + page
