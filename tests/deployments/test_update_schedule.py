"""The monthly update comes on the first Monday of each month, summer and winter at the same local time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import yaml
from prefect.server.schemas.schedules import RRuleSchedule

from deployments.stack.programs import HOME


def schedule_of(slug: str) -> Any:
    deployments = yaml.safe_load((HOME / "prefect.yaml").read_text())["deployments"]
    return next(one for d in deployments for one in d.get("schedules", []) if one.get("slug") == slug)


def test_the_monthly_update_comes_on_first_mondays_in_the_morning() -> None:
    written = schedule_of("first-monday")
    schedule = RRuleSchedule(rrule=written["rrule"], timezone=written["timezone"])
    dates = asyncio.run(schedule.get_dates(12, start=datetime(2026, 11, 25, tzinfo=UTC)))
    assert {(date.strftime("%a %H:%M"), date.day <= 7) for date in dates} == {("Mon 08:30", True)}
    assert len({(date.year, date.month) for date in dates}) == 12
    assert len({date.utcoffset() for date in dates}) == 2


def test_the_monthly_rotation_comes_on_first_tuesdays_in_the_morning() -> None:
    written = schedule_of("first-tuesday")
    schedule = RRuleSchedule(rrule=written["rrule"], timezone=written["timezone"])
    dates = asyncio.run(schedule.get_dates(12, start=datetime(2026, 11, 25, tzinfo=UTC)))
    assert {(date.strftime("%a %H:%M"), date.day <= 7) for date in dates} == {("Tue 09:30", True)}
