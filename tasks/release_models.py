"""What the steps of a release hand to each other, and what the flows return."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from tasks.models import Backup, Drift, Finding, Frozen, RevisionSpec, SecretPin, ServiceState, SourceTree


class MigrationPlan(Frozen):
    """How a database gets from the revision at which it stands to the one that the new code wants.

    ``current`` and ``target`` are alembic revisions (``current`` is None on an empty database); ``pending`` is in the
    order in which they will be applied.
    """

    database: str
    current: str | None
    target: str
    pending: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    breaks_serving: tuple[str, ...] = ()
    loses_data: tuple[str, ...] = ()


class ServiceGround(Frozen):
    """What was found for one service before anything was planned."""

    service: str
    state: ServiceState | None
    stable: str = ""
    stable_spec: RevisionSpec | None = None
    stable_healthy: bool | None = None
    leftover: str = ""
    pins: dict[str, SecretPin] = Field(default_factory=dict)
    schema_revision: str | None = None


class ServicePlan(Frozen):
    """What a release will do to one service."""

    service: str
    ground: ServiceGround
    source: SourceTree
    release: str
    spec: RevisionSpec
    drift: tuple[Drift, ...] = ()
    migration: MigrationPlan | None = None
    already_released: bool = False

    @property
    def changes_schema(self) -> bool:
        """Whether migrations are pending."""
        return self.migration is not None and bool(self.migration.pending)


class ReleasePlan(Frozen):
    """What a release will do, in waves: the services of one wave go in parallel."""

    estate: str
    reason: str
    waves: tuple[tuple[ServicePlan, ...], ...]
    findings: tuple[Finding, ...] = ()

    @property
    def services(self) -> tuple[ServicePlan, ...]:
        """Every service plan, in order."""
        return tuple(plan for wave in self.waves for plan in wave)


Verdict = Literal["planned", "released", "unchanged", "rolled_back", "held", "refused", "failed"]


class CanaryStep(Frozen):
    """What one canary step saw. Latencies are medians in seconds."""

    percent: int
    verdict: str
    requests: int
    failures: int
    seconds: float
    candidate_latency: float | None = None
    stable_latency: float | None = None
    reasons: tuple[str, ...] = ()


class ServiceOutcome(Frozen):
    """How one service's release ended."""

    service: str
    verdict: Verdict
    release: str = ""
    revision: str = ""
    previous: str = ""
    image: str = ""
    backup: Backup | None = None
    canary: tuple[CanaryStep, ...] = ()
    why: str = ""
    url: str = ""


class ReleaseVerdict(Frozen):
    """The result of a deploy or a roll-back."""

    verdict: Verdict
    services: tuple[ServiceOutcome, ...] = ()
    findings: tuple[Finding, ...] = ()
    why: str = ""
    started: datetime
    seconds: float
    dry_run: bool = False
    plan: str = ""
    """The plan as Markdown, as it was shown."""
