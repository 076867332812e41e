"""A day is judged once the export has gone on for long enough after its end."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tasks.analysis.cost_freshness import complete_through, freshness, last_week, monday

ZONE = ZoneInfo("America/Los_Angeles")
SETTLE = timedelta(hours=36)
WEEK = date(2026, 11, 2)


@pytest.mark.parametrize(
    ("newest", "last"),
    [
        # 9 November ends at 08:00 UTC of the 10th; 36 hours later it is the 11th, 20:00 UTC
        (datetime(2026, 11, 11, 19, 59, 59, tzinfo=UTC), date(2026, 11, 8)),
        (datetime(2026, 11, 11, 20, tzinfo=UTC), date(2026, 11, 9)),
        # 1 November has 25 hours: the clocks go back
        (datetime(2026, 11, 3, 19, 59, 59, tzinfo=UTC), date(2026, 10, 31)),
        (datetime(2026, 11, 3, 20, tzinfo=UTC), date(2026, 11, 1)),
        # 8 March has 23 hours
        (datetime(2026, 3, 10, 18, 59, 59, tzinfo=UTC), date(2026, 3, 7)),
        (datetime(2026, 3, 10, 19, tzinfo=UTC), date(2026, 3, 8)),
        (None, None),
    ],
)
def test_a_day_is_complete_some_hours_after_its_end(newest: datetime | None, last: date | None) -> None:
    assert complete_through(newest, ZONE, SETTLE) == last


def test_a_week_is_divided_into_days_to_judge_and_days_that_still_fill() -> None:
    found = freshness(datetime(2026, 11, 8, 20, tzinfo=UTC), WEEK, ZONE, SETTLE)
    assert found.judged == tuple(WEEK + timedelta(days=n) for n in range(5))
    assert found.incomplete == (date(2026, 11, 7), date(2026, 11, 8))


def test_an_export_that_stands_still_completes_nothing_however_late_it_gets() -> None:
    old = datetime(2026, 11, 2, 3, tzinfo=UTC)
    assert freshness(old, WEEK, ZONE, SETTLE).judged == ()
    assert freshness(None, WEEK, ZONE, SETTLE).judged == ()


@pytest.mark.parametrize(
    ("now", "week"),
    [
        (datetime(2026, 11, 9, 7, 59, tzinfo=UTC), date(2026, 10, 26)),  # it is still Sunday in the zone
        (datetime(2026, 11, 9, 8, 0, tzinfo=UTC), date(2026, 11, 2)),
        (datetime(2026, 11, 15, 12, 0, tzinfo=UTC), date(2026, 11, 2)),
    ],
)
def test_the_last_week_is_the_one_that_is_over_in_the_zone(now: datetime, week: date) -> None:
    assert last_week(now, ZONE) == week
    assert monday(week) == week


def test_the_weekend_that_a_monday_left_is_judged_on_the_next_one_and_no_day_twice() -> None:
    told, judged = None, []
    for number in range(4):
        monday_ = datetime(2026, 11, 9, 5, tzinfo=UTC) + timedelta(days=7 * number)
        found = freshness(monday_, WEEK + timedelta(days=7 * number), ZONE, SETTLE, told)
        judged += found.judged
        told = found.judged[-1]
        assert f"{told:%A}" == "Friday"
        assert [f"{day:%a}" for day in found.incomplete] == ["Sat", "Sun"]
    assert judged == [WEEK + timedelta(days=n) for n in range(5 + 3 * 7)]


def test_a_review_that_is_made_late_judges_to_its_own_sunday_and_the_next_one_begins_after_it() -> None:
    late = freshness(datetime(2026, 11, 12, 20, tzinfo=UTC), WEEK, ZONE, SETTLE, date(2026, 10, 30))
    assert (late.judged[0], late.judged[-1], late.incomplete) == (date(2026, 10, 31), date(2026, 11, 8), ())
    after = freshness(datetime(2026, 11, 16, 5, tzinfo=UTC), date(2026, 11, 9), ZONE, SETTLE, late.judged[-1])
    assert after.judged[0] == date(2026, 11, 9)


def test_days_that_no_review_judged_for_more_than_four_weeks_are_passed_over_and_named() -> None:
    found = freshness(datetime(2026, 11, 30, tzinfo=UTC), WEEK, ZONE, SETTLE, date(2026, 9, 30))
    assert len(found.judged) == 28
    assert (found.passed_over[0], found.passed_over[-1]) == (date(2026, 10, 1), date(2026, 10, 11))
