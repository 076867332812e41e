"""What a rotation does next, from facts that were looked up. No I/O.

Safety property: the values and states in Secret Manager and what serves on Cloud Run decide, never a memory of an
earlier run. What was made and serves nowhere belongs to an attempt that failed, and is never used again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from pydantic import ValidationError

from tasks.errors import Refused
from tasks.estate import Database, Estate, Service
from tasks.models import Frozen
from tasks.rotation_models import (
    DatabaseGround,
    RotationGround,
    RotationMark,
    SecretState,
    Version,
)

MARK = "caretaker-rotation"
#: The alias that stands for the version which every receiver accepts: for jobs, and senders outside of the estate.
CURRENT = "current"
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
        made = {version.number for version in made_under(state, mark)}
        serving = {number for number in ground.pins.values() if number in made}
        # Nobody is pinned: receivers take every enabled version, so the newest one is in use by being there.
        target = max(serving or (made if not ground.pins and unit.kind == "generated" else ()), default=0)
    if not target:
        return Stage(do="begin")
    behind = tuple(sorted(name for name, number in ground.pins.items() if number != target))
    return Stage(do="release" if behind else "retire", target=target, services=behind)


def made_under(state: SecretState, mark: RotationMark) -> tuple[Version, ...]:
    """The enabled versions of a secret that were made under the mark; none of a secret that it does not know."""
    return state.enabled(mark.after.get(state.name, state.newest))


def serving(ground: RotationGround, name: str) -> set[int]:
    """The versions of a secret that a revision with any share of the traffic uses, a canary's too."""
    return {one.number for one in ground.references if one.secret == name and one.serves and one.number}


def orphans(unit: Unit, ground: RotationGround, mark: RotationMark) -> dict[str, tuple[int, ...]]:
    """The enabled versions, by secret, that were made under the mark and serve nowhere, not even a canary's share.

    A connection string of another user than the mark's was added by somebody else meanwhile, and is left alone. Where
    no service is pinned, the newest one of a generated secret is in use by being there.
    """
    used = {*ground.pins.values(), *ground.previous.values(), *serving(ground, unit.main)}
    if not ground.pins and unit.kind == "generated":
        used.add(ground.secrets[unit.main].newest)
    database = ground.database
    paired = {database.pairs[number] for number in used if number in database.pairs} if database else set()
    return {
        name: tuple(
            version.number for version in made_under(ground.secrets[name], mark)
            if version.number not in (used if name == unit.main else paired | serving(ground, name))
            and (name != unit.main or not mark.user or database is None or database.of.get(version.number) == mark.user)
        )
        for name in unit.secrets
    }


def is_due(unit: Unit, ground: RotationGround, now: datetime) -> bool:
    """Whether the version that serves would be too old before the next monthly run."""
    version = ground.secrets[unit.main].version(newest_pinned(ground, unit))
    return version is None or now - version.created + NEXT_RUN > unit.max_age


def version_before(state: SecretState, target: int) -> int:
    """The newest enabled version before a version; that one itself where there is none."""
    return max((version.number for version in state.enabled() if version.number < target), default=target)


def idle_user(database: Database, ground: DatabaseGround) -> str:
    """The login user that does not serve: the one that gets a new password."""
    return next((user for user in database.users if user != ground.serving), "")


def receivers(estate: Estate, unit: Unit) -> tuple[Service, ...]:
    """The services that accept the version before the newest one too."""
    return tuple(service for service in estate.services if service.previous_variables(unit.main))
