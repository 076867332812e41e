"""The care of the database comes on the first Sunday of each quarter, summer and winter at the same local time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from prefect.server.schemas.schedules import RRuleSchedule

from tests.deployments.test_update_schedule import schedule_of


def test_the_care_of_the_database_comes_on_the_first_sunday_of_a_quarter() -> None:
    written = schedule_of("first-sunday-of-the-quarter")
    schedule = RRuleSchedule(rrule=written["rrule"], timezone=written["timezone"])
    dates = asyncio.run(schedule.get_dates(8, start=datetime(2026, 11, 25, tzinfo=UTC)))
    assert {(date.strftime("%a %H:%M"), date.day <= 7) for date in dates} == {("Sun 03:00", True)}
    assert [date.month for date in dates] == [1, 4, 7, 10, 1, 4, 7, 10]
    assert len({date.utcoffset() for date in dates}) == 2
