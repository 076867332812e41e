"""Says in words what the review of costs found, the worst first, each with its money and its way out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Protocol

from tasks.cost_models import Budget, Compared, CostAnomaly, CostReview, ExportState, Restatement
from tasks.models import SEVEREST_FIRST, Finding

SUBJECT = "costs"
_CONSOLE = "see Billing → Billing export in the console, and who may write to the dataset"
_KINDS = {"spike": "more than it should", "drop": "less than it should", "new": "and never before"}


class Thresholds(Protocol):
    """The part of the estate that says what is worth a word."""

    @property
    def currency(self) -> str: ...
    @property
    def stale_hours(self) -> int: ...
    @property
    def least_impact(self) -> Decimal: ...


def findings(review: CostReview, state: ExportState, rules: Thresholds, now: datetime) -> tuple[Finding, ...]:
    """Everything worth a word in a review, the worst first."""
    found = [
        *review.findings, *_export(review, state, rules, now), *_budget(review), *_restated(review.restatement, rules),
        *(_anomaly(one, rules.currency) for one in review.anomalies), *_odd(review), *_silent(review),
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda finding: SEVEREST_FIRST.index(finding.severity)))


def money(amount: Decimal, currency: str) -> str:
    """An amount for a person: ``1,234.50 EUR``."""
    return f"{amount:,.2f} {currency}"


def signed(amount: Decimal, currency: str) -> str:
    """A difference for a person, always with its sign."""
    return f"{amount:+,.2f} {currency}"


def sku_name(one: Compared) -> str:
    """A SKU for a person: with its service, unless it bears that in its own name."""
    return one.name if one.name.startswith(one.of) else f"{one.of}: {one.name}"


def label_name(one: Compared) -> str:
    """A label for a person."""
    return f"{one.of}={one.name or '(none)'}"


def is_stale(newest_export: datetime | None, now: datetime, stale_hours: int) -> bool:
    """Whether the export stands still: nothing has come for longer than the estate bears."""
    return newest_export is None or now - newest_export > timedelta(hours=stale_hours)


def _export(review: CostReview, state: ExportState, rules: Thresholds, now: datetime) -> Iterator[Finding]:
    missing = review.freshness.incomplete if review.freshness else ()
    if state.newest_export is None:
        what = f"the export {review.table} holds no line of the time asked about; nothing is judged"
        yield Finding(severity="error", subject=SUBJECT, what=what, way_out=_CONSOLE)
    elif is_stale(state.newest_export, now, rules.stale_hours):
        age = (now - state.newest_export).total_seconds() / 3600
        what = f"the newest line of the export is {_age(age)} old ({state.newest_export:%Y-%m-%d %H:%M} UTC)"
        severity = "error" if missing else "warning"
        what += _not_judged(missing)
        yield Finding.model_validate({"severity": severity, "subject": SUBJECT, "what": what, "way_out": _CONSOLE})
    elif missing:
        what = f"{in_days(missing)} still filling in the export: the next review judges what is missing here"
        yield Finding(severity="info", subject=SUBJECT, what=what)
    if review.freshness and (passed := review.freshness.passed_over):
        what = f"{in_days(passed)} complete, but no review judged them: it is too long ago"
        yield Finding(severity="warning", subject=SUBJECT, what=what)
    if state.foreign_lines:
        what = f"{state.foreign_lines} lines of the export are not in {rules.currency} and are in no figure here"
        yield Finding(severity="warning", subject=SUBJECT, what=what, way_out="set costs.currency in the estate file")


def _budget(review: CostReview) -> Iterator[Finding]:
    told = review.budget
    if told is None or told.verdict == "within":
        return
    severity = "warning" if told.verdict == "at risk" else "error"
    yield Finding.model_validate({"severity": severity, "subject": "budget", "what": _in_words(told, review)})


def _in_words(told: Budget, review: CostReview) -> str:
    limit, spent = money(told.limit, review.currency), money(told.spent, review.currency)
    if told.verdict == "over" or review.forecast is None:
        return f"{spent} of {limit} are spent in {told.month}"
    low, high = (money(amount, review.currency) for amount in (review.forecast.low, review.forecast.high))
    expected = money(review.forecast.expected, review.currency)
    return f"{told.month} is expected to end at {expected} (80 %: {low} to {high}), the budget is {limit}"


def _restated(told: Restatement | None, rules: Thresholds) -> Iterator[Finding]:
    if told is None or not told.late_lines:
        return
    severity = "warning" if abs(told.change) >= rules.least_impact else "info"
    now, then = money(told.now, rules.currency), money(told.told, rules.currency)
    what = (
        f"{told.since} to {told.through} cost {now}, not {then} as the export had it on {told.as_of:%Y-%m-%d}: "
        f"{told.late_lines} late lines, {signed(told.change, rules.currency)}"
    )
    yield Finding.model_validate({"severity": severity, "subject": "restatement", "what": what})


def _anomaly(one: CostAnomaly, currency: str) -> Finding:
    percent = "" if one.percent is None else f", {one.percent:+.0f} %"
    what = (
        f"cost {money(one.actual, currency)} on {_days(one.days)}, {_KINDS[one.kind]}: {signed(one.impact, currency)}"
        f" against {money(one.expected, currency)} expected{percent}"
    )
    severity = "info" if one.kind == "drop" else "warning"
    return Finding.model_validate({"severity": severity, "subject": f"{one.service}: {one.sku}", "what": what})


def _odd(review: CostReview) -> Iterator[Finding]:
    for invoice in review.invoices[-2:]:
        if invoice.adjustments:
            what = f"adjustments of {signed(invoice.adjustments, review.currency)} stand on {invoice.month}"
            yield Finding(severity="info", subject="invoice", what=what)
        if invoice.other:
            what = f"{signed(invoice.other, review.currency)} of an unknown cost type stand on {invoice.month}"
            yield Finding(severity="warning", subject="invoice", what=what)


def _silent(review: CostReview) -> Iterator[Finding]:
    if review.forecast is None and review.freshness and review.freshness.complete_through:
        what = "no forecast of the month's end: fewer than 45 complete days, or too few to test a method on"
        yield Finding(severity="info", subject="forecast", what=what)


def _not_judged(days: tuple[date, ...]) -> str:
    return f"; {_days(days)} of the week cannot be judged" if days else ""


def in_days(days: tuple[date, ...]) -> str:
    """Days as the beginning of a sentence: ``Sat 21 and Sun 22 Nov are``."""
    return f"{_run(days, 'and' if len(days) == 2 else 'to')} {'is' if len(days) == 1 else 'are'}"


def covered(days: tuple[date, ...]) -> str:
    """Which days a figure is of: ``Sat 14 to Fri 20 Nov``."""
    return _run(days, "to")


def _run(days: tuple[date, ...], to: str) -> str:
    first, last = days[0], days[-1]
    if first == last:
        return f"{last:%a %-d %b}"
    month = "" if (first.year, first.month) == (last.year, last.month) else f" {first:%b}"
    return f"{first:%a %-d}{month} {to} {last:%a %-d %b}"


def _days(days: tuple[date, ...]) -> str:
    """A run of days as its ends, others one by one."""
    run = all(later - earlier == timedelta(days=1) for earlier, later in pairwise(days))
    if len(days) > 2 and run:
        return f"{days[0]} to {days[-1]}"
    return ", ".join(str(day) for day in days)


def _age(hours: float) -> str:
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.0f} hours"
