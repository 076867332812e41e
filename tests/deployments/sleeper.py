"""A flow that only waits: what a worker is watched with."""

from __future__ import annotations

import asyncio
from pathlib import Path

from prefect import flow


@flow(name="sleeper")
async def sleeper(seconds: float, started: str) -> None:
    """Say that it started, by a file, and wait."""
    Path(started).touch()
    await asyncio.sleep(seconds)
