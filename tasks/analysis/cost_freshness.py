"""Which days of a billing export may be judged.

Safety property: a day that is still filling is never compared with one that is full. The export has no promised delay
and tells nowhere that a day is done, so a day counts as complete once the export itself has gone on for some hours
after the day's end: what stands still, completes nothing, however late it gets.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tasks.cost_models import Freshness

DAY = timedelta(days=1)


def complete_through(newest_export: datetime | None, zone: ZoneInfo, settle: timedelta) -> date | None:
    """The last complete day; None where nothing was exported."""
    if newest_export is None:
        return None
    settled = (newest_export - settle).astimezone(zone)
    return settled.date() - DAY


def freshness(newest_export: datetime | None, week: date, zone: ZoneInfo, settle: timedelta) -> Freshness:
    """The days of a week from Monday, divided into those to judge and those that are still filling."""
    last = complete_through(newest_export, zone, settle)
    days = tuple(week + index * DAY for index in range(7))
    judged = tuple(day for day in days if last is not None and day <= last)
    return Freshness(
        newest_export=newest_export, complete_through=last, judged=judged, incomplete=days[len(judged) :]
    )


def age(newest_export: datetime | None, now: datetime) -> timedelta | None:
    """How long ago the newest line was exported."""
    return None if newest_export is None else now - newest_export


def monday(day: date) -> date:
    """The first day of a day's week."""
    return day - day.weekday() * DAY


def last_week(now: datetime, zone: ZoneInfo) -> date:
    """The Monday of the last week that is over."""
    return monday(now.astimezone(zone).date()) - 7 * DAY


def starts(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins in its zone."""
    return datetime.combine(day, time.min, zone)
