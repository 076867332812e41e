"""The database under a release: at which schema it stands, its backup, its migration and the way back.

Safety property: the database's own revision decides whether a migration is to be run. A migration is a Cloud Run job
without retries, named by the release; an execution that is under way is waited for, never started a second time.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from prefect import task

from tasks import progress
from tasks.analysis import migrations, schema
from tasks.analysis import release as naming
from tasks.clients.migration_source import MigrationSource
from tasks.clients.source_archive import unpacked
from tasks.errors import BadInput, Conflict, Missing, PermanentError
from tasks.estate import Database, Migration, Service
from tasks.models import Backup, ExecutionState, RevisionSpec
from tasks.policies import BACKUP_DEADLINE, MIGRATION_DEADLINE, READ, WAIT, WRITE
from tasks.release_models import MigrationPlan, ServiceGround, ServicePlan
from tasks.site import Site

BACKUP_IS_FRESH = timedelta(hours=1)
MIGRATION_LOCK = "caretaker-migration"

Direction = Literal["upgrade", "downgrade"]


@task(**READ)
async def read_schema(site: Site, database: Database) -> str | None:
    """The alembic revision at which a database stands; None where no migration ever ran.

    Raises an error that names the database when it does not answer.
    """
    return await asyncio.to_thread(_read_schema, site, database)


def _read_schema(site: Site, database: Database) -> str | None:
    return site.database(database).alembic_revision()


@task(**READ)
async def plan_migration(
    site: Site, service: Service, root: Path, current: str | None, serving_words: frozenset[str] | None
) -> MigrationPlan:
    """Find the pending revisions, lint each, and judge what they do to the serving code and to the data.

    Raises Refused when the database stands at a revision that the source does not know.
    """
    return await asyncio.to_thread(_plan_migration, service, root, current, serving_words)


def _plan_migration(
    service: Service, root: Path, current: str | None, serving_words: frozenset[str] | None
) -> MigrationPlan:
    assert service.migration is not None
    assert service.database is not None
    source = MigrationSource(root / service.source / service.migration.folder)
    history = source.read()
    pending = migrations.pending(current, history)
    # On an empty database there is nobody to disturb and nothing to lose.
    lint = [finding for revision in pending for finding in source.lint(revision)] if current else []
    applied = tuple(item for item in history.revisions if item not in pending)
    judged = schema.judge_upgrades(pending if current else (), serving_words, applied)
    return MigrationPlan(
        database=service.database,
        current=current,
        target=history.head,
        pending=tuple(revision.revision for revision in pending),
        findings=(*lint, *judged.findings),
        breaks_serving=judged.breaks,
        loses_data=judged.loses,
    )


@task(**WAIT)
async def back_up(site: Site, plan: ServicePlan) -> Backup:
    """Take an on-demand backup before the schema changes, and wait until it is good.

    Safe to repeat: the backup bears the release in its description; one under way is waited for and one of the last
    hour is taken as it is.
    """
    return await asyncio.to_thread(_back_up, site, plan)


def _back_up(site: Site, plan: ServicePlan) -> Backup:
    assert plan.migration is not None
    instance = site.estate.database(plan.migration.database).instance
    label = _label(plan)
    fresh = datetime.now(UTC) - BACKUP_IS_FRESH
    found = _matching_backup(site, instance, label, fresh)
    if found is None:
        operation = site.sql.start_backup(instance, label)
        site.sql.wait_operation(operation, BACKUP_DEADLINE, lambda status: progress.report("backup", instance, status))
        found = _matching_backup(site, instance, label, fresh)
    if found is None:
        raise PermanentError(
            f"backing up {instance} failed: the backup is not listed; look at the instance's operations"
        )
    return _good_backup(site, instance, found)


@task(**READ)
async def is_backed_up(site: Site, plan: ServicePlan) -> bool:
    """Whether a backup of this very release was ever begun: a run of it was about to migrate."""
    assert plan.migration is not None
    instance = site.estate.database(plan.migration.database).instance
    ever = datetime.min.replace(tzinfo=UTC)
    return await asyncio.to_thread(_matching_backup, site, instance, _label(plan), ever) is not None


def _label(plan: ServicePlan) -> str:
    return f"caretaker: before {plan.service} {plan.release}"


def _good_backup(site: Site, instance: str, backup: Backup) -> Backup:
    done = site.sql.wait_backup(instance, backup.id, BACKUP_DEADLINE)
    if done.status != "SUCCESSFUL":
        raise PermanentError(
            f"backing up {instance} failed: backup {done.id} ended {done.status} {done.error}; nothing was migrated; "
            "see the instance's operations and run the flow again"
        )
    return done


def _matching_backup(site: Site, instance: str, label: str, since: datetime) -> Backup | None:
    """The newest backup with this description that is under way, or that ended well since then."""
    for backup in site.sql.backups(instance, 20):
        if backup.description != label:
            continue
        if backup.status in ("ENQUEUED", "RUNNING") or (
            backup.status == "SUCCESSFUL" and backup.ended and backup.ended > since
        ):
            return backup
    return None


@task(**WRITE)
async def create_migration_job(site: Site, plan: ServicePlan, image: str) -> str:
    """Create the job that migrates with the new image, and return its name.

    Safe to repeat: the name is derived from the release; one that exists with the same image is taken as it is, one
    with another image is replaced.
    """
    return await asyncio.to_thread(_create_job, site, plan, image)


def _create_job(site: Site, plan: ServicePlan, image: str) -> str:
    name = naming.job_name(plan.service, plan.release)
    service = site.estate.service(plan.service)
    spec = plan.spec.model_copy(update={"image": image})
    try:
        found = site.run.get_job(name)
    except Missing:
        _new_job(site, service, name, spec, plan.release)
        return name
    if found.spec.image != image:
        site.run.delete_job(name)
        _new_job(site, service, name, spec, plan.release)
    return name


def _new_job(site: Site, service: Service, name: str, spec: RevisionSpec, release: str) -> None:
    command, arguments = command_of(service, migration_of(service).upgrade_to("head"))
    env = {**spec.env, "PGOPTIONS": f"-c lock_timeout={migration_of(service).lock_timeout_seconds}s"}
    labels = {**naming.labels(service.name), **naming.expiry(datetime.now(UTC) + MIGRATION_DEADLINE * 2, release)}
    try:
        site.run.create_job(
            name,
            spec.model_copy(update={"env": env}),
            command=command,
            args=arguments,
            labels=labels,
            annotations={},
            max_retries=0,
            timeout=MIGRATION_DEADLINE,
        )
    except Conflict:
        site.run.get_job(name)


def migration_of(service: Service) -> Migration:
    """The service's migration step. Raises BadInput where it has none."""
    if service.migration is None:
        raise BadInput(f"migrating {service.name} failed: the estate gives it no migration step; add one")
    return service.migration


def command_of(service: Service, words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The command and arguments by which an image runs these words. Buildpack images need their launcher."""
    return (("launcher",), words) if service.build == "buildpack" else (words[:1], words[1:])


@task(**WAIT)
async def migrate(site: Site, plan: ServicePlan, job: str, target: str, direction: Direction = "upgrade") -> str:
    """Bring the database to a revision by the release's job, and return the revision at which it then stands.

    Safe to repeat: nothing is started where the database already stands there, and an execution that is under way is
    waited for. A migration that gives up on a lock is tried again as often as the estate says; then the sessions that
    block it are named. Raises PermanentError with the migration's last words.
    """
    return await asyncio.to_thread(_migrate, site, plan, job, target, direction)


def _migrate(site: Site, plan: ServicePlan, job: str, target: str, direction: Direction) -> str:
    assert plan.migration is not None
    service = site.estate.service(plan.service)
    database = site.database(site.estate.database(plan.migration.database))
    said = ""
    with database.advisory_lock(MIGRATION_LOCK):
        for attempt in range(1, migration_of(service).attempts + 1):
            running = next((run for run in site.run.list_executions(job) if run.running), None)
            if running is None and database.alembic_revision() == target:
                return target
            done = _execute(site, service, job, target, direction, running)
            if done.succeeded and database.alembic_revision() == target:
                return target
            said = _last_words(site, done)
            if not _gave_up_on_lock(said):
                break
            progress.report("migrate", plan.service, f"attempt {attempt} gave up waiting for a lock")
        raise PermanentError(_why_not(site, plan, database.alembic_revision(), target, said))


def _execute(
    site: Site, service: Service, job: str, target: str, direction: Direction, running: ExecutionState | None
) -> ExecutionState:
    if running is None:
        step = migration_of(service)
        words = step.upgrade_to(target) if direction == "upgrade" else step.downgrade_to(target)
        _, arguments = command_of(service, words)
        running = site.run.run_job(job, args=arguments)
    progress.report("migrate", service.name, f"{running.name} is at work")
    return site.run.wait_execution(
        running.name,
        MIGRATION_DEADLINE,
        lambda state: progress.report("migrate", service.name, state.message or "at work"),
    )


@task(**WRITE)
async def delete_job(site: Site, job: str) -> None:
    """Delete a migration's job. Safe to repeat: deleting what is gone succeeds."""
    await asyncio.to_thread(site.run.delete_job, job)


def _last_words(site: Site, execution: ExecutionState) -> str:
    lines = site.logs.execution_lines(execution.name, 40)
    return " ".join(" ".join(lines).split())[-600:] or execution.message


def _gave_up_on_lock(said: str) -> bool:
    return any(word in said for word in ("LockNotAvailable", "lock timeout", "LockTimeout", "55P03"))


def _why_not(site: Site, plan: ServicePlan, stands: str | None, target: str, said: str) -> str:
    assert plan.migration is not None
    database = site.estate.database(plan.migration.database)
    blockers = site.database(database).blockers()
    held = "; ".join(f"pid {b.pid} ({b.user}, {b.state} since {b.since:%H:%M:%S})" for b in blockers)
    hint = (
        f"end what holds the lock: {held}"
        if _gave_up_on_lock(said) and held
        else "mend the migration; the new code was not released"
    )
    return f"migrating {database.name} to {target} failed: it stands at {stands}; {said}; {hint}"


async def lost_by_downgrade(site: Site, service: Service, ground: ServiceGround, current: str, target: str) -> str:
    """What a downgrade of the schema to a revision deletes, in words, read from the serving release's source."""
    digest = ground.stable_spec.annotations.get(naming.SOURCE, "") if ground.stable_spec else ""
    return await asyncio.to_thread(_lost_by_downgrade, site, service, digest, current, target)


def _lost_by_downgrade(site: Site, service: Service, digest: str, current: str, target: str) -> str:
    try:
        data = site.bucket.get(naming.archive_object(service.name, digest))
    except Missing:
        return "unknown: the source of the serving release is not kept any more"
    with unpacked(data) as folder:
        history = MigrationSource(folder / migration_of(service).folder).read()
        undone = migrations.undone(current, target, history)
        judged = schema.judge_downgrades(undone, None)
        return "; ".join((*judged.loses, *judged.unjudged))
