"""What 2,000 runs leave in Prefect's database, and that what is older than the retention leaves it again.

Each run is made over the API with log lines, an artifact and its states, as a worker makes them. Then their clocks are
turned back beyond the retention and Prefect's own vacuum runs. A second 2,000 must find the room of the first: the
database is as large as its retention, and not as its age.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import LogCreate
from prefect.client.schemas.objects import StateType
from prefect.states import Completed, Pending, Running

from deployments.environment import RUNS_KEPT, server_environment
from deployments.stack.database import PREFECT, database_url
from deployments.stack.folder import Folder
from tests.deployments.sleeper import sleeper
from tests.memory import temporary_folder
from tests.stack import QUIET, running_stack

RUNS = 2000
AT_ONCE = 8
LINES = 20
MEBIBYTE = 2**20


def bench() -> list[dict[str, Any]]:
    """Fill, let time pass, vacuum, and fill again."""
    with temporary_folder() as folder, running_stack(folder / "s", *QUIET) as stack:
        sizes, left, kept = measured(stack.folder)
    empty, first, second = sizes
    return [
        row(f"database with {RUNS} runs", first / MEBIBYTE, "MiB", None, f"{empty / MEBIBYTE:.0f} MiB when empty"),
        row("runs past the retention that are left", left, "1", 0, f"of {RUNS}, {RUNS_KEPT.days} days"),
        row("rows of the ledger that were trimmed", 1 - kept, "1", 0, "it is never trimmed"),
        row(f"growth by the next {RUNS} runs", second / first, "×", 1.25, "the room of the first is used again"),
    ]


def measured(folder: Folder) -> tuple[tuple[int, int, int], int, int]:
    """Sizes of the database empty, with the first runs, with as many more; runs left; the ledger's row."""
    url = database_url(folder, PREFECT, "psycopg")
    from tasks.clients.ledger import Ledger

    ledger = Ledger((folder.root / "secrets" / "ledger-url").read_text())
    ledger.ensure()
    ledger.measure("bench.kept", "old", 1, "1", at=datetime.now(UTC) - 2 * RUNS_KEPT)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as database:
        empty = size(database)
        asyncio.run(fill())
        turn_back(database)
        first = size(database)  # with the second version that turning back makes of each row: a vacuum frees both
        vacuum(folder)
        left = database.execute("SELECT count(*) FROM flow_run WHERE end_time IS NOT NULL").fetchone()
        database.execute("VACUUM (ANALYZE)")
        asyncio.run(fill())
        second = size(database)
    assert left
    return (empty, first, second), int(left[0]), len(ledger.measurements("bench.kept"))


async def fill() -> None:
    """Make the runs, a few at a time."""
    async with get_client() as client:
        flow = await client.create_flow(sleeper)
        room = asyncio.Semaphore(AT_ONCE)

        async def one() -> None:
            async with room:
                await make_run(client, flow)

        await asyncio.gather(*(one() for _ in range(RUNS)))


async def make_run(client: PrefectClient, flow: UUID) -> None:
    scheduled = {"type": StateType.SCHEDULED.value}
    body = {"flow_id": str(flow), "state": scheduled, "parameters": {"request": {"dry_run": True}}}
    run = UUID((await client.request("POST", "/flow_runs/", json=body)).json()["id"])
    for state in (Pending(), Running(), Completed()):
        await client.set_flow_run_state(run, state, force=True)
    now = datetime.now(UTC)
    line = {"name": "prefect.flow_runs", "level": 20, "message": "x" * 120, "timestamp": now, "flow_run_id": run}
    await client.create_logs([LogCreate.model_validate(line)] * LINES)
    artifact = {"type": "markdown", "key": "deploy", "data": "x" * 4000, "flow_run_id": str(run)}
    await client.request("POST", "/artifacts/", json=artifact)


def turn_back(database: psycopg.Connection[Any]) -> None:
    """Let everything be older than the retention."""
    past = RUNS_KEPT + timedelta(days=1)
    database.execute("UPDATE flow_run SET end_time = end_time - %s, start_time = start_time - %s", (past, past))
    database.execute("UPDATE events SET occurred = occurred - %s", (past,))
    database.execute("UPDATE event_resources SET occurred = occurred - %s, updated = updated - %s", (past, past))


def vacuum(folder: Folder) -> None:
    """Run the vacuum of Prefect's server, with the stack's own settings."""
    url = database_url(folder, PREFECT, "asyncpg")
    before = dict(os.environ)
    os.environ.update(server_environment(folder.root, url))
    try:
        asyncio.run(_vacuum())
    finally:
        os.environ.clear()
        os.environ.update(before)


async def _vacuum() -> None:
    from prefect.context import refresh_global_settings_context
    from prefect.server.database import provide_database_interface
    from prefect.server.services import db_vacuum

    refresh_global_settings_context()
    database = provide_database_interface()
    for step in (
        db_vacuum.vacuum_old_flow_runs, db_vacuum.vacuum_orphaned_logs, db_vacuum.vacuum_orphaned_artifacts,
        db_vacuum.vacuum_stale_artifact_collections, db_vacuum.vacuum_old_events,
    ):  # fmt: skip
        await step(db=database)


def size(database: psycopg.Connection[Any]) -> int:
    found = database.execute("SELECT pg_database_size(current_database())").fetchone()
    assert found
    return int(found[0])


def row(name: str, value: float, unit: str, goal: float | None, against: str) -> dict[str, Any]:
    return {
        "name": name, "value": round(value, 2), "unit": unit, "goal": None if goal is None else f"<= {goal:g}",
        "ok": goal is None or value <= goal, "against": against,
    }  # fmt: skip
