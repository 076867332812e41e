"""What the weekly review knows of logs: entries as they are read, and a week as it is kept.

Safety property: an ``Entry`` holds what was logged, secrets included, and lives in memory alone. Everything else here
is made of masked text and is safe to keep.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import Field

from tasks.cost_models import CostsTold
from tasks.models import Frozen

Level = Literal["error", "warning", "info"]
Kind = Literal["line", "stack"]
Judgement = Literal["first", "new", "regressed", "escalating", "vanished", "steady"]


class Request(NamedTuple):
    """What the request log says of one request. ``latency`` in seconds."""

    method: str
    url: str
    status: int
    latency: float


class Entry(NamedTuple):
    """One log entry, as cheap as it can be: a week has millions. ``at`` is seconds since the epoch.

    ``source`` tells the instances of a service apart; ``size`` is the entry's bytes as it was read. An entry may stand
    for ``times`` equal ones of one hour, from ``at`` to ``last``, of ``size`` bytes together.
    """

    at: float
    service: str
    log: str
    severity: int
    text: str
    size: int
    source: str = ""
    request: Request | None = None
    times: int = 1
    last: float = 0.0


class Page(NamedTuple):
    """One page of entries, and the token of the next one; empty on the last."""

    entries: list[Entry]
    token: str


class Week(Frozen):
    """A week of the calendar in a time zone: 167, 168 or 169 hours. ``name`` is ISO 8601's, as ``2026-W47``."""

    name: str
    timezone: str
    start: datetime
    end: datetime

    @classmethod
    def named(cls, name: str, timezone: str) -> Week:
        """The week of a name. Raises ValueError where there is none of that name."""
        year, _, number = name.partition("-W")
        monday = date.fromisocalendar(int(year), int(number), 1)
        return cls.of(monday, timezone)

    @classmethod
    def of(cls, day: date, timezone: str) -> Week:
        """The week that a day is in."""
        monday = day - timedelta(days=day.weekday())
        year, number, _ = monday.isocalendar()
        start, end = (_midnight(monday + timedelta(days=days), timezone) for days in (0, 7))
        return cls(name=f"{year}-W{number:02}", timezone=timezone, start=start, end=end)

    @property
    def hours(self) -> int:
        """How many hours the week has: a clock change takes one or gives one."""
        return round((self.end - self.start).total_seconds() / 3600)

    @property
    def days(self) -> tuple[tuple[datetime, datetime], ...]:
        """Beginning and end of each of the seven days, as instants."""
        monday = self.start.astimezone(ZoneInfo(self.timezone)).date()
        edges = [_midnight(monday + timedelta(days=days), self.timezone) for days in range(8)]
        return tuple(itertools.pairwise(edges))

    def day_of(self, hour: int) -> int:
        """Which day, from 0, an hour of the week lies in. Days begin at midnight, however long the last one was."""
        return max(0, bisect_right(_midnights(self), hour) - 1)

    @property
    def day_names(self) -> tuple[str, ...]:
        """The days as a chart names them: ``Mon 16``."""
        zone = ZoneInfo(self.timezone)
        return tuple(f"{start.astimezone(zone):%a %-d}" for start, _ in self.days)


@lru_cache(maxsize=64)
def _midnights(week: Week) -> tuple[float, ...]:
    """The hour of the week at which each of its days begins."""
    return tuple((start - week.start).total_seconds() / 3600 for start, _ in week.days)


def _midnight(day: date, timezone: str) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone)).astimezone(UTC)


class PatternWeek(Frozen):
    """One pattern in one week.

    ``hourly`` are counts by hour of the week, from 0; ``first`` and ``last`` are seconds since the epoch.
    """

    id: str
    service: str
    level: Level
    kind: Kind
    template: str
    count: int
    size: int
    first: float
    last: float
    hourly: dict[int, int]


class Past(Frozen):
    """What one earlier week tells of a pattern: in how many hours and days it was seen, and its longest silence."""

    week: str
    count: int
    size: int
    hours: int
    days: int
    gap_hours: int
    span: int = Field(168, description="How many hours the week had")


class Known(Frozen):
    """A pattern of earlier weeks: as it was named first, and its newest weeks, oldest first."""

    id: str
    service: str
    level: Level
    kind: Kind
    template: str
    first_week: str
    weeks: tuple[Past, ...]


class ServiceWeek(Frozen):
    """A service's requests in one week. Latencies in seconds; ``daily`` are requests and errors of each day."""

    service: str
    requests: int
    errors: int
    p50: float
    p95: float
    p99: float
    daily: tuple[tuple[int, int, float], ...] = ()

    @property
    def error_rate(self) -> float:
        """The share of requests that the server failed."""
        return self.errors / self.requests if self.requests else 0.0


class Route(Frozen):
    """One route of a service: its path with the variable parts taken out. Latencies in seconds."""

    service: str
    route: str
    requests: int
    errors: int
    p50: float
    p95: float


class Happened(Frozen):
    """What the platform said of a service's instances: so often of one kind, the first and the last time."""

    service: str
    what: Literal["out of memory", "restart", "cold start"]
    count: int
    first: float
    last: float


class Logger(Frozen):
    """One log of one service: entries and bytes."""

    service: str
    log: str
    entries: int
    size: int


class Coverage(Frozen):
    """How much of the week was read. ``written`` is what the platform counted, None where it does not tell."""

    read: int
    size: int
    written: int | None = None
    complete: bool = True
    why: str = ""
    unknown: str = Field("", description="Why it is not known how many were written, where asking failed")
    unmatched: int = Field(0, description="Lines that were counted, but in no pattern: too many different ones")


class History(Frozen):
    """What one review leaves for the next: every pattern known, the services' figures of earlier weeks, costs told.

    ``cut`` are those of ``weeks`` that were not read to their end: what is not in them may have been there. ``read``
    are the entries of those that were.
    """

    week: str
    weeks: tuple[str, ...]
    patterns: tuple[Known, ...]
    services: dict[str, tuple[ServiceWeek, ...]] = Field(default_factory=dict)
    read: tuple[int, ...] = ()
    cut: tuple[str, ...] = ()
    costs: CostsTold | None = None

    @property
    def whole_weeks(self) -> tuple[str, ...]:
        """The weeks that were read to their end, oldest first."""
        return tuple(name for name in self.weeks if name not in self.cut)


class Judged(Frozen):
    """A pattern of this week, or one that should have been there, and what is to be said of it."""

    pattern: PatternWeek
    judgement: Judgement
    past: tuple[int, ...] = ()
    expected: float = 0.0
    limit: float = 0.0
    since: float = 0.0
    why: str = ""
    muted: str = ""


class LogReview(Frozen):
    """What a week's logs say."""

    week: Week
    coverage: Coverage
    judged: tuple[Judged, ...]
    services: tuple[ServiceWeek, ...]
    before: dict[str, tuple[ServiceWeek, ...]] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    happened: tuple[Happened, ...] = ()
    loggers: tuple[Logger, ...] = ()
    read_before: tuple[int, ...] = ()
