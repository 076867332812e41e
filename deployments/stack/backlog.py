"""Which of the runs that a stack was down for are still run: of each schedule, the newest.

Prefect keeps every run that came due meanwhile, and a worker that comes back starts all of them at once. A nightly
drill needs one run after three nights, not three; a heartbeat of yesterday is of no use. Safety property: a run that a
person or a webhook asked for is never skipped, and neither is the newest of a schedule.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol
from uuid import UUID

REASON = "Skipped: the stack was down when it was due, and a later run of the same schedule takes its place."


class By(Protocol):
    """Who made a run: for a run of a schedule, that schedule."""

    @property
    def id(self) -> UUID | None: ...
    @property
    def type(self) -> str | None: ...


class Due(Protocol):
    """A run that waits to be started, or to go on after a retry's pause or a person's approval."""

    @property
    def id(self) -> UUID: ...
    @property
    def created_by(self) -> By | None: ...
    @property
    def expected_start_time(self) -> datetime | None: ...
    @property
    def start_time(self) -> datetime | None: ...


def superseded(runs: Iterable[Due], now: datetime) -> set[UUID]:
    """The runs that came due, and of whose schedule a later one has come due too."""
    newest: dict[UUID, Due] = {}
    skipped: set[UUID] = set()
    due = [run for run in runs if _schedule(run) and _is_due(run, now)]
    for run in sorted(due, key=lambda run: (run.expected_start_time, run.id)):
        schedule = _schedule(run)
        assert schedule is not None
        if schedule in newest:
            skipped.add(newest[schedule].id)
        newest[schedule] = run
    return skipped


def _is_due(run: Due, now: datetime) -> bool:
    """Whether a run came due, and never began: one that goes on is nobody's backlog."""
    return run.start_time is None and run.expected_start_time is not None and run.expected_start_time <= now


def _schedule(run: Due) -> UUID | None:
    by = run.created_by
    return by.id if by and by.type == "SCHEDULE" else None
