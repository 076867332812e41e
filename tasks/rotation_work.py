"""What is known of one rotation under way, and what came of it so far.

Safety property: facts are looked up anew before each step that they decide, never carried over from an earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from tasks.analysis import rotation
from tasks.analysis.rotation import Unit
from tasks.models import Finding
from tasks.release_models import CanaryStep
from tasks.rotation_facts import look
from tasks.rotation_models import Retired, RotationGround, RotationMark, RotationOutcome, RotationVerdictName
from tasks.site import Site


@dataclass(frozen=True)
class Wish:
    """What a person, or the schedule, asked for."""

    emergency: bool = False
    only_due: bool = False
    only_finish: bool = False
    dry_run: bool = False
    session_wait: timedelta = timedelta(minutes=10)


@dataclass
class Work:
    """One rotation under way: what is known, and what came of it so far."""

    site: Site
    unit: Unit
    wish: Wish
    ground: RotationGround
    mark: RotationMark | None
    targets: dict[str, int] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    canary: dict[str, tuple[CanaryStep, ...]] = field(default_factory=dict)
    retired: list[Retired] = field(default_factory=list)
    locked: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)

    async def look_again(self) -> None:
        """Read everything anew: facts are never older than the step that they decide."""
        self.ground = await look(self.site, self.unit)
        self.mark = rotation.read_mark(self.ground.secrets[self.unit.main])

    def outcome(self, verdict: RotationVerdictName, why: str = "") -> RotationOutcome:
        """How it ended."""
        database = self.ground.database
        return RotationOutcome(
            name=self.unit.name, kind=self.unit.kind, verdict=verdict, why=why, secrets=self.unit.secrets,
            versions=self.targets, user=serving_user(self), logins=database.of if database else {}, locked=self.locked,
            retired=tuple(self.retired), revisions=self.revisions, canary=self.canary, findings=tuple(self.findings),
            references=self.ground.references,
        )


def serving_user(work: Work) -> str:
    """The login that the version in use is for; empty where it is no login."""
    database = work.ground.database
    return database.of.get(work.targets.get(work.unit.main, 0), database.serving) if database else ""
