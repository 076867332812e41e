"""The review's judgement of what was read, without a cloud."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from tasks.analysis.cost_freshness import freshness
from tasks.cost_models import CostReview, DayCost, SkuDay, Spend
from tasks.costs import Asked, judge
from tasks.estate import Costs

WEEK = date(2026, 11, 2)
DAY = timedelta(days=1)
RULES = Costs(table="pyplots.billing.export", currency="EUR", budget_per_month=Decimal(1000))
DONE = datetime(2026, 11, 11, 6, tzinfo=UTC)


def review(newest: datetime = DONE, stale: bool = False, missing: str = "0") -> CostReview:
    """A review of 10 EUR a day, of which the SKUs lack some."""
    days = [WEEK + n * DAY for n in range(-90, 7)]
    spend = Spend(cost=Decimal(11), credits=Decimal(-1))
    lines = [SkuDay(day=day, service="run", sku="cpu", spend=spend) for day in days]
    lines[-1] = lines[-1].model_copy(update={"spend": Spend(cost=Decimal(10) - Decimal(missing))})
    asked = Asked(
        [DayCost(day=day, cost_type="regular", spend=spend) for day in days], lines, [], [], None, DONE, ()
    )
    fresh = freshness(newest, WEEK, RULES.zone, timedelta(hours=RULES.settle_hours))
    return judge(asked, RULES, WEEK, fresh, stale)


def test_a_week_of_complete_days_is_judged() -> None:
    found = review()
    assert (found.state, found.findings) == ("judged", ())
    assert found.this is not None
    assert (found.this.net, found.this.credits) == (Decimal(70), Decimal(-7))
    assert found.budget is not None
    assert found.restatement is None
    assert len(found.days) == 90


def test_two_answers_about_one_week_that_disagree_are_an_error() -> None:
    (finding,) = review(missing="0.01").findings
    assert finding.severity == "error"
    assert "add up to 70, their SKUs to 69.99" in finding.what


def test_nothing_is_said_of_days_that_are_not_complete() -> None:
    newest = datetime(2026, 11, 6, 20, tzinfo=UTC)
    found = review(newest)
    assert (found.state, found.why) == ("partial", "Thu 5 to Sun 8 Nov are not complete yet")
    assert found.this == found.before == Spend(cost=Decimal(33), credits=Decimal(-3))
    assert review(newest, stale=True).state == "stale"


def test_of_a_week_without_a_complete_day_no_figure_is_given() -> None:
    found = review(datetime(2026, 11, 2, 20, tzinfo=UTC), stale=True)
    assert (found.state, found.this, found.before, found.units, found.anomalies) == ("stale", None, None, (), ())
