"""The writing steps of a rotation, but for the one that makes a new version.

Safety property: each looks first, so each may be repeated; no value is in a parameter, result, log or message.
"""

from __future__ import annotations

import asyncio

from prefect import task
from pydantic import SecretStr

from tasks import progress
from tasks.analysis import rotation
from tasks.analysis.rotation import CURRENT, DESTROY_DELAY, MARK, Unit
from tasks.clients.login_url import user_of
from tasks.clients.login_users import LoginUsers
from tasks.clients.rotator import as_rotator, random_value
from tasks.errors import Refused
from tasks.estate import Database
from tasks.models import SecretPin
from tasks.policies import WRITE
from tasks.rotation_models import RotationMark, Version
from tasks.site import Site


@task(**WRITE)
async def put_mark(site: Site, unit: Unit, mark: RotationMark) -> None:
    """Write down, in the secret itself, that a rotation is under way. Safe to repeat: it looks first."""
    await asyncio.to_thread(_annotate, site, unit.main, rotation.write_mark(mark))


@task(**WRITE)
async def remove_mark(site: Site, unit: Unit) -> None:
    """Write down that the rotation is over. Safe to repeat: it looks first."""
    await asyncio.to_thread(_annotate, site, unit.main, "")


def _annotate(site: Site, secret: str, value: str) -> None:
    site.rotating_secrets.annotate(site.rotating_secrets.look(secret), MARK, value)


@task(**WRITE)
async def point_alias(site: Site, versions: dict[str, int]) -> None:
    """Let the alias of each secret stand for the version that everybody accepts now. Safe to repeat: it looks first.

    Raises Refused for a version that is not enabled, which nobody could read.
    """
    await asyncio.to_thread(_point, site, versions)


def _point(site: Site, versions: dict[str, int]) -> None:
    for name, number in versions.items():
        state = site.rotating_secrets.look(name)
        if number not in {version.number for version in state.enabled()}:
            raise Refused(f"pointing alias {CURRENT} of {name} at version {number} refused: it is not enabled")
        site.rotating_secrets.point(state, CURRENT, number)


@task(**WRITE)
async def retire_versions(site: Site, name: str, numbers: tuple[int, ...]) -> tuple[Version, ...]:
    """Disable versions, and have them destroyed after 30 days or more; how they are then.

    Safe to repeat: it looks first.
    """
    return await asyncio.to_thread(lambda: tuple(_retire(site, name, number) for number in numbers))


def _retire(site: Site, name: str, number: int) -> Version:
    manager = site.rotating_secrets
    manager.delay_destruction(manager.look(name), DESTROY_DELAY)
    progress.report("retire", name, f"version {number} is disabled")
    return manager.retire(name, number, DESTROY_DELAY)


@task(**WRITE)
async def lock_users(site: Site, database: Database, users: tuple[str, ...], serving: int, end: bool) -> None:
    """Let users log in no more and, where ``end`` says so, end their sessions.

    One that the rotator may not change gets a password instead that nobody knows. Safe to repeat.
    """
    await asyncio.to_thread(_lock_users, site, database, users, serving, end)


def _lock_users(site: Site, database: Database, users: tuple[str, ...], serving: int, end: bool) -> None:
    url = connection_string(site, database, serving)
    if user_of(url) in users:
        raise Refused(f"locking {user_of(url)} refused: it is the login that serves; run the flow again")
    client = as_rotator(site.sql, database, url)
    managed = client.logins(users, database.rotator)
    for user in users:
        progress.report("lock", user, "it may not log in any more")
        if managed[user].managed:
            client.lock(user)
        else:
            site.sql.set_password(database.instance, user, random_value())
        if end:
            client.end_sessions(user)


@task(**WRITE)
async def prepare_database(site: Site, database: Database, serving: int) -> None:
    """Make the rotator, the owner and the login users where they are missing, and let the owner own everything.

    Safe to repeat: every step looks first. The login that serves becomes a member of the owner and goes on.
    """
    await asyncio.to_thread(_prepare, site, database, serving)


def _prepare(site: Site, database: Database, serving: int) -> None:
    url = connection_string(site, database, serving)
    rotator = as_rotator(site.sql, database, url, make=True)
    rotator.prepare(database.owner, database.users)
    if user_of(url) not in database.users:
        rotator.join(database.owner, user_of(url))
        LoginUsers(url, "caretaker rotation").give_away(database.owner)
    rotator.own_database(database.owner)


def connection_string(site: Site, database: Database, version: int) -> SecretStr:
    """A version of the connection string."""
    return site.rotating_secrets.access(SecretPin(secret=database.url_secret, version=str(version)))
