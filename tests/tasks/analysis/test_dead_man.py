"""Silence is noticed once, soon, and not taken for health."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.analysis.dead_man import BEGAN, EXPECTED, VERDICT, Told, Watched, deaths, expected_since, missing
from tasks.analysis.due_times import Schedule, schedule_of
from tasks.errors import BadInput
from tasks.models import Measurement

NIGHTLY = Schedule(name="nightly", cron="30 3 * * *", timezone="Europe/Berlin")
OFTEN = Schedule(name="often", cron="*/5 * * * *", timezone="UTC")
DUE = datetime(2026, 11, 25, 2, 30, tzinfo=UTC)
WEEK_BEFORE = DUE - timedelta(days=7)
MINUTE = timedelta(minutes=1)


def mark(name: str, due: datetime, at: datetime | None = None, **labels: str) -> Measurement:
    known = {"due": due.isoformat(), "run": f"run {due}", "named": "a run"}
    return Measurement(
        name=name, subject="flow/s", value=1, unit="1", at=at or due + MINUTE, labels={**known, **labels}
    )  # fmt: skip


def verdict(due: datetime) -> Measurement:
    return mark(VERDICT, due, state="Completed")


def watched(
    schedule: Schedule, *left: Measurement, since: datetime = DUE - MINUTE, told: Told | None = None
) -> Watched:
    return Watched(subject="flow/s", schedule=schedule, since=since, left=left, told=told)


def nightly(*left: Measurement, told: Told | None = None) -> Watched:
    return watched(NIGHTLY, *left, told=told)


def test_a_run_that_did_not_come_is_told_within_thirty_minutes_with_a_look_every_five() -> None:
    looks = [DUE + number * 5 * MINUTE + timedelta(seconds=1) for number in range(-2, 12)]
    told = [look for look in looks if missing(nightly(), look)]
    assert told[0] <= DUE + 30 * MINUTE
    found = missing(nightly(), told[0])
    assert found
    assert found.line == "flow/s did not run (due 2026-11-25 02:30 UTC)"


def test_a_verdict_that_came_is_not_missing_and_a_failure_is_a_verdict() -> None:
    assert missing(nightly(verdict(DUE)), DUE + 60 * MINUTE) is None
    assert missing(nightly(mark(VERDICT, DUE, state="Failed")), DUE + 60 * MINUTE) is None


def test_yesterdays_verdict_is_not_todays() -> None:
    assert missing(nightly(verdict(DUE - timedelta(days=1))), DUE + 60 * MINUTE)


def test_a_run_that_is_at_work_has_the_time_that_it_named_and_no_more() -> None:
    began = mark(BEGAN, DUE, until=(DUE + timedelta(hours=6)).isoformat())
    assert missing(nightly(began), DUE + timedelta(hours=6)) is None
    found = missing(nightly(began), DUE + timedelta(hours=6, minutes=6))
    assert found
    assert found.why == "began and left no verdict"


def test_a_miss_is_told_once_and_each_further_night_again() -> None:
    first = DUE + 25 * MINUTE
    told = Told(missed=DUE, at=first)
    assert missing(nightly(told=told), first + 5 * MINUTE) is None
    assert missing(nightly(told=told), first + timedelta(hours=20)) is None
    next_night = missing(nightly(told=told), first + timedelta(days=1))
    assert next_night
    assert next_night.due == (DUE + timedelta(days=1),)


def test_an_outage_of_a_schedule_of_five_minutes_is_told_once_a_day() -> None:
    first = missing(watched(OFTEN), DUE + 24 * MINUTE)
    assert first
    told = Told(missed=first.due[-1], at=DUE + 24 * MINUTE)
    looks = [DUE + 24 * MINUTE + number * 5 * MINUTE for number in range(1, 12 * 22)]
    assert not any(missing(watched(OFTEN, told=told), look) for look in looks)
    again = missing(watched(OFTEN, told=told), DUE + timedelta(hours=24))
    assert again
    assert "times, the last due" in again.line


def test_a_second_outage_of_a_day_is_told_although_the_first_was() -> None:
    told = Told(missed=DUE, at=DUE + 24 * MINUTE)
    came = [verdict(DUE + number * 5 * MINUTE) for number in range(5, 20)]
    assert missing(watched(OFTEN, *came, told=told), DUE + 100 * MINUTE) is None
    second = missing(watched(OFTEN, *came, told=told), DUE + 160 * MINUTE)
    assert second
    assert second.due[0] == DUE + 100 * MINUTE


def test_what_still_lacked_when_an_outage_was_told_is_not_told_once_it_is_over() -> None:
    told = Told(missed=DUE, at=DUE + 24 * MINUTE)
    came = [verdict(DUE + number * 5 * MINUTE) for number in range(10, 30)]
    assert missing(watched(OFTEN, *came, told=told), DUE + 150 * MINUTE) is None


def test_a_run_that_was_skipped_behind_a_long_one_is_made_good_by_the_next() -> None:
    came = [verdict(DUE + number * 5 * MINUTE) for number in range(13) if number not in (4, 5)]
    assert missing(watched(OFTEN, *came), DUE + 80 * MINUTE) is None


def test_nothing_is_expected_of_the_time_before_a_schedule_was_there() -> None:
    assert missing(watched(NIGHTLY, since=DUE + MINUTE), DUE + timedelta(hours=20)) is None


def test_a_schedule_that_is_written_otherwise_is_expected_anew() -> None:
    labels = {"written": NIGHTLY.model_dump_json()}
    written = Measurement(name=EXPECTED, subject="flow/s", value=1, unit="1", at=WEEK_BEFORE, labels=labels)
    assert expected_since(NIGHTLY, [written]) == WEEK_BEFORE
    assert expected_since(NIGHTLY.model_copy(update={"cron": "0 4 * * *"}), [written]) is None
    assert expected_since(NIGHTLY, []) is None


def test_a_run_that_died_is_told_once() -> None:
    died = mark(VERDICT, DUE, state="Crashed")
    found = deaths([died, verdict(DUE - MINUTE)], known=())
    assert [death.line for death in found] == [f"flow: run 'a run' died without a word (run {DUE})"]
    assert deaths([died], known={found[0].run}) == []
    assert deaths([mark(VERDICT, DUE, state="Crashed", told="by the flow's hook")], known=()) == []


NOT_UNDERSTOOD = [{"cron": "61 3 * * *"}, {"interval": 3600}, {"cron": "0 3 * * *", "timezone": "CEST"}, {"rrule": "X"}]


@pytest.mark.parametrize("written", NOT_UNDERSTOOD)
def test_a_schedule_that_is_not_understood_is_refused_and_never_due_at_no_time(written: dict[str, object]) -> None:
    with pytest.raises(BadInput, match="reading the schedule s failed"):
        schedule_of("s", written)


