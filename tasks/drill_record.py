"""Writes a drill down: the verdict beside earlier drills, the figures, the report, the page, the notification.

Safety property: what was proved is in the ledger before it is told, and stays a result whether or not it can be told.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from prefect import task
from prefect.states import Failed

from tasks.analysis import drills, ladder
from tasks.backup_models import DrillVerdict, Restored, Target
from tasks.drill_pages import keep_page, read_history
from tasks.drill_plan import DrillPlan
from tasks.drill_reports import History, drill_report, headline
from tasks.drills import Climbed
from tasks.errors import OpsError
from tasks.estate import Database
from tasks.models import Finding, Frozen, Measurement
from tasks.policies import READ, WRITE
from tasks.record import tell
from tasks.site import Site


class Earlier(Frozen):
    """What the ledger knows of the drills before this one, oldest first."""

    passes: tuple[Measurement, ...] = ()
    levels: tuple[Measurement, ...] = ()


def measured_as(site: Site, database: Database) -> str:
    """A database's name in the ledger, which estates share."""
    return f"{site.estate.google.project}/{database.name}"


@task(**READ)
async def earlier_drills(site: Site, database: Database) -> Earlier:
    """Which drills there were, how far each got, and which passed every level."""
    return await asyncio.to_thread(_earlier, site, database)


def _earlier(site: Site, database: Database) -> Earlier:
    subject = measured_as(site, database)
    passes = site.ledger.measurements(ladder.FULL_PASS, subject)
    return Earlier(passes=tuple(passes), levels=tuple(site.ledger.measurements(ladder.LEVEL, subject)))


def conclude_drill(
    database: Database, plan: DrillPlan, climbed: Climbed, swept: tuple[str, ...], earlier: Earlier
) -> DrillVerdict:
    """The verdict of a drill."""
    now = datetime.now(UTC)
    passed, reached = ladder.full_pass(climbed.levels), ladder.highest(climbed.levels)
    restored, backup = climbed.restored, plan.target.backup if plan.target else None
    seconds = (now - plan.started).total_seconds()
    price, cost = _price(plan, database, restored, seconds)
    return DrillVerdict(
        verdict=ladder.verdict(climbed.levels),
        database=database.name,
        target=plan.target or Target(pick="newest"),
        why=ladder.why(climbed.levels),
        highest=reached,
        levels=climbed.levels,
        started=plan.started,
        seconds=round(seconds, 2),
        rto_seconds=restored.seconds if restored else None,
        rpo_seconds=_rpo(plan, climbed),
        backup_bytes=plan.state.sizes.get(backup.id) if backup else None,
        restored_bytes=climbed.size,
        days_since_full_pass=ladder.days_since_full_pass(earlier.passes, now, passed),
        cost=cost,
        price=price,
        worse=ladder.worse(earlier.levels, reached, passed, earlier.passes),
        swept=swept,
        findings=(*plan.findings, *climbed.findings),
    )


def _price(plan: DrillPlan, database: Database, restored: Restored | None, seconds: float) -> tuple[float | None, str]:
    if restored is None:
        return None, ""
    return drills.price(restored.tier, plan.state.disk_gb, seconds, database.drill.hourly_price)


def _rpo(plan: DrillPlan, climbed: Climbed) -> float | None:
    """What would be lost: from the newest heartbeat in the copy to the drill, or to the moment that was asked for."""
    if climbed.heartbeat is None:
        return None
    until = plan.target.moment if plan.target and plan.target.moment else plan.started
    return round(max(0.0, (until - climbed.heartbeat).total_seconds()), 1)


@task(**WRITE)
async def measure(site: Site, database: Database, verdict: DrillVerdict) -> None:
    """Write a drill's figures into the ledger. Safe to repeat: a drill that is there already is left as it is."""
    await asyncio.to_thread(_measure, site, database, verdict)


def _measure(site: Site, database: Database, verdict: DrillVerdict) -> None:
    subject, at = measured_as(site, database), verdict.started
    labels = {"pick": verdict.target.pick, "what": verdict.target.what, "verdict": verdict.verdict}
    figures = (
        (ladder.LEVEL, float(verdict.highest), "level"),
        (ladder.FULL_PASS, float(ladder.full_pass(verdict.levels)), "1"),
        (ladder.RTO, verdict.rto_seconds, "s"),
        (ladder.RPO, verdict.rpo_seconds, "s"),
        (ladder.SIZE, verdict.backup_bytes, "bytes"),
        (ladder.RESTORED, verdict.restored_bytes, "bytes"),
        (ladder.SECONDS, verdict.seconds, "s"),
        (ladder.PRICE, verdict.price, "USD"),
    )
    for name, value, unit in figures:
        known = site.ledger.measurements(name, subject, since=at)
        if value is not None and not any(item.at == at for item in known):
            site.ledger.measure(name, subject, float(value), unit, at, labels)


async def show(site: Site, database: Database, verdict: DrillVerdict) -> Any:
    """Keep the page, show the report, notify where there is something to say; the flow's result."""
    history = await read_history(site, database)
    done = await _paged(site, database, verdict, history)
    report = drill_report(done, history)
    title = f"backups of {site.estate.name}/{database.name}: {headline(done)}"
    body = "; ".join(filter(None, (done.worse, done.why)))
    well = done.verdict == "passed" and not done.worse
    told = await tell(site, "verify-backups", report, title, body, aloud=not well)
    done = done.model_copy(update={"report": report, "findings": (*done.findings, *told)})
    if done.verdict == "passed":
        return done
    return Failed(message=done.why or done.verdict, data=done)


async def _paged(site: Site, database: Database, verdict: DrillVerdict, history: History) -> DrillVerdict:
    try:
        return await keep_page(site, database, verdict, history)
    except OpsError as error:
        kept = Finding(severity="warning", subject="page", what=str(error), way_out="the report tells the same")
        return verdict.model_copy(update={"findings": (*verdict.findings, kept)})
