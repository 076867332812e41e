"""What a drill knows before it makes anything: what Cloud SQL says (L0, L1), what is restored, and compared with what.

Safety property: it reads. A drill without anything to restore, or without a manifest to compare with, has the reason.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from prefect import task

from tasks.analysis import backups, drills, ladder
from tasks.backup_models import BackupState, Catalogue, DrillVerdict, LevelResult, Manifest, Pick, Target
from tasks.errors import BadInput, Refused
from tasks.estate import Database
from tasks.manifests import list_manifests, read_catalogue, read_manifest
from tasks.models import Finding, Frozen
from tasks.policies import READ
from tasks.record import run_name
from tasks.site import Site


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


def chosen_database(site: Site, name: str) -> Database:
    """The database that is drilled: the one named, or the only one. Raises BadInput where there are several."""
    if name:
        return site.estate.database(name)
    if len(site.estate.databases) != 1:
        known = ", ".join(database.name for database in site.estate.databases) or "none"
        raise BadInput(f"choosing a database of {site.estate.file.name} failed: it has {known}; pass database=NAME")
    return site.estate.databases[0]


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


def planned_drill(plan: DrillPlan) -> DrillVerdict:
    """What a dry run says: the levels that can be judged without restoring, and what would be restored."""
    return DrillVerdict(
        verdict="planned", database=plan.database, target=plan.target or Target(pick="newest"), levels=plan.levels,
        why=plan.why_no_target, highest=ladder.highest(plan.levels), started=plan.started, findings=plan.findings,
    )  # fmt: skip
