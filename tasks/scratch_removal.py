"""Removes what a drill made: its own scratch instance at its end, and what killed runs left at the next one's start.

Safety property: only what bears a drill's label is deleted, and nothing that the estate names. A clone, which cannot be
born with a label and may fail before it can be given one, is known by the note of its name that was written into the
bucket before it was asked for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from prefect import task

from tasks import progress
from tasks.analysis import drills
from tasks.errors import Missing, OpsError, PermanentError, Refused
from tasks.estate import Database
from tasks.models import Finding
from tasks.parallel import to_the_end
from tasks.policies import BACKUP_DEADLINE, WAIT
from tasks.site import Site

NOTES = "drills"


@asynccontextmanager
async def scratch_instance(site: Site, name: str) -> AsyncIterator[list[Finding]]:
    """Delete the scratch instance at the end, however the drill ends; after a ``kill -9`` a sweep does it.

    Where that fails, the drill keeps its verdict: the list that is given gets a finding, and the next sweep deletes it.
    """
    left = list[Finding]()
    try:
        yield left
    finally:
        try:
            await to_the_end(delete_scratch(site, name))
        except OpsError as error:
            way_out = "the next drill deletes it, and it costs until then"
            left.append(Finding(severity="error", subject=name, what=str(error), way_out=way_out))


@task(**WAIT)
async def delete_scratch(site: Site, name: str) -> None:
    """Delete a scratch instance and the note of it. Safe to repeat: deleting what is gone succeeds."""
    await asyncio.to_thread(_delete, site, name)


def _delete(site: Site, name: str) -> None:
    refuse_production(site, name)
    try:
        marks = site.scratch.instance(name).labels
    except Missing:
        marks = None
    if marks is not None:
        await_quiet(site, name)
        if drills.LABEL_DRILL not in marks:
            _adopt(site, name)
        site.scratch.delete_instance(name)
    if site.bucket.exists(f"{NOTES}/{name}.json"):
        site.bucket.delete(f"{NOTES}/{name}.json")


@task(**WAIT)
async def sweep(site: Site, database: Database) -> tuple[str, ...]:
    """Delete what killed drills left: instances, services and secrets that bear our label and are over, or this
    database's, whose lock the caller holds.

    Safe to repeat: deleting what is gone succeeds. Nothing without the label is touched, and nothing that the estate
    names.
    """
    return await asyncio.to_thread(_sweep, site, database)


def _sweep(site: Site, database: Database) -> tuple[str, ...]:
    _adopt_clones(site, database)
    now, ours = datetime.now(UTC), estate_names(site)

    def over(name: str, marks: dict[str, str]) -> bool:
        return drills.is_leftover(name, marks, database.name, ours, now)

    services = [service.name for service in site.run.list_services() if over(service.name, service.labels)]
    noted = _noted(site, database)
    kept = [name for name, marks in site.temporary_secrets.labelled(drills.LABEL_DRILL).items() if over(name, marks)]
    instances = [
        instance.name for instance in site.scratch.list_instances()
        if over(instance.name, instance.labels) or instance.name in noted
    ]  # fmt: skip
    for name in services:
        site.run.delete_service(name)
    for name in kept:
        site.temporary_secrets.delete_temporary(name, drills.LABEL_DRILL)
    for name in instances:
        _delete(site, name)
    return (*services, *kept, *instances)


def _noted(site: Site, database: Database) -> frozenset[str]:
    """The clones of this database that a run wrote down before it asked for them; never what the estate names."""
    names = (path.removeprefix(f"{NOTES}/").removesuffix(".json") for path in site.bucket.list(f"{NOTES}/"))
    return frozenset(name for name in names if _database_of(site, name) == database.name) - estate_names(site)


def _database_of(site: Site, name: str) -> str:
    return str(json.loads(site.bucket.get(f"{NOTES}/{name}.json"))["database"])


def _adopt_clones(site: Site, database: Database) -> None:
    """Label what a killed run had cloned and not labelled yet; forget the notes of what never came to be."""
    there = {instance.name: instance.labels for instance in site.scratch.list_instances()}
    for name in sorted(_noted(site, database)):
        if name not in there:
            site.bucket.delete(f"{NOTES}/{name}.json")
        elif drills.LABEL_DRILL not in there[name]:
            await_quiet(site, name)
            _label(site, name, database.name)


def _adopt(site: Site, name: str) -> None:
    """Label an instance that our own note names. Raises Refused for one that bears no label and has no note."""
    path = f"{NOTES}/{name}.json"
    if not site.bucket.exists(path):
        raise Refused(f"deleting {name} refused: it does not bear the label {drills.LABEL_DRILL}; delete it by hand")
    _label(site, name, _database_of(site, name))


def _label(site: Site, name: str, database: str) -> None:
    """Label a clone that a note of ours names. One that failed may not take a label any more: the note must do."""
    try:
        site.scratch.make_scratch_of(name, drills.labels(database, datetime.now(UTC)))
    except PermanentError as error:
        progress.report("sweep", name, f"labelling a clone that failed: {error}")


def await_quiet(site: Site, name: str) -> None:
    """Wait for what is at work on the instance: an earlier attempt lost the answer to what it had started."""
    for operation in site.scratch.under_way(name):
        site.scratch.wait_operation(operation, BACKUP_DEADLINE)


def refuse_production(site: Site, name: str) -> None:
    if name in estate_names(site):
        raise Refused(f"changing {name} refused: the estate names it; a drill works on scratch instances alone")


def estate_names(site: Site) -> frozenset[str]:
    estate = site.estate
    named = [*(service.name for service in estate.services), *(secret.name for secret in estate.secrets)]
    return frozenset({*(database.instance for database in estate.databases), *named})
