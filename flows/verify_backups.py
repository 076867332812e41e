"""Verify backups: restore one every night into a scratch instance and say how good it is, level by level.

When: nightly, the newest backup; once a month a random older one, and once a month a point in time; by hand. It makes a
scratch instance, a service and a secret for a while, each with a label and an end, and deletes them again. It never
changes production: that instance is read, and cloned from. Killed at any moment and run again, it first removes what
the killed run left, by label.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import Field

from tasks.backup_models import Pick
from tasks.drill_plan import chosen_database, plan_drill, planned_drill
from tasks.drill_record import conclude_drill, earlier_drills, measure, show
from tasks.drill_reports import drill_report
from tasks.drills import climb
from tasks.forms import DatabaseName, Form
from tasks.locks import drill_locked
from tasks.scratch_removal import sweep
from tasks.site import open_site
from tasks.verdicts import SCHEDULED


class VerifyBackups(Form):
    """What a person decides about a drill."""

    estate: Path = Field(Path("estate.toml"), description="The estate file: whose backups are proved")
    database: DatabaseName = Field("", description="The database's name in the estate; empty: the only one there is")
    pick: Pick = Field(
        "newest", description="What is restored: the newest backup, a random older one, or a random point in time"
    )
    all_objects: bool = Field(False, description="Look at every object that rows refer to, not at tonight's share")
    dry_run: bool = Field(False, description="Judge what can be judged without restoring, and make nothing")


@flow(name="verify-backups", flow_run_name="verify backups: {request.pick}", timeout_seconds=6 * 3600, **SCHEDULED)
async def verify_backups(request: VerifyBackups) -> Any:
    """Judge the backups, restore one, climb the ladder on the copy, delete it, measure, report."""
    site = open_site(request.estate)
    database = chosen_database(site, request.database)
    async with drill_locked(site, database.name):
        plan = await plan_drill(site, database, request.pick)
        if request.dry_run:
            planned = planned_drill(plan)
            return planned.model_copy(update={"report": drill_report(planned)})
        swept = await sweep(site, database)
        climbed = await climb(site, database, plan, request.all_objects)
        verdict = conclude_drill(database, plan, climbed, swept, await earlier_drills(site, database))
        await measure(site, database, verdict)
    return await show(site, database, verdict)
