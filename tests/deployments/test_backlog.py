"""After days down, each schedule runs once; what somebody asked for always runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from deployments.stack.backlog import superseded

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Maker:
    id: UUID | None
    type: str | None = "SCHEDULE"


@dataclass(frozen=True)
class Run:
    created_by: Maker | None
    expected_start_time: datetime | None
    id: UUID
    start_time: datetime | None = None


def due(maker: Maker | None, hours_ago: float) -> Run:
    return Run(maker, NOW - timedelta(hours=hours_ago), uuid4())


def test_of_three_nights_the_newest_is_run_and_of_each_schedule_one() -> None:
    nightly, often = Maker(uuid4()), Maker(uuid4())
    nights = [due(nightly, 24 * number + 9) for number in range(3)]
    beats = [due(often, number / 12) for number in range(12)]
    skipped = superseded([*beats, *nights], NOW)
    assert {run.id for run in [*nights, *beats]} - skipped == {nights[0].id, beats[0].id}


def test_what_a_person_or_a_webhook_asked_for_is_never_skipped() -> None:
    person = Maker(uuid4(), "USER")
    assert superseded([due(person, 2), due(person, 1), due(None, 3), due(None, 2)], NOW) == set()


def test_a_run_that_is_not_due_yet_does_not_take_the_place_of_one_that_is() -> None:
    schedule = Maker(uuid4())
    late, coming = due(schedule, 1), due(schedule, -0.002)
    assert superseded([late, coming], NOW) == set()


def test_a_run_that_goes_on_after_an_approval_is_not_skipped_for_a_newer_one() -> None:
    schedule = Maker(uuid4())
    approved = replace(due(schedule, 30), start_time=NOW - timedelta(hours=30))
    assert superseded([approved, due(schedule, 6)], NOW) == set()


def test_of_two_at_the_same_moment_one_is_run() -> None:
    schedule = Maker(uuid4())
    twins = [due(schedule, 1), due(schedule, 1)]
    assert len(superseded(twins, NOW)) == 1
