"""Looks up what a rotation is decided on: versions, who uses them, and the roles of the database. Reads only.

Safety property: values are read to tell whose a login is and which two belong together; names and numbers alone leave
this module.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from prefect import task
from pydantic import SecretStr

from tasks import progress
from tasks.analysis import rotation
from tasks.analysis.rotation import Unit
from tasks.analysis.rotation_pins import kept, leads, pins, previous, stable
from tasks.analysis.rotation_use import ROLLBACK_WINDOW, explained, rollback_targets
from tasks.clients.login_url import password_of, user_of
from tasks.clients.login_users import LoginUsers
from tasks.clients.polling import wait_for
from tasks.errors import BadInput, PermanentError, TransientError
from tasks.estate import Database
from tasks.models import SecretPin, ServiceState
from tasks.parallel import all_of
from tasks.policies import READ, WAIT
from tasks.record import changes_of
from tasks.rotation_models import DatabaseGround, Reference, RotationGround, SecretState, Session
from tasks.site import Site

#: Longest pause between two looks at the sessions of the old user.
SESSIONS_EVERY = timedelta(seconds=2)


async def look(site: Site, unit: Unit) -> RotationGround:
    """Look up everything about one rotation."""
    states = await all_of(*(read_secret(site, name) for name in unit.secrets))
    secrets = {state.name: state for state in states}
    services, found = await read_uses(site, unit)
    references = kept(site.estate, services, await _explained(site, services, found, secrets))
    pinned, unpinned = pins(services, references, unit.main)
    ground = RotationGround(
        secrets=secrets, references=references, pins=pinned, previous=previous(references, unit.main), unpinned=unpinned
    )
    if not unit.database:
        return ground
    database = site.estate.database(unit.database)
    serving = rotation.newest_pinned(ground, unit)
    return ground.model_copy(update={"database": await read_database(site, database, secrets, serving)})


@task(**READ)
async def read_secret(site: Site, name: str) -> SecretState:
    """Read a secret and its versions. Raises Missing."""
    return await asyncio.to_thread(site.rotating_secrets.look, name)


@task(**READ)
async def read_uses(site: Site, unit: Unit) -> tuple[dict[str, ServiceState], tuple[Reference, ...]]:
    """Every service of the project, and every revision and job that refers to one of the secrets."""
    return await asyncio.to_thread(_read_uses, site, frozenset(unit.secrets))


def _read_uses(site: Site, secrets: frozenset[str]) -> tuple[dict[str, ServiceState], tuple[Reference, ...]]:
    services = {state.name: state for state in site.run.list_services()}
    revisions = [one for name in services for one in site.secret_references.revisions(name, secrets)]
    return services, (*revisions, *site.secret_references.jobs(secrets))


async def _explained(
    site: Site, services: dict[str, ServiceState], found: tuple[Reference, ...], secrets: dict[str, SecretState]
) -> tuple[Reference, ...]:
    """The references with why each counts: who serves is read from Cloud Run, who served before from the ledger."""
    ours = frozenset(service.name for service in site.estate.services)
    concerned = sorted({one.service for one in found if one.service})
    changes = dict(zip(concerned, await all_of(*(changes_of(site, name) for name in concerned)), strict=True))
    known = {
        name: (leads(services[name]), rollback_targets(changes[name], stable(services[name]), ROLLBACK_WINDOW))
        for name in concerned
    }
    return explained(found, known, ours, datetime.now(UTC), secrets)


@task(**READ)
async def read_database(
    site: Site, database: Database, secrets: dict[str, SecretState], serving: int
) -> DatabaseGround:
    """Read the roles as the login that serves, and whose each enabled version is. Raises Missing without a version."""
    return await asyncio.to_thread(_read_database, site, database, secrets, serving)


def _read_database(site: Site, database: Database, secrets: dict[str, SecretState], serving: int) -> DatabaseGround:
    urls = site.rotating_secrets.values(database.url_secret, secrets[database.url_secret].enabled())
    if serving not in urls:
        raise PermanentError(
            f"reading secret {database.url_secret} failed: version {serving or 'none'}, which serves, is not enabled; "
            f"give the traffic to a revision with another one, or enable it: "
            f"{site.rotating_secrets.undo(database.url_secret, serving)}"
        )
    url = urls[serving]
    user, password = user_of(url), password_of(url)
    if password is None:
        return DatabaseGround(serving=user, passwordless=True)
    client = LoginUsers(url)
    logins = client.logins((database.owner, database.rotator, *database.users, user), database.rotator)
    return DatabaseGround(
        serving=user, logins=logins, rotator=any(login.managed for login in logins.values()),
        of={number: _user(one) for number, one in urls.items()}, pairs=_pairs(site, database, secrets, urls),
        sessions=client.sessions({*database.users, *map(_user, urls.values())} - {""}),
    )


def _pairs(
    site: Site, database: Database, secrets: dict[str, SecretState], urls: dict[int, SecretStr]
) -> dict[int, int]:
    """Which version of the password's secret holds the password of which connection string."""
    if not database.password_secret:
        return {}
    name = database.password_secret
    passwords = site.rotating_secrets.values(name, secrets[name].enabled())
    held = {value: number for number, value in sorted(passwords.items())}
    found = {number: _password(url) for number, url in urls.items()}
    return {number: held[value] for number, value in found.items() if value in held}


def _user(url: SecretStr) -> str:
    """The user of a connection string; empty for a text that is none."""
    try:
        return user_of(url)
    except BadInput:
        return ""


def _password(url: SecretStr) -> SecretStr | None:
    """The password of a connection string; None for a text that is none."""
    try:
        return password_of(url)
    except BadInput:
        return None


@task(**READ)
async def prove_login(site: Site, database: Database, version: int) -> None:
    """Log in anew with a version of the connection string, and do what the application does.

    Safe to repeat: what it makes is rolled back. Raises NotAllowed or PermanentError, saying what it may not do.
    """
    pin = SecretPin(secret=database.url_secret, version=str(version))

    def prove() -> None:
        url = site.rotating_secrets.access(pin)
        LoginUsers(url, "caretaker rotation").prove(database.owner, database.must_not_be_empty)

    await asyncio.to_thread(prove)


@task(**WAIT)
async def await_sessions(
    site: Site, database: Database, version: int, users: tuple[str, ...], longest: timedelta
) -> tuple[Session, ...]:
    """Wait until these users have no open session; the sessions that are left after the longest time.

    Asks as the login of a version of the connection string. Safe to repeat: it only looks.
    """
    return await asyncio.to_thread(_await_sessions, site, database, version, users, longest)


def _await_sessions(
    site: Site, database: Database, version: int, users: tuple[str, ...], longest: timedelta
) -> tuple[Session, ...]:
    client = LoginUsers(site.rotating_secrets.access(SecretPin(secret=database.url_secret, version=str(version))))

    def tell(found: tuple[Session, ...]) -> None:
        progress.report("sessions", ", ".join(users), f"{len(found)} are still open")

    try:
        return wait_for(
            lambda: client.sessions(users), lambda found: not found, longest, f"the sessions of {', '.join(users)}",
            most=SESSIONS_EVERY, on_poll=tell,
        )
    except TransientError:
        return client.sessions(users)  # raises anew where it was the look itself that failed


@task(**READ)
async def check_external(site: Site, secret: str, version: int) -> bool:
    """Try a value at its provider, as the estate says how; whether the estate says so.

    Raises PermanentError where the provider does not take it.
    """
    rule = site.estate.secret(secret).check
    if rule is None:
        return False
    from tasks.clients.secret_check import check

    pin = SecretPin(secret=secret, version=str(version))
    await asyncio.to_thread(lambda: check(rule, site.rotating_secrets.access(pin), f"{secret} version {version}"))
    return True
