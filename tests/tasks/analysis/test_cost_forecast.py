"""The forecast of a month's end: its parts by table, its promise on generated years."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from tasks.analysis.cost_forecast import METHODS, forecast, series
from tasks.cost_models import Spend
from tests.benchmarks.forecasts import forecasts

FIRST = date(2026, 1, 1)
DAY = timedelta(days=1)


def constant(days: int, cost: str = "10") -> dict[date, Spend]:
    return {FIRST + n * DAY: Spend(cost=Decimal(cost), credits=Decimal(-1)) for n in range(days)}


def test_steady_costs_end_where_they_must() -> None:
    by_day = constant(31 + 28 + 31 + 20)
    told = forecast(by_day, date(2026, 4, 20))
    assert told is not None
    assert (told.month, told.spent, told.expected) == ("202604", Decimal(180), Decimal("270.00"))
    assert told.low == told.high == told.expected
    assert told.past_error_percent == 0
    assert {one.method for one in told.backtests} == set(METHODS)
    assert all(one.origins >= 8 for one in told.backtests)


def test_a_month_that_is_over_is_no_guess() -> None:
    told = forecast(constant(31 + 28), date(2026, 2, 28))
    assert told is not None
    assert (told.method, told.low, told.expected, told.high) == ("spent", *[Decimal(28 * 9)] * 3)


@pytest.mark.parametrize("days", [0, 10, 50])
def test_a_short_history_is_no_ground_for_a_guess(days: int) -> None:
    assert forecast(constant(days), FIRST + max(0, days - 1) * DAY) is None


def test_the_money_spent_is_exact_while_the_guess_is_not() -> None:
    by_day = constant(110)
    by_day[date(2026, 4, 2)] = Spend(cost=Decimal("10.000000001"))
    told = forecast(by_day, date(2026, 4, 20))
    assert told is not None
    assert told.spent == Decimal("181.000000001")


def test_what_is_charged_on_each_first_is_not_expected_again() -> None:
    by_day = constant(31 + 28 + 31 + 30 + 31 + 20)
    for month in range(1, 7):
        by_day[date(2026, month, 1)] = Spend(cost=Decimal(500))
    told = forecast(by_day, date(2026, 6, 20))
    assert told is not None
    assert told.expected == pytest.approx(Decimal(500 + 29 * 9), abs=Decimal(1))


def test_a_day_without_a_line_cost_nothing() -> None:
    assert list(series({FIRST: Spend(cost=Decimal(2)), FIRST + 2 * DAY: Spend(cost=Decimal(3))}, FIRST + 3 * DAY)) == [
        2, 0, 3, 0,
    ]  # fmt: skip


def test_on_generated_years_the_error_is_small_and_the_interval_holds_as_often_as_it_says() -> None:
    made = forecasts(years=12, every=4)
    assert len(made.errors) > 500
    assert made.mean_error <= 0.10
    # twelve years are few: the benchmark holds 200 of them to 75-85 %
    assert 0.68 <= made.coverage <= 0.90
    assert made.told_error == pytest.approx(made.mean_error, abs=0.02)
