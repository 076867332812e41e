"""Makes the new versions of a rotation, and the password that they hold.

Safety property: a password is made inside the step that uses it and is in no parameter, result, log or message. A step
that is repeated first takes back what its earlier attempt made: a password of a failed attempt is never used again.
"""

from __future__ import annotations

import asyncio

from prefect import task
from pydantic import SecretStr

from tasks import progress
from tasks.analysis.rotation import Unit
from tasks.clients.login_url import password_of, with_login
from tasks.clients.rotator import as_rotator, random_value
from tasks.estate import Database
from tasks.policies import WRITE
from tasks.rotation_changes import connection_string
from tasks.rotation_models import RotationMark
from tasks.rotation_taking_back import burn
from tasks.site import Site


@task(**WRITE)
async def make_versions(site: Site, unit: Unit, mark: RotationMark, serving: int, end: bool) -> dict[str, int]:
    """Give the idle user a new password, and add the versions that hold it; their numbers, by secret.

    ``serving`` is the version of the connection string whose login is replaced. Nothing uses the new ones yet. ``end``:
    after a leak the idle user's sessions are somebody else's, and are ended. Safe to repeat: what an earlier attempt
    added is disabled first, and the password is another; one that receivers read already, by its being there, is it.
    """
    taken = await burn(site, unit, mark)
    return {unit.main: taken} if taken else await asyncio.to_thread(_make_versions, site, unit, mark, serving, end)


def _make_versions(site: Site, unit: Unit, mark: RotationMark, serving: int, end: bool) -> dict[str, int]:
    value = random_value()
    values = {unit.main: value}
    if unit.database:
        database = site.estate.database(unit.database)
        url = connection_string(site, database, serving)
        progress.report("rotate", mark.user, "a new password for the idle user")
        client = as_rotator(site.sql, database, url)
        client.renew(mark.user, value)
        if end:
            client.end_sessions(mark.user)
        values = dict.fromkeys(unit.secrets, value) | {unit.main: with_login(url, mark.user, value)}
    return {name: site.rotating_secrets.add_version(name, values[name]).version for name in unit.secrets}


@task(**WRITE)
async def complete_pair(site: Site, database: Database, version: int) -> int:
    """The version of the password's secret that holds this connection string's password, added where it is missing.

    Safe to repeat: it looks first.
    """
    return await asyncio.to_thread(_complete_pair, site, database, version)


def _complete_pair(site: Site, database: Database, version: int) -> int:
    assert database.password_secret is not None
    name, manager = database.password_secret, site.rotating_secrets
    wanted = password_of(connection_string(site, database, version)) or SecretStr("")
    held = manager.values(name, manager.look(name).enabled())
    found = [number for number, value in held.items() if value == wanted]
    return max(found) if found else manager.add_version(name, wanted).version
