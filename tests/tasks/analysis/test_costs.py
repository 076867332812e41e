"""Sums and comparisons of costs: exact, net of credits, with taxes and adjustments apart."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from tasks.analysis import costs
from tasks.cost_models import (
    Compared,
    CostsTold,
    DayCost,
    Forecast,
    InvoiceLine,
    LabelSpend,
    ServiceRestated,
    SkuDay,
    Spend,
)
from tasks.estate import Unit

WEEK = date(2026, 11, 2)
DAY = timedelta(days=1)
DAYS = tuple(WEEK + n * DAY for n in range(7))


def spend(cost: str, credit: str = "0") -> Spend:
    return Spend(cost=Decimal(cost), credits=Decimal(credit))


def sku(day: date, service: str, name: str, cost: str, credit: str = "0", amount: str = "0") -> SkuDay:
    return SkuDay(day=day, service=service, sku=name, spend=spend(cost, credit), amount=Decimal(amount), unit="count")


def test_usage_alone_counts_for_a_day_and_thirds_of_a_cent_add_up() -> None:
    lines = [DayCost(day=WEEK, cost_type="regular", spend=spend("0.003333333", "-0.000000001"))] * 3
    lines.append(DayCost(day=WEEK, cost_type="tax", spend=spend("100")))
    assert costs.usage(lines)[WEEK].net == Decimal("0.009999996")


def test_weeks_are_told_with_whether_they_are_complete() -> None:
    by_day = {WEEK - 7 * DAY: spend("3"), WEEK: spend("5", "-1"), WEEK + 6 * DAY: spend("1")}
    before, this = costs.weeks(by_day, WEEK, WEEK + 5 * DAY, 2)
    assert (before.start, before.spend.net, before.complete) == (WEEK - 7 * DAY, Decimal(3), True)
    assert (this.start, this.spend.net, this.complete) == (WEEK, Decimal(5), False)


def test_a_service_is_compared_on_the_same_days_of_both_weeks_the_dearest_first() -> None:
    lines = [
        sku(WEEK, "run", "cpu", "4", "-1"), sku(WEEK - 7 * DAY, "run", "cpu", "2"), sku(WEEK, "sql", "ram", "9"),
        sku(WEEK - 5 * DAY, "run", "cpu", "100"), sku(WEEK - 7 * DAY, "gone", "x", "1"),
    ]  # fmt: skip
    sql, run, gone = costs.compare_services(lines, DAYS[:2])
    assert (sql.name, sql.this.net, sql.before.net, sql.percent) == ("sql", Decimal(9), Decimal(0), None)
    assert (run.name, run.change, run.percent) == ("run", Decimal(1), Decimal(50))
    assert (gone.name, gone.change, gone.percent) == ("gone", Decimal(-1), Decimal(-100))
    assert [(one.of, one.name) for one in costs.compare_skus(lines, DAYS[:2])] == [
        ("sql", "ram"), ("run", "cpu"), ("gone", "x"),
    ]  # fmt: skip


def test_labels_are_compared_by_key_and_value() -> None:
    lines = [
        LabelSpend(key="service", value="api", this_week=True, spend=spend("3")),
        LabelSpend(key="service", value="api", this_week=False, spend=spend("2")),
    ]
    (api,) = costs.compare_labels(lines)
    assert (api.of, api.name, api.change) == ("service", "api", Decimal(1))


def test_an_invoice_keeps_tax_adjustments_and_rounding_apart_and_adds_up() -> None:
    kinds = {"tax": "16.8", "adjustment": "-3.1", "rounding_error": "0.004", "surprise": "1"}
    lines = [InvoiceLine(month="202610", cost_type=kind, spend=spend(cost)) for kind, cost in kinds.items()]
    lines.append(InvoiceLine(month="202610", cost_type="regular", spend=spend("100", "-20")))
    (told,) = costs.invoices([*lines, InvoiceLine(month="202610", cost_type="tax", spend=spend("0.2"))])
    assert (told.usage.net, told.tax, told.adjustments) == (Decimal(80), Decimal(17), Decimal("-3.1"))
    assert (told.rounding, told.other, told.total) == (Decimal("0.004"), Decimal(1), Decimal("94.904"))


def test_a_unit_costs_what_its_services_cost_over_what_was_used() -> None:
    unit = Unit(name="1,000 requests", services=("run",), sku="Requests", per=Decimal(1000))
    lines = [
        sku(WEEK, "run", "Requests", "1", amount="50000"), sku(WEEK, "run", "cpu", "5", "-1", amount="9"),
        sku(WEEK, "sql", "Requests", "7", amount="7"), sku(WEEK - 7 * DAY, "run", "cpu", "5"),
    ]  # fmt: skip
    (told,) = costs.unit_costs(lines, DAYS, [unit])
    assert (told.this, told.amount, told.before) == (Decimal("0.1"), Decimal(50), None)


def test_a_restatement_adds_up_and_names_the_services_that_changed() -> None:
    services = [
        ServiceRestated(service="run", told=Decimal(10), now=Decimal("10.5"), late_lines=3),
        ServiceRestated(service="sql", told=Decimal(4), now=Decimal(4), late_lines=0),
    ]
    then = CostsTold(since=WEEK, through=WEEK + 6 * DAY, as_of=datetime(2026, 11, 9, tzinfo=UTC))
    told = costs.restatement(then, services)
    assert (told.told, told.now, told.change, told.late_lines) == (Decimal(14), Decimal("14.5"), Decimal("0.5"), 3)
    assert [one.service for one in told.services] == ["run"]


@pytest.mark.parametrize(
    ("spent", "expected", "high", "verdict"),
    [("101", "120", "130", "over"), ("50", "101", "110", "over soon"), ("50", "95", "99", "at risk"),
     ("50", "80", "101", "at risk"), ("50", "80", "90", "within"), ("100", "100", "100", "at risk")],
)  # fmt: skip
def test_a_budget_is_judged_by_what_is_spent_and_what_is_expected(
    spent: str, expected: str, high: str, verdict: str
) -> None:
    forecast = Forecast(
        month="202611", through=WEEK, spent=Decimal(spent), expected=Decimal(expected), low=Decimal(0),
        high=Decimal(high), method="m", past_error_percent=1, backtests=(),
    )  # fmt: skip
    assert costs.budget(Decimal(100), "202611", Decimal(spent), forecast).verdict == verdict


def test_without_a_forecast_a_budget_is_judged_by_what_is_spent() -> None:
    assert costs.budget(Decimal(100), "202611", Decimal("99"), None).verdict == "within"
    assert costs.budget(Decimal(100), "202611", Decimal("100.01"), None).verdict == "over"


def test_days_are_compared_with_as_many_before_that_are_none_of_themselves() -> None:
    for length in (1, 5, 7, 8, 14, 28):
        days = [WEEK + n * DAY for n in range(length)]
        earlier = costs.before(days)
        assert [day.weekday() for day in earlier] == [day.weekday() for day in days]
        assert not set(earlier) & set(days)


def test_what_moved_most_comes_first_up_or_down_and_what_stood_still_is_left_out() -> None:
    def pair(name: str, this: str, then: str) -> Compared:
        return Compared(name=name, this=Spend(cost=Decimal(this)), before=Spend(cost=Decimal(then)))

    pairs = (pair("up", "9", "5"), pair("down", "1", "8"), pair("still", "70", "70.001"), pair("less", "2", "1"))
    assert [one.name for one in costs.movers(pairs, 2)] == ["down", "up"]
    assert [one.name for one in costs.movers(pairs, 9)] == ["down", "up", "less"]
