"""Restores a backup, or a moment, into a scratch instance that is there for one drill, and removes it again.

Safety property: production's instance is named in one call of this module, as what is cloned; every call that writes
names a scratch instance, and none that the estate names. A password is set on the copy alone, is never shown, and ends
with it. What a killed run left is found by its label; a clone, which cannot be born with one and may fail before it can
be given one, by the note of its name that was written into the bucket before it was asked for.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from prefect import task
from pydantic import SecretStr

from tasks import progress
from tasks.analysis import drills
from tasks.backup_models import BackupState, Restored, Target
from tasks.clients.copy_url import login_user, url_of_copy
from tasks.clients.inspection import Inspector
from tasks.errors import Conflict, Missing, OpsError, PermanentError, Refused
from tasks.estate import Database
from tasks.models import Finding, SecretPin
from tasks.parallel import to_the_end
from tasks.policies import BACKUP_DEADLINE, WAIT, WRITE
from tasks.site import Site

ADMINISTRATOR = "postgres"
NOTES = "drills"


class Copy:
    """A restored copy and its logins. A plain class on purpose: it is never stored, and its ``repr`` shows no login."""

    def __init__(self, restored: Restored, application: SecretStr, administrator: SecretStr, user: str) -> None:
        self.restored, self.url, self._administrator, self.user = restored, application, administrator, user

    @property
    def name(self) -> str:
        return self.restored.instance

    @property
    def inspector(self) -> Inspector:
        """The copy as the application sees it."""
        return Inspector(self.url)

    @property
    def administrator(self) -> Inspector:
        """The copy as its administrator sees it, for ``amcheck``."""
        return Inspector(self._administrator)

    def __repr__(self) -> str:
        return f"Copy({self.restored.instance})"


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
async def restore(site: Site, database: Database, state: BackupState, target: Target, name: str) -> Restored:
    """Make the scratch instance and restore into it; how long that took is the measured RTO.

    Safe to repeat: the name is the run's own. An instance that is there already is taken, what is at work on it is
    waited for, and a backup restored twice is the same data.
    """
    return await asyncio.to_thread(_restore, site, database, state, target, name)


def _restore(site: Site, database: Database, state: BackupState, target: Target, name: str) -> Restored:
    _refuse_production(site, name)
    began = time.monotonic()
    marks = drills.labels(database.name, datetime.now(UTC))
    if target.moment is not None:
        _clone(site, database, target.moment, name, marks)
        created = 0.0
    else:
        _create(site, database, state, name, marks)
        created = time.monotonic() - began
        _fill(site, target, name)
    found = site.scratch.instance(name)
    return Restored(
        instance=name, connection_name=found.connection_name, tier=found.tier, create_seconds=round(created, 2),
        seconds=round(time.monotonic() - began, 2),
    )  # fmt: skip


def _create(site: Site, database: Database, state: BackupState, name: str, marks: dict[str, str]) -> None:
    tier = database.drill.tier or drills.cheapest(site.scratch.tiers(), state.disk_gb) or state.tier
    progress.report("restore", name, f"creating a {tier}")
    try:
        site.scratch.create_scratch(name, database.instance, tier, marks)
    except Conflict:
        _refuse_stranger(site, name)
    _await_quiet(site, name)


def _fill(site: Site, target: Target, name: str) -> None:
    assert target.backup is not None
    _await_quiet(site, name)
    operation = site.scratch.restore(target.backup.id, target.backup.instance, name)
    progress.report("restore", name, f"restoring {target.what}")
    site.scratch.wait_operation(operation, BACKUP_DEADLINE, lambda status: progress.report("restore", name, status))


def _clone(site: Site, database: Database, moment: datetime, name: str, marks: dict[str, str]) -> None:
    note = json.dumps({"database": database.name, "at": datetime.now(UTC).isoformat()}).encode()
    if not site.bucket.exists(f"{NOTES}/{name}.json"):
        _refuse_taken(site, name)
    site.bucket.put_if_absent(f"{NOTES}/{name}.json", note, "application/json")
    progress.report("restore", name, f"cloning {database.instance} as of {moment:%Y-%m-%d %H:%M:%S} UTC")
    try:
        operation = site.scratch.clone_to(database.instance, name, moment)
    except Conflict:
        _await_quiet(site, name)
    else:
        site.scratch.wait_operation(operation, BACKUP_DEADLINE, lambda status: progress.report("restore", name, status))
    site.scratch.make_scratch_of(name, marks)


def _await_quiet(site: Site, name: str) -> None:
    """Wait for what is at work on the instance: an earlier attempt lost the answer to what it had started."""
    for operation in site.scratch.under_way(name):
        site.scratch.wait_operation(operation, BACKUP_DEADLINE)


@task(**WRITE)
async def open_copy(site: Site, database: Database, restored: Restored) -> Copy:
    """Give the copy's users passwords of their own, and log in.

    Safe to repeat: the passwords are set anew. Raises Missing when the database is not in the copy.
    """
    return await asyncio.to_thread(_open, site, database, restored)


def _open(site: Site, database: Database, restored: Restored) -> Copy:
    _refuse_production(site, restored.instance)
    secret = site.secrets.access(SecretPin(secret=database.url_secret, version="latest"))
    user = login_user(secret, database)
    administrator = _new_login(site, database, restored, secret, ADMINISTRATOR)
    try:
        application = _new_login(site, database, restored, secret, user)
    except Missing:  # the copy is of a time before this user; L3 says so where that is wrong
        user, application = ADMINISTRATOR, administrator
    copy = Copy(restored, application, administrator, user)
    with copy.inspector.session() as session:
        session.now()
    return copy


def _new_login(site: Site, database: Database, restored: Restored, secret: SecretStr, user: str) -> SecretStr:
    """Give a user of the copy a password of its own; the connection string with it."""
    production = f"{site.estate.google.project}:{site.estate.google.region}:{database.instance}"
    password = SecretStr(f"{secrets.token_urlsafe(24)}aA1-")
    url = url_of_copy(secret, database, production, restored.connection_name, user, password)
    site.scratch.set_password(restored.instance, user, password)
    return url


@task(**WAIT)
async def delete_scratch(site: Site, name: str) -> None:
    """Delete a scratch instance and the note of it. Safe to repeat: deleting what is gone succeeds."""
    await asyncio.to_thread(_delete, site, name)


def _delete(site: Site, name: str) -> None:
    _refuse_production(site, name)
    try:
        marks = site.scratch.instance(name).labels
    except Missing:
        marks = None
    if marks is not None:
        _await_quiet(site, name)
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
    now, ours = datetime.now(UTC), _estate_names(site)

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
    return frozenset(name for name in names if _database_of(site, name) == database.name) - _estate_names(site)


def _database_of(site: Site, name: str) -> str:
    return str(json.loads(site.bucket.get(f"{NOTES}/{name}.json"))["database"])


def _adopt_clones(site: Site, database: Database) -> None:
    """Label what a killed run had cloned and not labelled yet; forget the notes of what never came to be."""
    there = {instance.name: instance.labels for instance in site.scratch.list_instances()}
    for name in sorted(_noted(site, database)):
        if name not in there:
            site.bucket.delete(f"{NOTES}/{name}.json")
        elif drills.LABEL_DRILL not in there[name]:
            _await_quiet(site, name)
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


def _refuse_production(site: Site, name: str) -> None:
    if name in _estate_names(site):
        raise Refused(f"changing {name} refused: the estate names it; a drill works on scratch instances alone")


def _refuse_taken(site: Site, name: str) -> None:
    """A note makes an instance ours: none is written for one that is there already, whatever it is."""
    try:
        site.scratch.instance(name)
    except Missing:
        return
    raise Refused(f"cloning into {name} refused: there is such an instance, and no note of ours; look what it is")


def _refuse_stranger(site: Site, name: str) -> None:
    if drills.LABEL_DRILL not in site.scratch.instance(name).labels:
        raise Refused(f"restoring into {name} refused: it bears no label of a drill; look what it is")


def _estate_names(site: Site) -> frozenset[str]:
    estate = site.estate
    named = [*(service.name for service in estate.services), *(secret.name for secret in estate.secrets)]
    return frozenset({*(database.instance for database in estate.databases), *named})
