"""Restores a backup, or a moment, into a scratch instance that is there for one drill.

Safety property: production's instance is named in one call of this module, as what is cloned; every call that writes
names a scratch instance, and none that the estate names. A password is set on the copy alone, is never shown, and ends
with it. Each instance is born with a label, or has a note of its name in the bucket before it is asked for.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from datetime import UTC, datetime

from prefect import task
from pydantic import SecretStr

from tasks import progress
from tasks.analysis import drills
from tasks.backup_models import BackupState, Restored, Target
from tasks.clients.copy_url import login_user, url_of_copy
from tasks.clients.inspection import Inspector
from tasks.errors import Conflict, Missing, Refused
from tasks.estate import Database
from tasks.models import SecretPin
from tasks.policies import BACKUP_DEADLINE, WAIT, WRITE
from tasks.scratch_removal import NOTES, await_quiet, refuse_production
from tasks.site import Site

ADMINISTRATOR = "postgres"


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


@task(**WAIT)
async def restore(site: Site, database: Database, state: BackupState, target: Target, name: str) -> Restored:
    """Make the scratch instance and restore into it; how long that took is the measured RTO.

    Safe to repeat: the name is the run's own. An instance that is there already is taken, what is at work on it is
    waited for, and a backup restored twice is the same data.
    """
    return await asyncio.to_thread(_restore, site, database, state, target, name)


def _restore(site: Site, database: Database, state: BackupState, target: Target, name: str) -> Restored:
    refuse_production(site, name)
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
    await_quiet(site, name)


def _fill(site: Site, target: Target, name: str) -> None:
    assert target.backup is not None
    await_quiet(site, name)
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
        await_quiet(site, name)
    else:
        site.scratch.wait_operation(operation, BACKUP_DEADLINE, lambda status: progress.report("restore", name, status))
    site.scratch.make_scratch_of(name, marks)


@task(**WRITE)
async def open_copy(site: Site, database: Database, restored: Restored) -> Copy:
    """Give the copy's users passwords of their own, and log in.

    Safe to repeat: the passwords are set anew. Raises Missing when the database is not in the copy.
    """
    return await asyncio.to_thread(_open, site, database, restored)


def _open(site: Site, database: Database, restored: Restored) -> Copy:
    refuse_production(site, restored.instance)
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
