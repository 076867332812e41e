"""``python foreground_nap.py FILE``: a flow in the foreground, as ``caretaker run`` runs one, that naps."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel

from deployments.run import _run


class Nap(BaseModel):
    """Where the flow writes its id."""

    file: Path


@flow(name="nap")
async def nap(request: Nap) -> None:
    """Say by a file which run this is, and wait."""
    request.file.with_suffix(".part").write_text(str(flow_run.id))
    request.file.with_suffix(".part").rename(request.file)
    await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(_run(nap, Nap(file=Path(sys.argv[1]))))
