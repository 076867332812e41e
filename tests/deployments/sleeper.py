"""A flow that only waits: what a worker is watched with."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from prefect import flow


@flow(name="sleeper")
async def sleeper(seconds: float, started: str) -> None:
    """Say that it started, by a file with its process id, and wait."""
    file = Path(started)
    file.with_suffix(".part").write_text(str(os.getpid()))
    file.with_suffix(".part").rename(file)
    await asyncio.sleep(seconds)
