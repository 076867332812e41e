"""What the steps of a rotation hand to each other, and what the flow returns.

No value here ever holds a secret: a version is a number, a login a name.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from pydantic import Field

from tasks.models import Finding, Frozen
from tasks.release_models import CanaryStep

VersionStatus = Literal["ENABLED", "DISABLED", "DESTROYED"]


class Version(Frozen):
    """One version of a secret. ``destroyed_at``: when its delayed destruction is due, where that is scheduled."""

    number: int
    state: VersionStatus
    created: datetime
    etag: str = ""
    destroyed_at: datetime | None = None

    @property
    def enabled(self) -> bool:
        """Whether an instance can start with it."""
        return self.state == "ENABLED"


class SecretState(Frozen):
    """A secret and all its versions, the newest first. ``destroy_delay``: None where destruction is at once.

    ``aliases`` maps a name of the secret's own to the version that it stands for.
    """

    name: str
    etag: str
    annotations: dict[str, str] = Field(default_factory=dict)
    aliases: dict[str, int] = Field(default_factory=dict)
    destroy_delay: timedelta | None = None
    versions: tuple[Version, ...] = ()

    def enabled(self, above: int = 0) -> tuple[Version, ...]:
        """The enabled versions above a number, the newest first."""
        return tuple(version for version in self.versions if version.enabled and version.number > above)

    @property
    def newest(self) -> int:
        """The greatest number, in whatever state; 0 where there is none."""
        return max((version.number for version in self.versions), default=0)

    def version(self, number: int) -> Version | None:
        """A version by its number."""
        return next((version for version in self.versions if version.number == number), None)


class RotationMark(Frozen):
    """The mark on a secret while a rotation of it is under way: what was there before, so that the rest is ours.

    ``after`` is the newest version of each secret before this rotation; ``user`` the login that gets a new password,
    ``old_user`` the one that served before. ``emergency``: it was begun after a leak, and is gone on with as such.
    """

    run: str
    began: datetime
    after: dict[str, int]
    user: str = ""
    old_user: str = ""
    emergency: bool = False


#: How the reason of a reference begins that has a share of the traffic.
SERVES = "serves "
SERVES_ALL = f"{SERVES}100 %"


class Reference(Frozen):
    """Something that uses a version of a secret. ``version`` is as it is written there, a number or an alias.

    ``points_to`` is the version that an alias stands for now. ``variable`` is empty for a mounted file, and ``kept``
    says that it is the variable by which a receiver of ours accepts the version before, which a rotation moves.
    ``why`` is empty for a revision that nothing leads to. ``until``: it is needed until then, as something to roll back
    to. ``ours``: a service of the estate, which the rotation releases anew.
    """

    kind: Literal["revision", "job"]
    name: str
    service: str = ""
    secret: str
    version: str
    variable: str = ""
    points_to: int | None = None
    kept: bool = False
    why: str = ""
    until: datetime | None = None
    ours: bool = False

    @property
    def serves(self) -> bool:
        """Whether it has a share of the traffic, as ``rotation_pins.leads`` says it."""
        return self.why.startswith(SERVES)

    @property
    def serves_all(self) -> bool:
        """Whether it has all the traffic."""
        return self.why == SERVES_ALL

    @property
    def number(self) -> int | None:
        """The version that it uses: the one that it is pinned to, or its alias stands for; None for ``latest``."""
        return int(self.version) if self.pinned else self.points_to

    @property
    def pinned(self) -> bool:
        """Whether a number stands there, which nothing but a release changes."""
        return self.version.isdecimal()


class Session(Frozen):
    """An open session of a database user."""

    pid: int
    user: str
    application: str
    since: datetime


class Login(Frozen):
    """A role as a rotation sees it. ``traits`` are all that decides what it may do, as sentences that can be compared.

    ``managed``: the rotator may change it.
    """

    name: str
    can_log_in: bool
    managed: bool = False
    traits: frozenset[str] = frozenset()


class DatabaseGround(Frozen):
    """The roles of a database, and which enabled version of its connection string is whose.

    ``of`` maps a version of the connection string to its user; ``pairs`` to the version of the password's secret that
    holds the same password. ``passwordless``: it is read without any password (IAM database authentication).
    """

    serving: str
    logins: dict[str, Login] = Field(default_factory=dict)
    rotator: bool = False
    of: dict[int, str] = Field(default_factory=dict)
    pairs: dict[int, int] = Field(default_factory=dict)
    passwordless: bool = False
    sessions: tuple[Session, ...] = ()


class RotationGround(Frozen):
    """What was found about one rotation: its secrets, who uses them, and its database where it has one.

    ``pins`` maps each service of the estate that uses the main secret to the version that serves there; 0 stands for an
    alias, which is resolved at each instance's start. ``previous`` maps those that accept the version before it too to
    the one that they accept beside it.
    """

    secrets: dict[str, SecretState]
    references: tuple[Reference, ...] = ()
    pins: dict[str, int] = Field(default_factory=dict)
    previous: dict[str, int] = Field(default_factory=dict)
    unpinned: tuple[str, ...] = ()
    database: DatabaseGround | None = None


RotationVerdictName = Literal["planned", "prepared", "rotated", "unchanged", "waiting", "held", "refused", "failed"]


class Retired(Frozen):
    """A version that was taken out of use, when it is destroyed, and the command that undoes it until then."""

    secret: str
    version: int
    destroyed_at: datetime | None = None
    undo: str


class RotationOutcome(Frozen):
    """How the rotation of one secret (a login's two together) ended."""

    name: str
    kind: str
    verdict: RotationVerdictName
    secrets: tuple[str, ...] = ()
    versions: dict[str, int] = Field(default_factory=dict)
    user: str = ""
    logins: dict[int, str] = Field(default_factory=dict)
    locked: tuple[str, ...] = ()
    retired: tuple[Retired, ...] = ()
    revisions: dict[str, str] = Field(default_factory=dict)
    canary: dict[str, tuple[CanaryStep, ...]] = Field(default_factory=dict)
    why: str = ""
    findings: tuple[Finding, ...] = ()
    references: tuple[Reference, ...] = ()


class RotationVerdict(Frozen):
    """The result of the flow: the worst of its outcomes, and each."""

    verdict: RotationVerdictName
    why: str = ""
    outcomes: tuple[RotationOutcome, ...] = ()
    findings: tuple[Finding, ...] = ()
    dry_run: bool = False
    emergency: bool = False
    seconds: float = 0.0
    report: str = ""
    """The report as Markdown, as it was shown."""
