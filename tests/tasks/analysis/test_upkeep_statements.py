"""Differences of pg_stat_statements that know of resets and evictions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tasks.analysis.upkeep_statements import changes, mean_times, means, since
from tasks.maintenance_facts import StatementFacts, StatementsSnapshot
from tasks.models import Measurement

THEN = datetime(2026, 8, 2, tzinfo=UTC)
NOW = datetime(2026, 11, 1, tzinfo=UTC)
BORN = datetime(2026, 1, 1, tzinfo=UTC)


def shot(
    at: datetime, reset: datetime | None = BORN, born: datetime = BORN, **counted: tuple[int, float]
) -> StatementsSnapshot:
    statements = tuple(
        StatementFacts(id=name, text=name, calls=calls, total_ms=total, since=born)
        for name, (calls, total) in counted.items()
    )
    return StatementsSnapshot(at=at, reset=reset, statements=statements)


def test_the_difference_of_two_looks_with_the_mean_before() -> None:
    (one,) = changes(shot(NOW, a=(300, 900.0)), shot(THEN, a=(100, 100.0)), {"a": 2.0})
    assert (one.calls, one.total_ms, one.mean_ms, one.change_percent) == (200, 800.0, 4.0, 100.0)


def test_after_a_reset_of_all_only_what_was_counted_since_is_told() -> None:
    then, now = shot(THEN, a=(1000, 5000.0)), shot(NOW, reset=NOW - timedelta(days=3), a=(2000, 2000.0))
    (one,) = changes(now, then, {})
    assert (one.calls, one.mean_ms) == (2000, 1.0)
    assert "since the reset" in since(now, then)


def test_an_entry_that_was_evicted_and_came_back_is_not_subtracted_from() -> None:
    then = shot(THEN, a=(1000, 5000.0))
    (fewer,) = changes(shot(NOW, a=(10, 20.0)), then, {})
    (more,) = changes(shot(NOW, born=NOW - timedelta(days=1), a=(2000, 4000.0)), then, {})
    assert (fewer.calls, more.calls) == (10, 2000)


def test_a_statement_that_did_not_run_is_not_told_and_a_new_one_is() -> None:
    found = changes(shot(NOW, a=(100, 100.0), b=(5, 50.0)), shot(THEN, a=(100, 100.0)), {})
    assert [(one.id, one.change_percent) for one in found] == [("b", None)]


def test_the_means_of_a_stretch_are_what_the_next_is_compared_with() -> None:
    assert means(shot(NOW, a=(300, 900.0)), shot(THEN, a=(100, 100.0))) == {"a": 4.0}


def test_the_mean_between_two_looks_is_of_what_ran_between_them_and_none_over_a_reset() -> None:
    days = [THEN + timedelta(days=number) for number in range(4)]

    def seen(values: list[float]) -> list[Measurement]:
        return [
            Measurement(name="n", subject="s", value=value, unit="1", at=at)
            for at, value in zip(days, values, strict=True)
        ]

    found = mean_times(seen([100, 300, 50, 150]), seen([100.0, 900.0, 10.0, 30.0]))
    assert found == [(days[1], 4.0), (days[3], 0.2)]


def test_a_first_look_says_since_when_it_was_counted() -> None:
    assert "2026-01-01" in since(shot(NOW), None)
