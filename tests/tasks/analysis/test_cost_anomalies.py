"""What stands out of a SKU's days, and what does not: by table, and on generated bills with planted anomalies."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pytest

from localcloud.billing.bill import SKUS, Bill, Planted
from tasks.analysis.cost_anomalies import anomalies
from tasks.cost_models import SkuDay, Spend

WEEK = date(2026, 11, 2)
DAY = timedelta(days=1)
DAYS = tuple(WEEK + n * DAY for n in range(7))
FIVE, QUARTER = Decimal(5), Decimal(25)


def days(costs: dict[int, float], steady: float = 10.0, before: int = 70) -> list[SkuDay]:
    """A SKU at a steady cost with a quiet weekend, and other costs on the days of the week that are given."""
    lines = []
    for n in range(-before, 7):
        day = WEEK + n * DAY
        usual = steady * (0.6 if day.weekday() >= 5 else 1.0) * (1.01 if n % 2 else 0.99)
        lines.append(line(day, costs.get(n, usual)))
    return [one for one in lines if one.spend.cost]


def line(day: date, cost: float, sku: str = "cpu") -> SkuDay:
    return SkuDay(day=day, service="run", sku=sku, spend=Spend(cost=Decimal(repr(round(float(cost), 6)))))


def test_a_steady_sku_with_quiet_weekends_says_nothing() -> None:
    assert anomalies(days({}), DAYS, FIVE, QUARTER) == ()


def test_a_spike_is_told_with_its_days_and_its_money() -> None:
    (found,) = anomalies(days({2: 30.0, 3: 25.0}), DAYS, FIVE, QUARTER)
    assert (found.kind, found.days, found.actual) == ("spike", (WEEK + 2 * DAY, WEEK + 3 * DAY), Decimal(55))
    assert found.impact == pytest.approx(Decimal(35), abs=Decimal(1))
    assert found.percent == pytest.approx(Decimal(175), abs=Decimal(10))


def test_a_day_that_is_dear_for_a_sunday_counts_though_it_is_cheap_for_a_monday() -> None:
    (found,) = anomalies(days({6: 11.5}), DAYS, FIVE, QUARTER)
    assert found.days == (WEEK + 6 * DAY,)


def test_much_in_per_cent_but_little_in_money_is_not_told() -> None:
    assert anomalies(days({2: 0.4}, steady=0.1), DAYS, FIVE, QUARTER) == ()


def test_much_in_money_but_little_in_per_cent_is_not_told() -> None:
    assert anomalies(days({2: 1100.0}, steady=1000.0), DAYS, FIVE, QUARTER) == ()


def test_what_stopped_is_a_drop() -> None:
    (found,) = anomalies(days(dict.fromkeys(range(2, 7), 0.0)), DAYS, FIVE, QUARTER)
    assert (found.kind, len(found.days), found.actual) == ("drop", 5, Decimal(0))


def test_what_stopped_long_ago_is_not_told_again() -> None:
    gone = [one for one in days({}) if one.day < WEEK - 30 * DAY]
    assert anomalies(gone, DAYS, FIVE, QUARTER) == ()


def test_a_sku_without_a_history_is_new() -> None:
    (found,) = anomalies([line(WEEK + DAY, 4.0), line(WEEK + 2 * DAY, 6.0)], DAYS, FIVE, QUARTER)
    assert (found.kind, found.impact, found.percent) == ("new", Decimal(10), None)


def test_a_charge_of_each_first_is_no_surprise_and_a_dearer_one_is() -> None:
    firsts = [date(2026, 9, 1), date(2026, 10, 1), date(2026, 11, 1)]
    week = tuple(date(2026, 10, 26) + n * DAY for n in range(7))
    same = [line(day, 27.0, "support") for day in firsts]
    assert anomalies(same, week, FIVE, QUARTER) == ()
    (found,) = anomalies([*same[:2], line(firsts[2], 60.0, "support")], week, FIVE, QUARTER)
    assert found.days == (date(2026, 11, 1),)


def test_the_order_is_by_money() -> None:
    both = [*days({2: 30.0}), *(one.model_copy(update={"sku": "ram"}) for one in days({3: 90.0}))]
    assert [one.sku for one in anomalies(both, DAYS, FIVE, QUARTER)] == ["ram", "cpu"]


def test_on_generated_bills_what_was_planted_is_found_and_little_else() -> None:
    since, sku = date(2026, 7, 1), "Log Storage cost"
    index, prices = [one.name for one in SKUS].index(sku), np.array([one.price for one in SKUS])
    found = others = 0
    for seed in range(20):
        bill = Bill(seed, since, (Planted(sku, WEEK + DAY, 3, 6.0),), random_anomalies=False)
        costs = bill.amounts((WEEK - since).days + 7) * prices * 20  # an estate of some thousands a month
        lines = [
            line(since + n * DAY, cost, SKUS[s].name)
            for n, row in enumerate(costs) for s, cost in enumerate(row) if cost
        ]  # fmt: skip
        told = anomalies(lines, DAYS, Decimal(20), Decimal(50))
        found += any(one.sku == sku and WEEK + DAY in one.days for one in told)
        others += sum(one.sku != SKUS[index].name for one in told)
    assert found >= 19
    assert others <= 4
