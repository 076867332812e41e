"""The steps of the review of costs: ask the billing export, judge what came.

Safety property: it only reads. What could not be read is in the review with its reason: a question that fails never
leaves a shorter report behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from prefect import task

from tasks.analysis import cost_anomalies, cost_findings, cost_forecast, cost_freshness, costs
from tasks.clients.bigquery import BigQuery
from tasks.clients.billing_export import BillingExport, Scope
from tasks.cost_models import (
    Budget,
    CostReview,
    CostsTold,
    DayCost,
    ExportState,
    Forecast,
    Freshness,
    InvoiceLine,
    LabelSpend,
    ServiceRestated,
    SkuDay,
    Spend,
)
from tasks.errors import OpsError
from tasks.estate import Costs
from tasks.models import Finding
from tasks.policies import READ
from tasks.site import Site

DAY = timedelta(days=1)
WEEK = 7 * DAY
#: More than a year, so that the forecast's method is tested over half of one.
HISTORY = 400 * DAY
#: The anomalies look eight weeks back, and at the same day a month before the oldest of them.
SKU_HISTORY = 63 * DAY + 35 * DAY
WEEKS_TOLD = 8
DAYS_TOLD = 90
INVOICES_TOLD = 13
T = TypeVar("T")


async def review_costs(
    site: Site, week: date, now: datetime | None = None, told: CostsTold | None = None
) -> CostReview:
    """Review the costs up to the end of the week that begins on Monday ``week``, as the export stands at ``now``.

    ``told`` are the days that the last review judged: the ones after them are judged now, and they are stated anew.
    Never raises for what the outside does: an export that cannot be read is a review in the state ``unavailable``, with
    an error as finding.
    """
    rules, now = site.estate.costs, now or datetime.now(UTC)
    if rules is None:
        return CostReview(state="off", week=week, why=f"{site.estate.file.name} has no [costs]")
    export = export_of(site, rules, now)
    try:
        return await _review(export, rules, week, now, told)
    except OpsError as error:
        finding = Finding(severity="error", subject="costs", what=f"not in this report: {error}")
        return CostReview(
            state="unavailable", why=str(error), week=week, currency=rules.currency, table=rules.table,
            findings=(finding,),
        )  # fmt: skip


def export_of(site: Site, rules: Costs, now: datetime) -> BillingExport:
    """The estate's billing export as it stands at a moment."""
    bigquery = BigQuery(site.google, rules.maximum_bytes_billed)
    return BillingExport(bigquery, Scope(rules.table, rules.currency, rules.zone, now))


def told_by(review: CostReview, now: datetime, before: CostsTold | None) -> CostsTold | None:
    """What the next review is to know: the days that this one judged; where it judged none, what it knew itself."""
    judged = review.freshness.judged if review.freshness else ()
    return CostsTold(since=judged[0], through=judged[-1], as_of=now) if judged else before


async def _review(
    export: BillingExport, rules: Costs, week: date, now: datetime, told: CostsTold | None
) -> CostReview:
    state, settle = await read_state(export, week - HISTORY), timedelta(hours=rules.settle_hours)
    through = told.through if told else None
    fresh = cost_freshness.freshness(state.newest_export, week, rules.zone, settle, through)
    asked = await _ask(export, rules, week, fresh, told)
    review = judge(asked, rules, week, fresh, cost_findings.is_stale(state.newest_export, now, rules.stale_hours))
    made = review.model_copy(update={"bytes_processed": export.bytes_processed})
    return made.model_copy(update={"findings": cost_findings.findings(made, state, rules, now)})


@dataclass(frozen=True)
class Asked:
    """What the export answered. ``gaps`` are the questions that it did not."""

    days: list[DayCost]
    skus: list[SkuDay]
    invoices: list[InvoiceLine]
    labels: list[LabelSpend]
    late: list[ServiceRestated] | None
    told: CostsTold | None
    gaps: tuple[Finding, ...]


async def _ask(
    export: BillingExport, rules: Costs, week: date, fresh: Freshness, told: CostsTold | None
) -> Asked:
    """Ask one question after the other. Without days and SKUs there is no review; the others may be missing."""
    gaps: list[Finding] = []
    until = max(week + WEEK, (fresh.complete_through or week) + DAY)
    days = await read_days(export, week - HISTORY, until)
    skus = await read_skus(export, min((week, *fresh.judged)) - SKU_HISTORY, week + WEEK)
    invoices = await _or_gap(gaps, "invoices", read_invoices(export, _first_invoice(week)))
    labels: list[LabelSpend] | None = []
    if rules.labels and fresh.judged:
        labels = await _or_gap(gaps, "costs by label", read_labels(export, rules.labels, fresh.judged))
    late = await _or_gap(gaps, "restatement", read_late(export, told)) if told else None
    return Asked(days, skus, invoices or [], labels or [], late, told, tuple(gaps))


def judge(asked: Asked, rules: Costs, week: date, fresh: Freshness, stale: bool) -> CostReview:
    """Make the review of what was read: pure but for nothing, so it can be tested without a cloud."""
    by_day, judged = costs.usage(asked.days), fresh.judged
    gaps = (*asked.gaps, *_disagreement(asked, by_day, sorted({*judged, *fresh.incomplete})))
    forecast = cost_forecast.forecast(by_day, fresh.complete_through) if fresh.complete_through else None
    return CostReview(
        state="judged" if not fresh.incomplete else "stale" if stale else "partial",
        why="" if not fresh.incomplete else f"{cost_findings.in_days(fresh.incomplete)} not complete yet",
        week=week, currency=rules.currency, table=rules.table, freshness=fresh,
        this=costs.of_days(by_day, judged) if judged else None,
        before=costs.of_days(by_day, costs.before(judged)) if judged else None,
        weeks=costs.weeks(by_day, week, fresh.complete_through, WEEKS_TOLD),
        services=costs.compare_services(asked.skus, judged), skus=costs.compare_skus(asked.skus, judged),
        labels=costs.compare_labels(asked.labels),
        anomalies=cost_anomalies.anomalies(asked.skus, judged, rules.least_impact, rules.least_percent),
        invoices=costs.invoices(asked.invoices), forecast=forecast,
        budget=_budget(rules, by_day, fresh.complete_through, forecast),
        units=costs.unit_costs(asked.skus, judged, rules.units) if judged else (),
        restatement=costs.restatement(asked.told, asked.late) if asked.told and asked.late is not None else None,
        days=_chart(by_day, fresh.complete_through), findings=gaps,
    )  # fmt: skip


@task(**READ)
async def read_state(export: BillingExport, since: date) -> ExportState:
    """Ask how far the export has come."""
    return await asyncio.to_thread(export.state, since)


@task(**READ)
async def read_days(export: BillingExport, since: date, until: date) -> list[DayCost]:
    """Ask what each day cost."""
    return await asyncio.to_thread(export.days, since, until)


@task(**READ)
async def read_skus(export: BillingExport, since: date, until: date) -> list[SkuDay]:
    """Ask what each SKU cost on each day."""
    return await asyncio.to_thread(export.sku_days, since, until)


@task(**READ)
async def read_invoices(export: BillingExport, first: str) -> list[InvoiceLine]:
    """Ask what stands on the invoices."""
    return await asyncio.to_thread(export.invoices, first)


@task(**READ)
async def read_labels(export: BillingExport, keys: tuple[str, ...], judged: Sequence[date]) -> list[LabelSpend]:
    """Ask what each label cost on the judged days, and on as many before."""
    since, earlier = judged[0], costs.before(judged)
    found = await asyncio.to_thread(export.labels, keys, since, since, judged[-1] + DAY)
    before = await asyncio.to_thread(export.labels, keys, earlier[0], since, earlier[-1] + DAY)
    return [*found, *before]


@task(**READ)
async def read_late(export: BillingExport, told: CostsTold) -> list[ServiceRestated]:
    """Ask what has come late for the days that were judged already."""
    return await asyncio.to_thread(export.restated, told.since, told.through + DAY, told.as_of)


async def _or_gap(gaps: list[Finding], what: str, question: Awaitable[T]) -> T | None:
    """The answer; where there is none, a finding that says so."""
    try:
        return await question
    except OpsError as error:
        gaps.append(Finding(severity="error", subject="costs", what=f"{what} not in this report: {error}"))
        return None


def _disagreement(asked: Asked, by_day: dict[date, Spend], days: Sequence[date]) -> tuple[Finding, ...]:
    """Two questions about the same days must have the same answer; where they have not, no figure can be trusted."""
    whole = costs.of_days(by_day, days).net
    parts = costs.total(line.spend for line in asked.skus if line.day in days).net
    if whole == parts:
        return ()
    what = f"the days add up to {whole}, their SKUs to {parts}: the export changed between two questions"
    return (Finding(severity="error", subject="costs", what=what, way_out="run the review again"),)


def _budget(
    rules: Costs, by_day: dict[date, Spend], through: date | None, forecast: Forecast | None
) -> Budget | None:
    if rules.budget_per_month is None or through is None:
        return None
    spent = costs.total(by_day[day] for day in by_day if through.replace(day=1) <= day <= through).net
    return costs.budget(rules.budget_per_month, f"{through:%Y%m}", spent, forecast)


def _chart(by_day: dict[date, Spend], through: date | None) -> tuple[DayCost, ...]:
    if through is None:
        return ()
    days = [day for day in by_day if through - DAYS_TOLD * DAY < day <= through]
    return tuple(DayCost(day=day, cost_type=costs.REGULAR, spend=by_day[day]) for day in days)


def _first_invoice(week: date) -> str:
    month = week.year * 12 + week.month - 1 - (INVOICES_TOLD - 1)
    return f"{month // 12}{month % 12 + 1:02d}"
