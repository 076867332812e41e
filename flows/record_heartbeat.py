"""Record heartbeat: one small row in production's database, by which a restored copy tells how old it is.

When: every few minutes. It writes one row into the table ``caretaker.heartbeat``, in a schema of its own, and forgets
rows of more than three days ago; it touches nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import Field

from tasks.drill_plan import chosen_database
from tasks.forms import DatabaseName, Form
from tasks.heartbeats import read_heartbeat, write_heartbeat
from tasks.site import open_site
from tasks.verdicts import SCHEDULED


class RecordHeartbeat(Form):
    """What a person decides about a heartbeat."""

    estate: Path = Field(Path("estate.toml"), description="The estate file: into whose database it is written")
    database: DatabaseName = Field("", description="The database's name in the estate; empty: the only one there is")
    dry_run: bool = Field(False, description="Tell when the newest heartbeat was, and write none")


@flow(name="record-heartbeat", flow_run_name="record heartbeat", timeout_seconds=300, **SCHEDULED)
async def record_heartbeat(request: RecordHeartbeat) -> Any:
    """Write a heartbeat."""
    site = open_site(request.estate)
    database = chosen_database(site, request.database)
    if request.dry_run:
        return await read_heartbeat(site, database)
    return await write_heartbeat(site, database)
