"""How far a drill got: the ladder of levels, and whether it is worse than the last time.

Safety property: what could not be checked never counts as passed. The highest level passed is one below which nothing
failed and nothing was impossible; a level that the estate does not ask for (``skipped``) is no rung of the ladder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from tasks.backup_models import Evidence, LevelResult
from tasks.models import Measurement

#: The names under which a drill is measured in the ledger.
LEVEL, FULL_PASS = "backup.level", "backup.full_pass"
RTO, RPO = "backup.rto", "backup.rpo"
SHARE = "backup.objects_share"
SIZE, RESTORED, SECONDS, PRICE = "backup.size", "backup.restored_size", "backup.drill_seconds", "backup.drill_price"


def judged(level: int, evidence: Iterable[Evidence], seconds: float = 0.0) -> LevelResult:
    """A level by what was seen: failed by the first thing that is not right, not possible where nothing was seen."""
    seen = tuple(evidence)
    if not seen:
        return not_possible(level, "nothing was looked at")
    bad = [item.what for item in seen if not item.ok]
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    return LevelResult(
        level=level, verdict="failed" if bad else "passed", why=f"{bad[0]}{more}" if bad else "", evidence=seen,
        seconds=round(seconds, 2),
    )  # fmt: skip


def not_possible(level: int, why: str, evidence: Iterable[Evidence] = ()) -> LevelResult:
    """A level that nobody can judge, and why."""
    return LevelResult(level=level, verdict="not_possible", why=why, evidence=tuple(evidence))


def excused(result: LevelResult, why: str) -> LevelResult:
    """A level whose failure may have another reason than the backup: not possible, with what was seen all the same."""
    if result.verdict != "failed" or not why:
        return result
    return result.model_copy(update={"verdict": "not_possible", "why": f"{why}; {result.why}"})


def differs_only(result: LevelResult) -> bool:
    """Whether a level failed, and by nothing but comparisons: what it was compared with may have been changed since."""
    return result.verdict == "failed" and all(item.ok or item.compared for item in result.evidence)


def skipped(level: int, why: str) -> LevelResult:
    """A level that the estate does not ask for."""
    return LevelResult(level=level, verdict="skipped", why=why)


def highest(levels: Sequence[LevelResult]) -> int:
    """The highest level passed with nothing failed or impossible below it; -1 where there is none."""
    reached = -1
    for result in sorted(levels, key=lambda item: item.level):
        if result.verdict in ("failed", "not_possible"):
            break
        if result.verdict == "passed":
            reached = result.level
    return reached


def full_pass(levels: Sequence[LevelResult]) -> bool:
    """Whether every level that the estate asks for passed."""
    return bool(levels) and all(item.verdict in ("passed", "skipped") for item in levels) and highest(levels) >= 0


def verdict(levels: Sequence[LevelResult]) -> str:
    """``failed``, ``incomplete`` where something could not be judged, or ``passed``."""
    if any(item.verdict == "failed" for item in levels):
        return "failed"
    return "passed" if full_pass(levels) else "incomplete"


def why(levels: Sequence[LevelResult]) -> str:
    """The first level that did not pass, in words."""
    for word in ("failed", "not_possible"):
        found = next((item for item in levels if item.verdict == word), None)
        if found is not None:
            return f"{found.name} ({found.title}) {word.replace('_', ' ')}: {found.why}"
    return ""


def days_since_full_pass(passes: Sequence[Measurement], now: datetime, passed_now: bool) -> float | None:
    """Days since every level passed; 0 for a drill that just did, None where it never happened."""
    if passed_now:
        return 0.0
    good = [item.at for item in passes if item.value >= 1]
    return round((now.astimezone(UTC) - max(good)).total_seconds() / 86400, 1) if good else None


def worse(before: Sequence[Measurement], reached: int, passed_now: bool, passes: Sequence[Measurement]) -> str:
    """In which way a drill is worse than the one before; empty where it is not, or where it is the first."""
    if not before:
        return ""
    last = round(before[-1].value)
    if reached < last:
        return f"{f'L{reached}' if reached >= 0 else 'none'} is the highest level passed, it was L{last}"
    if passes and passes[-1].value >= 1 and not passed_now:
        return "the last drill passed every level"
    return ""
