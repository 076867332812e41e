"""Concludes the care of a database: the verdict, the ledger's line, the page and the report.

Safety property: what was done is in the ledger, action by action, before this begins; a report that cannot be shown
undoes nothing.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from prefect import task
from prefect.states import Failed

from tasks.approval_models import digest_of
from tasks.estate import Database
from tasks.kept_pages import keep
from tasks.maintenance_facts import Facts
from tasks.maintenance_models import Effect, GuardNote, MaintenancePlan, MaintenanceVerdict, WindowState
from tasks.policies import WRITE
from tasks.record import publish_report, record_change
from tasks.record import tell as show_and_announce
from tasks.runs import run_name
from tasks.site import Site
from tasks.upkeep_page import page_of
from tasks.upkeep_plans import next_statements
from tasks.upkeep_store import (
    CHARTED,
    COMPARED_AFTER,
    keep_statements,
    read_statements,
    subject_of,
)
from tasks.upkeep_text import plan_report, verdict_report

#: Points of a chart.
SHOWN = 120
CHANGES = 500


async def planned(plan: MaintenancePlan) -> MaintenanceVerdict:
    """What a dry run says; shown in the UI, and nothing else written."""
    report = plan_report(plan)
    await publish_report("maintain-database", report, f"Plan: care of {plan.database}")
    return MaintenanceVerdict(verdict="planned", database=plan.database, plan=plan, report=report)


def looked_at(plan: MaintenancePlan) -> MaintenanceVerdict:
    """What a run says that only looks and measures."""
    return MaintenanceVerdict(verdict="measured", database=plan.database, plan=plan)


def concluded(
    plan: MaintenancePlan, window: WindowState, effects: tuple[Effect, ...], pauses: tuple[GuardNote, ...],
    swept: tuple[str, ...],
) -> MaintenanceVerdict:
    """The verdict of what was done."""
    failed = [effect for effect in effects if effect.ended == "failed"]
    open_ = [effect for effect in effects if effect.ended not in ("done", "skipped", "failed")]
    word = "failed" if failed else "incomplete" if open_ else "maintained" if effects else "nothing_to_do"
    return MaintenanceVerdict.model_validate(
        {
            "verdict": word, "database": plan.database, "why": _why(failed or open_), "plan": plan, "effects": effects,
            "pauses": pauses, "began": window.began, "swept": swept,
            "seconds": (datetime.now(UTC) - window.began).total_seconds(),
        }
    )  # fmt: skip


def _why(effects: list[Effect]) -> str:
    if not effects:
        return ""
    first = effects[0]
    more = f" (and {len(effects) - 1} more)" if len(effects) > 1 else ""
    return f"{first.action.kind} of {first.action.target}: {first.ended.replace('_', ' ')}, {first.why}{more}"


async def record(
    site: Site, database: Database, window: WindowState, plan: MaintenancePlan, effects: tuple[Effect, ...], part: str
) -> None:
    """Write the ledger's line of a part of the care: the light one before anybody is asked about the heavy one."""
    if not effects:
        return
    before = {effect.action.key: effect.before for effect in effects}
    after = {effect.action.key: {"ended": effect.ended, **effect.after} for effect in effects}
    ended = concluded(plan, window, effects, (), ()).verdict
    word = ended if ended in ("maintained", "failed") else "held"
    of = digest_of({effect.action.key: str(effect.began) for effect in effects})[:12]
    key = f"maintenance/{subject_of(site, database)}/{window.began:%Y%m%dT%H%M%S}/{run_name()}/{part}/{of}"
    inputs = {"part": part, "window_until": window.until.isoformat(), "digest": plan.digest}
    await record_change(site, "maintenance", database.name, "quarterly care", word, key, inputs, before, after)


async def compare_next_time(site: Site, database: Database, facts: Facts) -> None:
    """Keep the statements for the next quarter."""
    kept = await read_statements(site, database)
    fresh = next_statements(facts, kept)
    if fresh is None or (kept is not None and fresh.snapshot.at - kept.snapshot.at < COMPARED_AFTER):
        return
    await keep_statements(site, database, fresh)


async def tell(site: Site, database: Database, verdict: MaintenanceVerdict) -> Any:
    """Keep the page, show the report, notify where there is something to say; the flow's result."""
    done = await keep_page(site, database, verdict)
    done = done.model_copy(update={"report": verdict_report(done)})
    urgent = [one for one in done.plan.advice if one.severity == "error"]
    well = done.verdict not in ("failed", "incomplete") and not urgent
    body = "; ".join(filter(None, (done.why, *(f"{one.subject}: {one.what}" for one in urgent))))
    title, topic = f"care of {site.estate.name}/{database.name}: {done.verdict}", f"care of {database.name}"
    told = await show_and_announce(
        site, "maintain-database", done.report, title, body, aloud=not well, topic=topic
    )
    done = done.model_copy(update={"findings": told})
    return Failed(message=done.why, data=done) if done.verdict == "failed" else done


@task(**WRITE)
async def keep_page(site: Site, database: Database, verdict: MaintenanceVerdict) -> MaintenanceVerdict:
    """Write the page; the verdict with where it is. Safe to repeat: the same care gives the same page."""
    return await asyncio.to_thread(_keep, site, database, verdict)


def _keep(site: Site, database: Database, verdict: MaintenanceVerdict) -> MaintenanceVerdict:
    subject = subject_of(site, database)
    history = {name: site.ledger.measurements(name, subject, limit=SHOWN) for name in CHARTED}
    project = site.estate.google.project
    changes = [one for one in site.ledger.changes(limit=CHANGES) if one.inputs.get("project", project) == project]
    page = page_of(verdict, history, changes)
    name = f"reports/maintain-database/{database.name}/{verdict.plan.at:%Y%m%dT%H%M%SZ}.html"
    return verdict.model_copy(update={"page": keep(site, name, page)})
