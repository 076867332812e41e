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
WEEK_DAYS = 7
#: So many days are judged at most: where reviews failed for longer, the oldest days are passed over, and that is told.
MOST_DAYS = 28


def complete_through(newest_export: datetime | None, zone: ZoneInfo, settle: timedelta) -> date | None:
    """The last complete day; None where nothing was exported."""
    if newest_export is None:
        return None
    settled = (newest_export - settle).astimezone(zone)
    return settled.date() - DAY


def freshness(
    newest_export: datetime | None, week: date, zone: ZoneInfo, settle: timedelta, told_through: date | None = None
) -> Freshness:
    """The days from the one after ``told_through`` to the week's last one: those to judge, and those still filling.

    ``told_through`` is the last day that an earlier review judged. A review on a Monday morning finds the weekend
    still filling; the one after it begins there. Without an earlier review the days begin on the week's Monday.
    """
    last, end = complete_through(newest_export, zone, settle), week + (WEEK_DAYS - 1) * DAY
    since = week if told_through is None else min(week, told_through + DAY)
    days = tuple(since + index * DAY for index in range((end - since).days + 1))
    complete = tuple(day for day in days if last is not None and day <= last)
    return Freshness(
        newest_export=newest_export, complete_through=last, judged=complete[-MOST_DAYS:],
        passed_over=complete[:-MOST_DAYS], incomplete=days[len(complete) :],
    )  # fmt: skip


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
