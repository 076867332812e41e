"""A drill from plan to record: the order of its steps, and what becomes of a step that fails.

Safety property: a drill ends with a verdict for every level. A level that fails does not hide the others; one that
could not be judged is "not possible", with the reason; and the scratch instance is deleted whatever happens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import task
from prefect.states import Failed

from tasks.analysis import backups, drills, ladder
from tasks.applications import prove_application, services_of
from tasks.backup_models import (
    BackupState,
    Catalogue,
    DrillVerdict,
    Evidence,
    LevelResult,
    Manifest,
    Pick,
    Restored,
    Target,
)
from tasks.copies import check_content, check_schema, check_structure, copy_size
from tasks.drill_pages import keep_page
from tasks.drill_reports import drill_report, headline
from tasks.errors import BadInput, NotAllowed, PermanentError, Refused, TransientError
from tasks.estate import Database
from tasks.manifests import list_manifests, read_catalogue, read_manifest
from tasks.models import Change, Finding, Frozen
from tasks.policies import READ, WRITE
from tasks.record import announce, publish_report, run_name
from tasks.referenced_objects import check_objects
from tasks.scratch import Copy, open_copy, restore, scratch_instance
from tasks.site import Site

NOTHING_RESTORED = "nothing was restored"


class DrillPlan(Frozen):
    """What a drill knows before it makes anything: the backups' state, what it restores, what it compares with."""

    database: str
    state: BackupState
    levels: tuple[LevelResult, ...]
    target: Target | None = None
    why_no_target: str = ""
    manifest: Manifest | None = None
    catalogue: Catalogue
    findings: tuple[Finding, ...] = ()
    started: datetime
    scratch: str


class Climbed(Frozen):
    """What the copy showed."""

    levels: tuple[LevelResult, ...]
    restored: Restored | None = None
    heartbeat: datetime | None = None
    size: int | None = None


def chosen_database(site: Site, name: str) -> Database:
    """The database that is drilled: the one named, or the only one. Raises BadInput where there are several."""
    if name:
        return site.estate.database(name)
    if len(site.estate.databases) != 1:
        known = ", ".join(database.name for database in site.estate.databases) or "none"
        raise BadInput(f"choosing a database of {site.estate.file.name} failed: it has {known}; pass database=NAME")
    return site.estate.databases[0]


# --- check and plan --------------------------------------------------------------------------------------------------


async def plan_drill(site: Site, database: Database, pick: Pick) -> DrillPlan:
    """Judge what Cloud SQL says (L0, L1), and choose what is restored and what it is compared with. Reads only."""
    now = datetime.now(UTC)
    state, manifests = await asyncio.gather(read_backups(site, database), list_manifests(site, database))
    target, why = _target(database, state, pick, manifests, now)
    manifest = await read_manifest(site, database, target.manifest) if target and target.manifest else None
    target, manifest = backups.comparable(target, manifest, state)
    production = manifest.catalogue if manifest else await read_catalogue(site, database)
    return DrillPlan(
        database=database.name, state=state, target=target, why_no_target=why, manifest=manifest, catalogue=production,
        levels=_told(state, database, now), findings=(*backups.unusual(state), *_notes(database, target, manifest)),
        started=now, scratch=drills.scratch_name(database.name, run_name()),
    )  # fmt: skip


@task(**READ)
async def read_backups(site: Site, database: Database) -> BackupState:
    """What Cloud SQL says of a database's backups."""
    return await asyncio.to_thread(site.scratch.backup_state, database.instance)


def _told(state: BackupState, database: Database, now: datetime) -> tuple[LevelResult, ...]:
    first = ladder.judged(0, backups.policy_kept(state, database.backup, now))
    if not database.backup.point_in_time:
        return first, ladder.skipped(1, "the estate does not ask for point-in-time recovery")
    return first, ladder.judged(1, backups.recoverable(state, database.backup, now))


def _target(
    database: Database, state: BackupState, pick: Pick, manifests: tuple[datetime, ...], now: datetime
) -> tuple[Target | None, str]:
    try:
        return backups.choose(database, state, pick, manifests, now), ""
    except Refused as refusal:
        return None, str(refusal)


def _notes(database: Database, target: Target | None, manifest: Manifest | None) -> tuple[Finding, ...]:
    found = []
    if target and manifest is None:
        found.append(
            Finding(
                severity="warning", subject=database.name, what=f"no manifest was finished before {target.what}",
                way_out="schedule take-manifest shortly before the backup's window",
            )
        )  # fmt: skip
    if manifest is not None and manifest.heartbeat is None:
        found.append(
            Finding(
                severity="warning", subject=database.name, what="production has no heartbeat: RPO is not measured",
                way_out="schedule record-heartbeat",
            )
        )  # fmt: skip
    return tuple(found)


# --- apply and verify ------------------------------------------------------------------------------------------------


async def climb(site: Site, database: Database, plan: DrillPlan, whole: bool = False) -> Climbed:
    """Restore into a scratch instance and go up the ladder; delete the instance again."""
    if plan.target is None:
        return _nothing(plan.levels, ladder.not_possible(2, plan.why_no_target))
    async with scratch_instance(site, plan.scratch):
        began = time.monotonic()
        try:
            restored = await restore(site, database, plan.state, plan.target, plan.scratch)
            copy = await open_copy(site, database, restored)
        except PermanentError as error:
            return _nothing(plan.levels, ladder.judged(2, [_failed(error)], time.monotonic() - began))
        except TransientError as error:
            return _nothing(plan.levels, ladder.not_possible(2, str(error)))
        return await _look(site, database, plan, restored, copy, whole)


async def _look(
    site: Site, database: Database, plan: DrillPlan, restored: Restored, copy: Copy, whole: bool
) -> Climbed:
    assert plan.target is not None
    size = await copy_size(copy)
    third = await _rung(3, check_schema(copy, plan.catalogue))
    fourth, beat = await _content(database, plan, copy)
    fifth = await _rung(5, check_structure(copy, database))
    sixth = await _applications(site, database, copy, plan)
    seventh = await _objects(site, database, copy, whole)
    levels = (*plan.levels, _restored(plan, copy), third, fourth, fifth, sixth, seventh)
    excused = await asyncio.to_thread(_excused, site, database, plan, levels)
    return Climbed(levels=excused, restored=restored, heartbeat=beat, size=size)


async def _rung(level: int, check: Awaitable[LevelResult]) -> LevelResult:
    """One level: what it found, or why it could not be judged."""
    try:
        return await check
    except NotAllowed as error:
        return ladder.not_possible(level, str(error))
    except PermanentError as error:
        return ladder.judged(level, [_failed(error)])
    except TransientError as error:
        return ladder.not_possible(level, str(error))


async def _content(database: Database, plan: DrillPlan, copy: Copy) -> tuple[LevelResult, datetime | None]:
    assert plan.target is not None
    if plan.manifest is None:
        return ladder.not_possible(4, f"no manifest was finished before {plan.target.what}"), None
    found: list[datetime | None] = [None]

    async def check() -> LevelResult:
        assert plan.manifest is not None
        assert plan.target is not None
        level, found[0] = await check_content(copy, database, plan.manifest, plan.target)
        return level

    return await _rung(4, check()), found[0]


async def _applications(site: Site, database: Database, copy: Copy, plan: DrillPlan) -> LevelResult:
    services = services_of(site, database)
    if not services:
        return ladder.skipped(6, f"no service of the estate uses {database.name}")
    assert plan.target is not None
    moment = backups.moment_of(plan.target)
    results = [await _rung(6, prove_application(site, database, service, copy, moment)) for service in services]
    worst = next((r for word in ("failed", "not_possible") for r in results if r.verdict == word), results[0])
    evidence = tuple(line for result in results for line in result.evidence)
    return worst.model_copy(update={"evidence": evidence, "seconds": sum(result.seconds for result in results)})


async def _objects(site: Site, database: Database, copy: Copy, whole: bool) -> LevelResult:
    if not database.objects:
        return ladder.skipped(7, f"the estate names no objects that rows of {database.name} refer to")
    return await _rung(7, check_objects(site, copy, database, whole))


def _restored(plan: DrillPlan, copy: Copy) -> LevelResult:
    assert plan.target is not None
    restored = copy.restored
    made = f" ({restored.create_seconds:.1f} s to create the instance)" if restored.create_seconds else ""
    lines = [
        f"{plan.target.what} restored into {restored.instance} ({restored.tier}) in {restored.seconds:.1f} s{made}",
        f"the database is there, and {copy.user} can log in",
    ]
    return ladder.judged(2, [Evidence(what=line) for line in lines], restored.seconds)


def _nothing(told: tuple[LevelResult, ...], second: LevelResult) -> Climbed:
    above = tuple(ladder.not_possible(level, NOTHING_RESTORED) for level in range(3, 8))
    return Climbed(levels=(*told, second, *above))


def _failed(error: Exception) -> Evidence:
    return Evidence(what=str(error), ok=False)


def _excused(
    site: Site, database: Database, plan: DrillPlan, levels: tuple[LevelResult, ...]
) -> tuple[LevelResult, ...]:
    """Where production was changed on purpose between manifest and backup, a difference proves nothing either way."""
    change = _changed_between(site, database, plan)
    if change is None:
        return levels
    when = f"{change.at:%Y-%m-%d %H:%M} UTC"
    why = f"{change.kind} of {change.subject} at {when} lies between the manifest and the backup"
    return tuple(
        ladder.not_possible(item.level, f"{why}; {item.why}", item.evidence)
        if item.level in (3, 4) and item.verdict == "failed"
        else item
        for item in levels
    )


def _changed_between(site: Site, database: Database, plan: DrillPlan) -> Change | None:
    if plan.target is None:
        return None
    end = plan.target.moment or (plan.target.backup.ended if plan.target.backup else None) or plan.started
    begin = plan.manifest.taken if plan.manifest else end
    begin, end = min(begin, end), max(begin, end) if plan.manifest else plan.started
    subjects = {service.name for service in services_of(site, database)} | {database.name, database.instance}
    project = site.estate.google.project
    for change in site.ledger.changes(limit=200):
        ours = change.subject in subjects and change.inputs.get("project", project) == project
        if ours and change.kind != "backup" and begin - timedelta(minutes=5) <= change.at <= end + timedelta(minutes=5):
            return change
    return None


# --- record ----------------------------------------------------------------------------------------------------------


async def conclude_drill(
    site: Site, database: Database, plan: DrillPlan, climbed: Climbed, swept: tuple[str, ...]
) -> DrillVerdict:
    """The verdict, with what the ledger knows of earlier drills."""
    return await asyncio.to_thread(_conclude, site, database, plan, climbed, swept)


def _conclude(
    site: Site, database: Database, plan: DrillPlan, climbed: Climbed, swept: tuple[str, ...]
) -> DrillVerdict:
    now, subject = datetime.now(UTC), measured_as(site, database)
    passes = site.ledger.measurements(ladder.FULL_PASS, subject)
    passed, reached = ladder.full_pass(climbed.levels), ladder.highest(climbed.levels)
    restored, backup = climbed.restored, plan.target.backup if plan.target else None
    seconds = (now - plan.started).total_seconds()
    price, cost = _price(plan, database, restored, seconds)
    before = site.ledger.measurements(ladder.LEVEL, subject)
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
        days_since_full_pass=ladder.days_since_full_pass(passes, now, passed),
        cost=cost,
        price=price,
        worse=ladder.worse(before, reached, passed, passes),
        swept=swept,
        findings=plan.findings,
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


def planned_drill(plan: DrillPlan) -> DrillVerdict:
    """What a dry run says: the levels that can be judged without restoring, and what would be restored."""
    return DrillVerdict(
        verdict="planned", database=plan.database, target=plan.target or Target(pick="newest"), levels=plan.levels,
        why=plan.why_no_target, highest=ladder.highest(plan.levels), started=plan.started, findings=plan.findings,
    )  # fmt: skip


def measured_as(site: Site, database: Database) -> str:
    """A database's name in the ledger, which estates share."""
    return f"{site.estate.google.project}/{database.name}"


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


async def tell(site: Site, database: Database, verdict: DrillVerdict) -> Any:
    """Show the report, keep the page, notify where there is something to say; the flow's result."""
    done = await keep_page(site, database, verdict)
    report = drill_report(done)
    await publish_report("verify-backups", report, f"Backups of {database.name}: {done.verdict}")
    told: tuple[Finding, ...] = ()
    if done.worse or done.verdict == "failed":
        title = f"backups of {site.estate.name}/{database.name}: {headline(done)}"
        told = await announce(site, title, "; ".join(filter(None, (done.worse, done.why))))
    done = done.model_copy(update={"report": report, "findings": (*done.findings, *told)})
    if done.verdict == "passed":
        return done
    return Failed(message=done.why or done.verdict, data=done)
