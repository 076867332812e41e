"""Maintain the database: VACUUM, ANALYZE and index care where they are needed, and what is running out.

When: on the first Sunday of a quarter at three in the morning; every day it only looks and measures, so that forecasts
have a history; by hand. It runs VACUUM and ANALYZE on the tables that need them and, approved by a person, rebuilds
bloated or broken indexes without locking anybody out. It never touches a healthy table, an index's definition, a row or
a flag, and stops within seconds when it disturbs anyone. Killed at any moment and run again, it goes on in its window.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import Field

from tasks.approvals import GivenApproval
from tasks.drill_plan import chosen_database
from tasks.forms import DatabaseName, Form
from tasks.ground import refuse_freeze
from tasks.site import open_site
from tasks.upkeep_again import look_again
from tasks.upkeep_care import approved, care, care_locked, not_approved, rehearse, settle
from tasks.upkeep_look import length_of, look, prove_ground
from tasks.upkeep_plans import make_plan
from tasks.upkeep_record import compare_next_time, concluded, looked_at, planned, record, tell
from tasks.upkeep_store import broken_off, close_window, effects_since, measure, opened, write_window
from tasks.verdicts import SCHEDULED


class MaintainDatabase(Form):
    """What a person decides about the care of a database."""

    estate: Path = Field(Path("estate.toml"), description="The estate file: whose database is cared for")
    database: DatabaseName = Field("", description="The database's name in the estate; empty: the only one there is")
    window_minutes: int = Field(
        90, ge=0, le=110, description="The hard end: what is not done by then is broken off or left for the next window"
    )
    rehearse: bool = Field(
        False, description="First do all of it on a restored copy of the newest backup: its times replace the estimates"
    )
    look_only: bool = Field(False, description="Look and measure, for the forecasts; change nothing in the database")
    approve: GivenApproval = ""
    force: bool = Field(False, description="Go on inside a freeze window")
    dry_run: bool = Field(False, description="Show the plan; write nothing")


@flow(name="maintain-database", flow_run_name="maintain database", timeout_seconds=6 * 3600, **SCHEDULED)
async def maintain_database(request: MaintainDatabase) -> Any:
    """Look, plan, do what is light, ask for what is heavy, do that, verify, record."""
    length = length_of(request.window_minutes)
    site = open_site(request.estate)
    database = chosen_database(site, request.database)
    server = await prove_ground(site, database)
    if request.dry_run or request.look_only:
        facts = await look(site, database, server)
        plan = await make_plan(site, database, facts, await broken_off(site, database))
        if request.dry_run:
            return await planned(plan)
        await measure(site, database, facts)
        return await tell(site, database, looked_at(plan))

    await refuse_freeze(site.estate, request.force)
    async with care_locked(site, database):
        before = await broken_off(site, database)
        swept = await settle(site, database, before)
        facts = await look(site, database, server)
        plan = await make_plan(site, database, facts, before)
        await measure(site, database, facts)
        plan = await rehearse(site, database, plan, facts, before) if request.rehearse else plan
        window = await write_window(site, database, opened(database, before, length, plan.actions))
        done, pauses = await care(site, database, plan.light, window)
        await record(site, database, window, plan, done, "light")
        await compare_next_time(site, database, facts)
        plan, window = await look_again(site, database, plan, window, done, request.approve)
        why_not, window = await approved(site, database, plan, window, request.approve)
        waiting = not_approved(plan.heavy, why_not)
        heavy, more = await care(site, database, (*plan.refused, *(() if waiting else plan.heavy)), window)
        await record(site, database, window, plan, (*heavy, *waiting), "heavy")
        effects = (*await effects_since(site, database, window.began), *waiting)
        verdict = concluded(plan, window, effects, (*pauses, *more), swept)
        told = await tell(site, database, verdict)
        await close_window(site, database, verdict)
    return told
