"""What the review of costs says in words: the worst first, with its money."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tasks.analysis.cost_findings import findings
from tasks.cost_models import (
    Budget,
    CostAnomaly,
    CostReview,
    ExportState,
    Forecast,
    Freshness,
    Invoice,
    Restatement,
    Spend,
)
from tasks.estate import Costs

WEEK = date(2026, 11, 2)
NOW = datetime(2026, 11, 11, 6, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = tuple(WEEK + n * DAY for n in range(7))
RULES = Costs(table="pyplots.billing.export", currency="EUR")
FRESH = ExportState(newest_export=NOW - timedelta(hours=1), newest_usage=NOW, lines=10)
FORECAST = Forecast(
    month="202611", through=WEEK, spent=Decimal(50), expected=Decimal("1234.5"), low=Decimal(1200), high=Decimal(1300),
    method="mean of 7 days", past_error_percent=2, backtests=(),
)  # fmt: skip


def told(state: ExportState = FRESH, judged: int = 7, **more: Any) -> list[tuple[str, str, str]]:
    """Severity, subject and words of each finding."""
    fresh = Freshness(
        newest_export=state.newest_export, complete_through=WEEK, judged=DAYS[:judged], incomplete=DAYS[judged:]
    )
    review = CostReview(
        state="judged", week=WEEK, currency="EUR", table=RULES.table,
        **{"freshness": fresh, "forecast": FORECAST, **more},
    )  # fmt: skip
    return [(one.severity, one.subject, one.what) for one in findings(review, state, RULES, NOW)]


def test_a_week_without_news_says_nothing() -> None:
    assert told() == []


def test_an_export_without_a_line_and_one_that_stands_still_are_errors() -> None:
    empty = ExportState(newest_export=None, newest_usage=None, lines=0)
    assert told(empty, judged=0)[0][0] == "error"
    old = ExportState(newest_export=NOW - timedelta(days=7), newest_usage=None, lines=3)
    ((severity, _, what),) = told(old, judged=2)
    assert severity == "error"
    assert what == (
        "the newest line of the export is 7.0 days old (2026-11-04 06:00 UTC); "
        "2026-11-04 to 2026-11-08 of the week cannot be judged"
    )
    assert [severity for severity, *_ in told(old)] == ["warning"]


def test_days_that_are_still_filling_are_named() -> None:
    ((severity, _, what),) = told(judged=5)
    assert severity == "info"
    assert what == "Sat 7 and Sun 8 Nov are still filling in the export: the next review judges what is missing here"


def test_lines_in_another_currency_are_a_warning() -> None:
    ((severity, _, what),) = told(FRESH.model_copy(update={"foreign_lines": 4}))
    assert (severity, what[:40]) == ("warning", "4 lines of the export are not in EUR and")


@pytest.mark.parametrize(
    ("verdict", "severity", "words"),
    [
        ("over", "error", "1,050.00 EUR of 1,000.00 EUR are spent in 202611"),
        ("over soon", "error", "202611 is expected to end at 1,234.50 EUR (80 %: 1,200.00 EUR to 1,300.00 EUR), "),
        ("at risk", "warning", "202611 is expected to end at"),
    ],
)  # fmt: skip
def test_a_budget_is_told_as_bad_as_it_is(verdict: str, severity: str, words: str) -> None:
    budget = Budget.model_validate(
        {"month": "202611", "limit": Decimal(1000), "spent": Decimal(1050), "verdict": verdict}
    )
    (found,) = told(budget=budget)
    assert found[:2] == (severity, "budget")
    assert found[2].startswith(words)


@pytest.mark.parametrize(("now", "severity"), [("104.99", "info"), ("105", "warning"), ("95", "warning")])
def test_a_restatement_is_as_important_as_its_money(now: str, severity: str) -> None:
    late = Restatement(
        since=WEEK - 7 * DAY, through=WEEK - DAY, as_of=NOW, told=Decimal(100), now=Decimal(now), late_lines=3
    )
    (found,) = told(restatement=late)
    assert found[:2] == (severity, "restatement")
    assert "3 late lines" in found[2]


def test_an_anomaly_is_told_with_its_money_and_a_drop_is_no_alarm() -> None:
    fixed = {"service": "Cloud Run", "sku": "CPU", "days": (WEEK,)}
    spike = CostAnomaly(kind="spike", actual=Decimal(30), expected=Decimal(10), **fixed)  # type: ignore[arg-type]
    drop = CostAnomaly(kind="drop", actual=Decimal(0), expected=Decimal(10), **fixed)  # type: ignore[arg-type]
    new = CostAnomaly(kind="new", actual=Decimal(9), expected=Decimal(0), **fixed)  # type: ignore[arg-type]
    found = told(anomalies=(drop, spike, new))
    assert [severity for severity, *_ in found] == ["warning", "warning", "info"]
    assert found[0][1:] == (
        "Cloud Run: CPU",
        "cost 30.00 EUR on 2026-11-02, more than it should: +20.00 EUR against 10.00 EUR expected, +200 %",
    )
    assert found[1][2].endswith("+9.00 EUR against 0.00 EUR expected")


def test_adjustments_and_unknown_kinds_of_cost_are_told() -> None:
    odd = Invoice(month="202610", usage=Spend(), adjustments=Decimal("-3.1"), other=Decimal(2))
    assert [(severity, subject) for severity, subject, _ in told(invoices=(odd,))] == [
        ("warning", "invoice"), ("info", "invoice"),
    ]  # fmt: skip


def test_a_forecast_that_is_missing_is_said() -> None:
    assert [subject for _, subject, _ in told(forecast=None)] == ["forecast"]
