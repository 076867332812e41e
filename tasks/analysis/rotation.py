"""What is rotated together, whose turn it is and when, from facts that were looked up. No I/O.

Safety property: the values and states in Secret Manager and what serves on Cloud Run decide, never a memory of an
earlier run. What an attempt made is judged in ``rotation_attempts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from pydantic import ValidationError

from tasks.errors import Refused
from tasks.estate import Database, Estate, Service
from tasks.models import Frozen
from tasks.rotation_models import DatabaseGround, RotationGround, RotationMark, SecretState

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
    """The newest version of the main secret that serves; where no service uses one, the newest enabled one.

    Where services read it by an alias it is what that stands for, whatever was added since.
    """
    pinned = max(ground.pins.values(), default=0)
    read = {one.number for one in ground.references if one.ours and one.serves and one.secret == unit.main}
    aliased = max((number for number in read if number), default=0)
    return pinned or aliased or max((version.number for version in ground.secrets[unit.main].enabled()), default=0)


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
