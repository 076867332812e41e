"""What a rotation does next, and what forbids to make a new version, from facts that were looked up. No I/O.

Safety property: the values and states in Secret Manager and what serves on Cloud Run decide, never a memory of an
earlier run. What was made and serves nowhere belongs to an attempt that failed, and is never used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from pydantic import ValidationError

from tasks.errors import Refused
from tasks.estate import Database, Estate, Service
from tasks.models import Frozen
from tasks.rotation_models import (
    DatabaseGround,
    Login,
    RotationGround,
    RotationMark,
    SecretState,
)

MARK = "caretaker-rotation"
#: A monthly run replaces what would be too old before the next one.
NEXT_RUN = timedelta(days=31)
#: How long what was taken out of use can be taken back.
DESTROY_DELAY = timedelta(days=30)
SHOWN = 5


class Unit(Frozen):
    """Secrets that are rotated together: a login's connection string and password, or one secret alone.

    ``main`` is the one that decides: its versions are what services are pinned to.
    """

    name: str
    kind: Literal["database", "generated", "external"]
    secrets: tuple[str, ...]
    database: str = ""
    max_age: timedelta
    overlap: timedelta = timedelta()

    @property
    def main(self) -> str:
        """The secret that decides."""
        return self.secrets[0]


class Stage(Frozen):
    """What is next: ``begin`` a new version, ``release`` a version to services, or ``retire`` all others."""

    do: Literal["begin", "release", "retire"]
    target: int = 0
    services: tuple[str, ...] = ()


def units(estate: Estate, chosen: Sequence[str] = ()) -> tuple[Unit, ...]:
    """What is rotated together, in the order of the estate; all where none is chosen. Raises BadInput."""
    for name in chosen:
        estate.secret(name)
    found: dict[str, Unit] = {}
    for secret in estate.secrets:
        database = next((one for one in estate.databases if secret.name in _of_database(one)), None)
        names = _of_database(database) if secret.rotation == "database" and database else (secret.name,)
        if chosen and not set(chosen) & set(names):
            continue
        found[names[0]] = Unit(
            name=names[0], kind=secret.rotation, secrets=names,
            database=database.name if database and secret.rotation == "database" else "",
            max_age=secret.max_age, overlap=timedelta(days=secret.overlap_days),
        )
    return tuple(found.values())


def _of_database(database: Database) -> tuple[str, ...]:
    names = (database.url_secret, database.password_secret)
    return tuple(name for name in names if name)


def users_of(estate: Estate, unit: Unit) -> tuple[Service, ...]:
    """The services of the estate that refer to one of the secrets."""
    return tuple(
        service for service in estate.services
        if any(reference.partition("@")[0] in unit.secrets for reference in service.secrets.values())
    )


def read_mark(state: SecretState) -> RotationMark | None:
    """The mark of a rotation under way; None where there is none. Raises Refused where it is not ours."""
    value = state.annotations.get(MARK, "")
    if not value:
        return None
    try:
        return RotationMark.model_validate_json(value)
    except ValidationError:
        raise Refused(
            f"reading the rotation mark of secret {state.name} failed: annotation {MARK} is not ours; see what it is "
            f"for, then: gcloud secrets update {state.name} --remove-annotations={MARK}"
        ) from None


def write_mark(mark: RotationMark) -> str:
    """The mark as the value of the annotation ``MARK``."""
    return mark.model_dump_json()


def newest_pinned(ground: RotationGround, unit: Unit) -> int:
    """The newest version of the main secret that serves; where no service is pinned, the newest enabled one."""
    pinned = max(ground.pins.values(), default=0)
    return pinned or max((version.number for version in ground.secrets[unit.main].enabled()), default=0)


def next_stage(unit: Unit, ground: RotationGround, mark: RotationMark | None) -> Stage:
    """What is next.

    A version that was made under the mark and serves somewhere proved itself there: it is given to the other services,
    and the old ones go. One that serves nowhere is never used again, since its attempt failed or was killed.
    """
    state = ground.secrets[unit.main]
    if unit.kind == "external":
        target = max((version.number for version in state.enabled()), default=0)
    elif mark is None:
        return Stage(do="begin")
    else:
        made = {version.number for version in state.enabled(mark.after.get(unit.main, 0))}
        serving = {number for number in ground.pins.values() if number in made}
        # Nobody is pinned: receivers take every enabled version, so the newest one is in use by being there.
        target = max(serving or (made if not ground.pins and unit.kind == "generated" else ()), default=0)
    if not target:
        return Stage(do="begin")
    behind = tuple(sorted(name for name, number in ground.pins.items() if number != target))
    return Stage(do="release" if behind else "retire", target=target, services=behind)


def orphans(unit: Unit, ground: RotationGround, mark: RotationMark) -> dict[str, tuple[int, ...]]:
    """The enabled versions, by secret, that were made under the mark and serve nowhere.

    A connection string of another user than the mark's was added by somebody else meanwhile, and is left alone.
    """
    used = set(ground.pins.values())
    database = ground.database
    paired = {database.pairs[number] for number in used if number in database.pairs} if database else set()
    return {
        name: tuple(
            version.number for version in ground.secrets[name].enabled(mark.after.get(name, 0))
            if version.number not in (used if name == unit.main else paired)
            and (name != unit.main or not mark.user or database is None or database.of.get(version.number) == mark.user)
        )
        for name in unit.secrets
    }


def is_due(unit: Unit, ground: RotationGround, now: datetime) -> bool:
    """Whether the version that serves would be too old before the next monthly run."""
    version = ground.secrets[unit.main].version(newest_pinned(ground, unit))
    return version is None or now - version.created + NEXT_RUN > unit.max_age


def idle_user(database: Database, ground: DatabaseGround) -> str:
    """The login user that does not serve: the one that gets a new password."""
    return next((user for user in database.users if user != ground.serving), "")


def refusals(estate: Estate, unit: Unit, ground: RotationGround, mark: RotationMark | None) -> tuple[str, ...]:
    """Why a new version must not be made: each names what stands in the way, and the way out."""
    return (
        *_pinned_by_estate(estate, unit),
        *(_strangers(unit, ground, mark) if unit.kind != "external" else ()),
        *(_database_refusals(estate.database(unit.database), ground) if ground.database else ()),
    )


def _pinned_by_estate(estate: Estate, unit: Unit) -> Iterable[str]:
    for service in estate.services:
        for variable, reference in service.secrets.items():
            name, _, version = reference.partition("@")
            if name in unit.secrets and version:
                yield (
                    f"the estate pins services.{service.name}.secrets.{variable} to {reference}, so the next deploy "
                    f"would go back to it; write {name} alone"
                )


def _strangers(unit: Unit, ground: RotationGround, mark: RotationMark | None) -> Iterable[str]:
    """Newer versions that somebody added and nobody uses: whose they are, only that person knows."""
    if not ground.pins:
        return
    ours = orphans(unit, ground, mark)[unit.main] if mark else ()
    for version in ground.secrets[unit.main].enabled(newest_pinned(ground, unit)):
        if version.number in ours:
            continue
        yield (
            f"version {version.number} of secret {unit.main} was added by somebody else and serves nowhere; deploy it, "
            f"or disable it: gcloud secrets versions disable {version.number} --secret={unit.main}"
        )


def _database_refusals(database: Database, ground: RotationGround) -> Iterable[str]:
    assert ground.database is not None
    logins, idle = ground.database.logins, idle_user(database, ground.database)
    if not ground.pins:
        yield f"no service of the estate reads secret {database.url_secret}; name it in a service's 'secrets'"
    if len(set(database.users)) < 2:
        yield f"databases.{database.name}.users names one user; two are needed, between which a rotation alternates"
        return
    missing = [user for user in (database.owner, database.rotator, *database.users) if user not in logins]
    if missing or not ground.database.rotator:
        yield (
            f"{database.name} is not prepared: {', '.join(missing) or database.rotator} is missing; prepare it once: "
            f"caretaker run rotate-secrets --param prepare=true"
        )
        return
    if logins[database.owner].can_log_in:
        yield f"{database.owner} can log in, so its password would outlive every rotation; ALTER ROLE … NOLOGIN"
    if not logins[idle].managed:
        yield (
            f"{database.rotator} may not change {idle}, which was made by somebody else; name two new users in "
            f"databases.{database.name}.users, then: caretaker run rotate-secrets --param prepare=true"
        )
    first, second = (logins[user] for user in database.users[:2])
    yield from differences(first, second)


def differences(one: Login, other: Login) -> Iterable[str]:
    """In what two login users differ, as sentences: a service would behave otherwise after the change."""
    for has, lacks in ((one, other), (other, one)):
        found = sorted(has.traits - lacks.traits)
        if found:
            more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            what = f"{'; '.join(found[:SHOWN])}{more}"
            yield f"{has.name} and {lacks.name} differ: {has.name} has {what}; make them alike"
