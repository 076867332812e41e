"""Which verdicts are missing: what was due by the schedules, against what the runs left in the ledger.

Safety property: silence is never taken for health. An outage is told once, as soon as its first verdict is missing, and
once a day more while it goes on; a schedule that is new, or was changed, is expected from then on and not before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from tasks.analysis.due_times import Schedule
from tasks.models import Frozen, Measurement

#: What the runs leave in the ledger.
BEGAN, VERDICT = "run.began", "run.verdict"
#: What this check remembers there: since when a schedule is expected, of which miss it told, of which death.
EXPECTED, TOLD, TOLD_DEATH = "watch.expected", "watch.told", "watch.death"
BY_HAND = "by hand"
#: How a run ended that could not say so itself, and what a person is told of it.
CRASHED, UNANSWERED = "Crashed", "Unanswered"
_ENDS = {
    CRASHED: "died without a word",
    UNANSWERED: "waited for an approval that nobody gave in time; nothing was changed; run it again",
}
#: How long after its time a run must have begun, or left its verdict. With a look every five minutes, it is told in 30.
PATIENCE = timedelta(minutes=24)
#: How long after the time that a run named as its end.
SLACK = timedelta(minutes=5)
AGAIN = timedelta(hours=23)
LOOKS_BACK = timedelta(days=3)
EXACT = timedelta(seconds=1)


class Told(Frozen):
    """The newest miss that was told of, and when."""

    missed: datetime
    at: datetime


class Watched(Frozen):
    """One schedule: since when it is expected, what its runs left, what was told of it."""

    subject: str
    schedule: Schedule
    since: datetime
    left: tuple[Measurement, ...] = ()
    told: Told | None = None


class Missing(Frozen):
    """The verdicts of one schedule that did not come and were not told of, the newest last."""

    subject: str
    due: tuple[datetime, ...]
    why: str

    @property
    def line(self) -> str:
        """One line for a person."""
        newest = f"{self.due[-1]:%Y-%m-%d %H:%M} UTC"
        times = f"due {newest}" if len(self.due) == 1 else f"{len(self.due)} times, the last due {newest}"
        return f"{self.subject} {self.why} ({times})"


class Death(Frozen):
    """A run that ended without a word: it died, or nobody answered it."""

    run: str
    subject: str
    line: str


def subject(flow: str, slug: str) -> str:
    """What a schedule is called in the ledger."""
    return f"{flow}/{slug}"


def expected_since(schedule: Schedule, remembered: Sequence[Measurement]) -> datetime | None:
    """Since when a schedule, as it is written now, is expected. None where it is new, or was written otherwise."""
    newest = remembered[-1] if remembered else None
    return newest.at if newest and newest.labels["written"] == schedule.model_dump_json() else None


def told_before(remembered: Sequence[Measurement]) -> Told | None:
    """The newest miss that was told of."""
    return Told(missed=_moment(remembered[-1].labels["missed"]), at=remembered[-1].at) if remembered else None


def missing(watched: Watched, now: datetime) -> Missing | None:
    """What a person should hear about a schedule. None where all came, may still come, or was told of."""
    begin = max(watched.since, now - LOOKS_BACK, watched.told.missed if watched.told else watched.since)
    why = {due: _why(due, watched.left, now) for due in watched.schedule.between(begin, now - PATIENCE)}
    missed = tuple(due for due, reason in why.items() if reason)
    if not missed:
        return None
    is_new = watched.told is None or any(not reason for due, reason in why.items() if due < missed[-1])
    if not is_new and watched.told and now - watched.told.at < AGAIN:
        return None
    return Missing(subject=watched.subject, due=missed, why=why[missed[-1]])


def deaths(left: Iterable[Measurement], known: Collection[str]) -> list[Death]:
    """The runs that could not tell how they ended and were not told of, here or by their flow's hook."""
    mute = (mark for mark in left if mark.labels.get("state") in _ENDS and not mark.labels.get("told"))
    dead = {mark.labels["run"]: mark for mark in mute}
    return [_death(run, mark) for run, mark in dead.items() if run not in known]


def _death(run: str, mark: Measurement) -> Death:
    flow, named = mark.subject.partition("/")[0], mark.labels["named"]
    return Death(run=run, subject=mark.subject, line=f"{flow}: run '{named}' {_ENDS[mark.labels['state']]} ({run})")


def _why(due: datetime, left: Sequence[Measurement], now: datetime) -> str:
    """Why the verdict of one due time is missing; empty where it came, or may still come.

    A run that was skipped, because the one before it was still at work, is made good by the next that comes soon.
    """
    if any(timedelta(0) <= _due(mark) - due + EXACT <= PATIENCE for mark in left if mark.name == VERDICT):
        return ""
    began = [_moment(mark.labels["until"]) for mark in left if mark.name == BEGAN and abs(_due(mark) - due) <= EXACT]
    if not began:
        return "did not run"
    return "" if now <= max(began) + SLACK else "began and left no verdict"


def _due(mark: Measurement) -> datetime:
    return _moment(mark.labels["due"])


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
