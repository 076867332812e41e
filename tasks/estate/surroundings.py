"""The parts of the estate that are no service: where it lives, its databases, its secrets, when it is left alone.

Safety property: names are held to Google's own rules here, so that a name that Google would refuse is refused before
the first call.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, model_validator

from tasks.estate.drills import DrillPolicy, ManifestPolicy, ObjectReferences
from tasks.estate.maintenance import MaintenancePolicy
from tasks.models import Frozen

#: https://cloud.google.com/resource-manager/docs/creating-managing-projects: 6 to 30 letters, digits, hyphens.
ProjectId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")]
Region = Annotated[str, StringConstraints(pattern=r"^[a-z]+-[a-z]+[0-9]+$")]
#: https://cloud.google.com/storage/docs/buckets#naming
BucketName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$")]
Repository = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+(/[a-z0-9][a-z0-9._-]*)+$")]
SecretName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,255}$")]
#: https://cloud.google.com/sql/docs/postgres/instance-settings: starts with a letter, letters, digits, hyphens.
InstanceName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,82}[a-z0-9])?$")]
#: An unquoted PostgreSQL name, so that no statement about it needs to quote.
PostgresName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
ServiceAccount = Annotated[str, StringConstraints(pattern=r"^([a-z0-9-]+@[a-z0-9.-]+)?$")]
ShortName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]


def _to_utc(at: datetime) -> datetime:
    return at.astimezone(UTC)


Instant = Annotated[AwareDatetime, AfterValidator(_to_utc)]


class Google(Frozen):
    """Where the estate lives.

    ``local_cloud`` is a line of this file and never a variable, so that a forgotten one cannot "succeed" on the local
    cloud.
    """

    project: ProjectId
    region: Region
    local_cloud: bool = False
    bucket: BucketName
    repository: Repository


class BackupPolicy(Frozen):
    """How old the newest backup may be, how many are kept, and whether any moment in between can be restored.

    ``lag_minutes``: how far behind now the latest restorable moment may be.
    """

    max_age_hours: int = Field(26, ge=1, le=24 * 31)
    retained: int = Field(7, ge=1, le=365)
    point_in_time: bool = False
    lag_minutes: int = Field(30, ge=1, le=24 * 60)

    @property
    def max_age(self) -> timedelta:
        """The greatest age of the newest good backup."""
        return timedelta(hours=self.max_age_hours)


class Database(Frozen):
    """A PostgreSQL database on Cloud SQL.

    ``users`` are the login users between which a rotation alternates, members of the ``owner`` that cannot log in, and
    ``rotator`` is the user that may change them: its password is made anew for each use and kept nowhere.
    ``url_secret`` holds the connection string that the services read, ``password_secret`` the password alone, where
    somebody wants it; ``must_not_be_empty`` are tables without whose rows a restored backup proves nothing.
    ``manifest``, ``objects`` and ``drill`` say how its backups are proved; ``maintenance`` when it needs care.
    """

    name: ShortName
    instance: InstanceName
    database: PostgresName
    owner: PostgresName
    users: tuple[PostgresName, ...] = Field(min_length=1)
    rotator: PostgresName = "caretaker_rotator"
    url_secret: SecretName
    password_secret: SecretName | None = None
    must_not_be_empty: tuple[str, ...] = ()
    backup: BackupPolicy = BackupPolicy()
    manifest: ManifestPolicy = ManifestPolicy()
    objects: tuple[ObjectReferences, ...] = ()
    drill: DrillPolicy = DrillPolicy()
    maintenance: MaintenancePolicy = MaintenancePolicy()


class SecretCheck(Frozen):
    """How a new value of an external secret is tried at its provider: a GET that must answer with a status."""

    url: str = Field(pattern=r"^https?://")
    header: str = Field("Authorization", pattern=r"^[A-Za-z0-9-]+$")
    prefix: str = "Bearer "
    status: int = Field(200, ge=100, le=599)


class Secret(Frozen):
    """A secret, who makes its next value, and how old a version may become.

    ``database``: the login of one of the databases. ``generated``: a random value between services of ours.
    ``external``: its provider alone can issue it. ``overlap_days``: how long the old version of a generated or external
    one stays enabled beside the new one, for users that cannot be looked up.
    """

    name: SecretName
    rotation: Literal["database", "generated", "external"]
    max_age_days: int = Field(ge=1, le=3650)
    overlap_days: int = Field(0, ge=0, le=365)
    check: SecretCheck | None = None

    @property
    def max_age(self) -> timedelta:
        """The greatest age of the version in use."""
        return timedelta(days=self.max_age_days)


class Freeze(Frozen):
    """A time in which nothing is changed: from its first instant up to, not including, its last."""

    from_: Instant = Field(alias="from")
    until: Instant
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _in_order(self) -> Freeze:
        if self.from_ >= self.until:
            raise ValueError("'until' must be later than 'from'")
        return self


class Notify(Frozen):
    """Where reports go. ``url_secret`` names the secret that holds an apprise URL; empty: to the UI alone."""

    url_secret: str = ""
