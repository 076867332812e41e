"""One verdict over all rotations of a run, and whether a person must do something."""

from __future__ import annotations

from tasks.analysis.rotation_use import worst
from tasks.rotation_models import RotationOutcome, RotationVerdict
from tasks.rotation_work import Wish


def summary(outcomes: tuple[RotationOutcome, ...], wish: Wish, seconds: float) -> RotationVerdict:
    """One verdict over all: the worst, and why."""
    verdict = worst(outcomes)
    why = "; ".join(one.why for one in outcomes if one.verdict == verdict and one.why)
    return RotationVerdict(
        verdict=verdict, why=why, outcomes=outcomes, dry_run=wish.dry_run, emergency=wish.emergency,
        seconds=round(seconds, 2),
    )


def good(verdict: RotationVerdict) -> bool:
    """Whether all is as it should be; what only waits for time to pass is."""
    return verdict.verdict in ("rotated", "unchanged", "planned", "prepared", "waiting")


def asks_a_person(verdict: RotationVerdict) -> bool:
    """Whether somebody must do something, such as to add what a provider alone can issue."""
    return any(finding.severity != "info" for one in verdict.outcomes for finding in one.findings)
