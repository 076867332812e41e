"""Restores a copy and goes up the ladder on it: the order of the levels, and what becomes of one that breaks off.

Safety property: a drill ends with a verdict for every level. A level that fails does not hide the others; one that
could not be judged is "not possible", with the reason; whatever else goes wrong in one fails it. Only a cancellation
ends the drill, and the scratch instance is deleted then too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from datetime import datetime, timedelta

from prefect import task
from prefect.exceptions import CancelledRun

from tasks.analysis import backups, ladder
from tasks.analysis.serving import ours
from tasks.applications import prove_application, services_of
from tasks.backup_models import Evidence, LevelResult, Restored
from tasks.copies import check_content, check_schema, check_structure, copy_size
from tasks.drill_plan import DrillPlan
from tasks.errors import BadInput, Conflict, NotAllowed, OpsError, Refused, TimedOut, TransientError, in_one_line
from tasks.estate import Database
from tasks.models import Change, Finding, Frozen
from tasks.policies import READ
from tasks.referenced_objects import check_objects
from tasks.scratch import Copy, open_copy, restore
from tasks.scratch_removal import scratch_instance
from tasks.site import Site

NOTHING_RESTORED = "nothing was restored"
#: What says nothing of the backup: it could not be looked at.
UNJUDGED = (TransientError, NotAllowed, BadInput, Conflict, Refused, TimedOut, TimeoutError)
#: A clock that runs a little before or after another one.
CLOCKS = timedelta(minutes=1)
#: A change is written down at its end: one that is told so much later may have been under way.
UNDER_WAY = timedelta(minutes=30)


class Climbed(Frozen):
    """What the copy showed."""

    levels: tuple[LevelResult, ...]
    restored: Restored | None = None
    heartbeat: datetime | None = None
    size: int | None = None
    findings: tuple[Finding, ...] = ()


async def climb(site: Site, database: Database, plan: DrillPlan, whole: bool = False) -> Climbed:
    """Restore into a scratch instance and go up the ladder; delete the instance again."""
    if plan.target is None:
        return _nothing(plan.levels, ladder.not_possible(2, plan.why_no_target))
    async with scratch_instance(site, plan.scratch) as left:
        began = time.monotonic()
        try:
            restored = await restore(site, database, plan.state, plan.target, plan.scratch)
            copy = await open_copy(site, database, restored)
        except Exception as error:  # noqa: BLE001  whatever it was is this level's verdict
            climbed = _nothing(plan.levels, broken_off(2, error, time.monotonic() - began))
        else:
            climbed = await _look(site, database, plan, restored, copy, whole)
    return climbed.model_copy(update={"findings": tuple(left)})


async def _look(
    site: Site, database: Database, plan: DrillPlan, restored: Restored, copy: Copy, whole: bool
) -> Climbed:
    size = await _size(copy)
    third = await _rung(3, check_schema(copy, plan.catalogue))
    fourth, beat = await _content(database, plan, copy)
    fifth = await _rung(5, check_structure(copy, database))
    sixth = await _applications(site, database, copy, plan)
    seventh = await _objects(site, database, copy, whole)
    excused = await _excused(site, database, plan, (third, fourth))
    levels = (*plan.levels, _restored(plan, copy), *excused, fifth, sixth, seventh)
    return Climbed(levels=levels, restored=restored, heartbeat=beat, size=size)


async def _rung(level: int, check: Awaitable[LevelResult]) -> LevelResult:
    """One level: what it found, or why it could not be judged."""
    began = time.monotonic()
    try:
        return await check
    except Exception as error:  # noqa: BLE001  whatever it was is this level's verdict; the others go on
        return broken_off(level, error, time.monotonic() - began)


def broken_off(level: int, error: Exception, seconds: float = 0.0) -> LevelResult:
    """A level that ended with an error. What is no error of ours is logged whole: it is a fault of the program.

    A cancellation is no end of a level, but of the drill.
    """
    if isinstance(error, CancelledRun):
        raise error
    if isinstance(error, UNJUDGED):
        return ladder.not_possible(level, str(error) if isinstance(error, OpsError) else in_one_line(error))
    if isinstance(error, OpsError):
        return ladder.judged(level, [Evidence(what=str(error), ok=False)], seconds)
    logging.getLogger(__name__).error("L%s broke off", level, exc_info=error)
    return ladder.judged(level, [Evidence(what=f"the level broke off: {in_one_line(error)}", ok=False)], seconds)


async def _size(copy: Copy) -> int | None:
    try:
        return await copy_size(copy)
    except OpsError:  # the levels say what is wrong with the copy; without its size the report says "unknown"
        return None


async def _content(database: Database, plan: DrillPlan, copy: Copy) -> tuple[LevelResult, datetime | None]:
    manifest, target = plan.manifest, plan.target
    assert target is not None
    if manifest is None:
        return ladder.not_possible(4, f"no manifest was finished before {target.what}"), None
    found: list[datetime | None] = [None]

    async def check() -> LevelResult:
        level, found[0] = await check_content(copy, database, manifest, target)
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


async def _excused(
    site: Site, database: Database, plan: DrillPlan, levels: tuple[LevelResult, ...]
) -> tuple[LevelResult, ...]:
    """Where production was changed on purpose between manifest and backup, a difference proves nothing either way.

    What is wrong with the copy by itself, whatever production was, stays a failure.
    """
    if not any(ladder.differs_only(item) for item in levels):
        return levels
    try:
        changes = await read_changes(site, database)
    except OpsError as error:
        why = f"whether production was changed meanwhile is not known ({error})"
        return tuple(ladder.excused(item, why) if ladder.differs_only(item) else item for item in levels)
    change = changed_between(plan, changes)
    if change is None:
        return levels
    when = f"{change.at:%Y-%m-%d %H:%M} UTC"
    since = "may lie between the manifest and the backup" if plan.manifest else "may have come after what was restored"
    why = f"{change.kind} of {change.subject}, written down at {when}, {since}"
    return tuple(ladder.excused(item, why) if ladder.differs_only(item) else item for item in levels)


@task(**READ)
async def read_changes(site: Site, database: Database) -> tuple[Change, ...]:
    """The newest changes of a database and of the services that use it, the newest first."""
    return await asyncio.to_thread(_changes, site, database)


def _changes(site: Site, database: Database) -> tuple[Change, ...]:
    subjects = {service.name for service in services_of(site, database)} | {database.name, database.instance}
    found = [change for name in subjects for change in site.ledger.changes(subject=name, limit=200)]
    return ours(sorted(found, key=lambda change: change.at, reverse=True), site.estate.google.project)


def changed_between(plan: DrillPlan, changes: tuple[Change, ...]) -> Change | None:
    """The newest change between the manifest and what was restored; without a manifest, between that and now."""
    if plan.target is None:
        return None
    moment = backups.moment_of(plan.target)
    begin, end = sorted((plan.manifest.taken, moment)) if plan.manifest else (moment, plan.started)
    found = (change for change in changes if change.kind != "backup")
    return next((change for change in found if begin - CLOCKS <= change.at <= end + UNDER_WAY), None)
