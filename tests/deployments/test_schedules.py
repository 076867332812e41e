"""Every schedule of prefect.yaml, with the clock moved over two years: the right days, the right local times.

The oracle is made by hand from the calendar. Prefect's own schedule classes and the dead-man check's are held to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect.client.schemas.objects import ConcurrencyLimitStrategy
from prefect.server.schemas.schedules import CronSchedule, RRuleSchedule

from deployments.stack.programs import HOME
from tasks.analysis.due_times import schedule_of

BERLIN = "Europe/Berlin"
YEARS = (2026, 2027)
MON, TUE, SUN = 0, 1, 6


class Rule(NamedTuple):
    """Which days, at what local time: None is "at any one time"; which zone; how many runs in each of the years."""

    days: Callable[[date], bool]
    at: time | None
    zone: str
    runs: tuple[int, int]


def every(_: date) -> bool:
    return True


def day(number: int) -> Callable[[date], bool]:
    return lambda day: day.day == number


def weekday(number: int) -> Callable[[date], bool]:
    return lambda day: day.weekday() == number


def first(number: int, months: range | None = None) -> Callable[[date], bool]:
    return lambda day: day.weekday() == number and day.day <= 7 and (months is None or day.month in months)


#: Entrypoint's function, and the slug where a flow has several schedules.
DAILY = {
    "weekly_review": Rule(weekday(MON), time(7), BERLIN, (52, 52)),
    "verify_backups nightly": Rule(every, time(3, 30), BERLIN, (365, 365)),
    "verify_backups random-backup": Rule(day(1), time(5), BERLIN, (12, 12)),
    "verify_backups point-in-time": Rule(day(15), time(5), BERLIN, (12, 12)),
    "take_manifest": Rule(every, time(21, 50), "UTC", (365, 365)),
    "update_dependencies first-monday": Rule(first(MON), time(8, 30), BERLIN, (12, 12)),
    "update_dependencies daily": Rule(every, time(5, 10), BERLIN, (365, 365)),
    "rotate_secrets first-tuesday": Rule(first(TUE), time(9, 30), BERLIN, (12, 12)),
    "rotate_secrets finish": Rule(every, time(5, 50), BERLIN, (365, 365)),
    "maintain_database first-sunday-of-the-quarter": Rule(first(SUN, range(1, 13, 3)), time(3), BERLIN, (4, 4)),
    "maintain_database daily-look": Rule(every, time(4, 40), BERLIN, (365, 365)),
}
EVERY_FIVE_MINUTES = {"record_heartbeat", "reconcile"}


class Written(NamedTuple):
    key: str
    deployment: dict[str, Any]
    schedule: dict[str, Any]


@cache
def deployments() -> list[dict[str, Any]]:
    return yaml.safe_load((HOME / "prefect.yaml").read_text())["deployments"]


def written() -> Iterator[Written]:
    for deployment in deployments():
        function = deployment["entrypoint"].rpartition(":")[2]
        for schedule in deployment.get("schedules", []):
            known = f"{function} {schedule['slug']}"
            yield Written(known if known in DAILY else function, deployment, schedule)


def daily() -> list[Any]:
    return [pytest.param(one, id=one.key) for one in written() if one.key in DAILY]


def five_minutely() -> list[Any]:
    return [pytest.param(one, id=one.key) for one in written() if one.key in EVERY_FIVE_MINUTES]


def by_hand(rule: Rule, at: time, year: int) -> list[datetime]:
    """The times of a year in UTC: day by day, the wall clock's time in the zone."""
    days = (date(year, 1, 1) + timedelta(days=number) for number in range(365))
    zone = ZoneInfo(rule.zone)
    return [datetime.combine(day, at, zone).astimezone(UTC) for day in days if rule.days(day)]


def by_prefect(schedule: dict[str, Any], begin: datetime, end: datetime) -> list[datetime]:
    """The times from the beginning up to the end, as Prefect's scheduler computes them, a hundred at a time."""
    zone = schedule["timezone"]
    made = CronSchedule(cron=schedule["cron"], timezone=zone) if "cron" in schedule else RRuleSchedule(
        rrule=schedule["rrule"], timezone=zone
    )  # fmt: skip
    found: list[datetime] = []
    while not found or found[-1] < end:
        start = found[-1] + timedelta(seconds=1) if found else begin
        found += [moment.astimezone(UTC) for moment in asyncio.run(made.get_dates(100, start=start))]
    return [moment for moment in found if moment < end]


def by_the_dead_man(schedule: dict[str, Any], begin: datetime, end: datetime) -> list[datetime]:
    instant = timedelta(microseconds=1)
    return list(schedule_of(schedule["slug"], schedule).between(begin - instant, end - instant))


def year_of(year: int, zone: str) -> tuple[datetime, datetime]:
    begin, end = (datetime(number, 1, 1, tzinfo=ZoneInfo(zone)) for number in (year, year + 1))
    return begin.astimezone(UTC), end.astimezone(UTC)


def changes_of_the_clock(year: int, zone: str = BERLIN) -> list[date]:
    days = [date(year, 1, 1) + timedelta(days=number) for number in range(365)]
    offset = {day: datetime.combine(day, time(12), ZoneInfo(zone)).utcoffset() for day in days}
    return [day for before, day in pairwise(days) if offset[before] != offset[day]]


def test_every_schedule_has_an_expectation_and_a_slug_of_its_own() -> None:
    unknown = [one.key for one in written() if one.key not in DAILY and one.key not in EVERY_FIVE_MINUTES]
    assert not unknown, f"say in this test when these are due: {unknown}"
    keys = [f"{one.key} {one.schedule['slug']}" for one in written()]
    assert len(keys) == len(set(keys)) >= 8


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("one", daily())
def test_a_schedule_fires_on_its_days_at_its_local_time_and_never_twice(one: Written, year: int) -> None:
    rule = DAILY[one.key]
    begin, end = year_of(year, rule.zone)
    found = by_prefect(one.schedule, begin, end)
    at = rule.at or found[0].astimezone(ZoneInfo(rule.zone)).time()
    assert found == by_hand(rule, at, year)
    assert len(found) == rule.runs[YEARS.index(year)]
    assert by_the_dead_man(one.schedule, begin, end) == found


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("one", daily())
def test_no_schedule_lies_in_the_hour_that_the_clock_skips_or_has_twice(one: Written, year: int) -> None:
    rule = DAILY[one.key]
    local = {moment.astimezone(ZoneInfo(rule.zone)) for moment in by_prefect(one.schedule, *year_of(year, rule.zone))}
    assert all(not time(2) <= moment.time() < time(3) for moment in local) or rule.zone == "UTC"
    assert len(changes_of_the_clock(year)) == 2
    for change in changes_of_the_clock(year):
        assert sum(moment.date() == change for moment in local) == int(rule.days(change)), change


@pytest.mark.parametrize("year", YEARS)
def test_the_nightly_drill_comes_after_the_clock_was_changed_and_once(year: int) -> None:
    nightly = next(one for one in written() if one.schedule["slug"] == "nightly")
    spring, autumn = changes_of_the_clock(year)
    found = by_prefect(nightly.schedule, *year_of(year, BERLIN))
    assert [f"{moment:%H:%M}" for moment in found if moment.date() == spring] == ["01:30"], "02:00 → 03:00 was at 01:00"
    assert [f"{moment:%H:%M}" for moment in found if moment.date() == autumn] == ["02:30"], "03:00 → 02:00 was at 01:00"


@pytest.mark.parametrize("year", YEARS)
@pytest.mark.parametrize("one", five_minutely())
def test_every_five_minutes_goes_on_through_both_changes_of_the_clock(one: Written, year: int) -> None:
    for change in changes_of_the_clock(year):
        begin = datetime.combine(change - timedelta(days=1), time(), UTC)
        steps = [begin + timedelta(minutes=5 * number) for number in range(3 * 288)]
        assert by_prefect(one.schedule, begin, begin + timedelta(days=3)) == steps
    assert len(by_the_dead_man(one.schedule, *year_of(year, "UTC"))) == 365 * 288


def test_every_deployment_runs_once_at_a_time_and_tells_what_it_is() -> None:
    for deployment in deployments():
        limit = deployment["concurrency_limit"]
        assert limit["limit"] == 1, deployment
        assert ConcurrencyLimitStrategy(limit["collision_strategy"])
        assert len(deployment["description"]) > 20
        assert deployment["tags"]
        assert deployment["enforce_parameter_schema"] is True


def test_a_zone_is_one_of_the_iana_and_not_an_abbreviation() -> None:
    assert {one.schedule["timezone"] for one in written()} <= {BERLIN, "UTC"}
