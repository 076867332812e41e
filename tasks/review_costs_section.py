"""The costs of a week as a section of its report.

Safety property: a week that is not judged says so and why, instead of a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tasks.analysis.cost_findings import covered, label_name, money, signed, sku_name
from tasks.analysis.costs import before, movers
from tasks.cost_models import Compared, CostReview
from tasks.pages import Section, Series, Table, bar_chart, line_chart
from tasks.review_models import left_out

MOST_SERVICES, MOST_SKUS, MOST_LABELS = 10, 8, 5
_MEANT = {"partial": "the next review judges what is missing here", "stale": "the export stands still"}


def costs_section(costs: CostReview) -> Section | None:
    """The section of costs; None where the estate has no billing export."""
    if costs.state == "off":
        return None
    if costs.this is None:
        return Section(heading="Costs", paragraphs=(f"Not judged: {costs.why or costs.state}.",))
    days = [(f"{day.day:%-d %b}", float(day.spend.net)) for day in costs.days]
    charts = [line_chart("Net cost a day", costs.currency, [Series(name="net", points=tuple(days))])]
    weeks = [(f"{week.start:%-d %b}", float(week.spend.net)) for week in costs.weeks if week.complete]
    charts += [bar_chart("Net cost a week", costs.currency, [Series(name="net", points=tuple(weeks))])]
    return Section(
        heading="Costs", paragraphs=tuple(_cost_lines(costs)), charts=tuple(charts), tables=tuple(_cost_tables(costs))
    )


def _cost_lines(costs: CostReview) -> Iterator[str]:
    if costs.this is not None and costs.before is not None and costs.freshness is not None:
        change, days = signed(costs.this.net - costs.before.net, costs.currency), costs.freshness.judged
        yield (
            f"{money(costs.this.net, costs.currency)} net of credits for {covered(days)}, "
            f"{change} against {covered(before(days))}."
        )
    if costs.state != "judged":
        yield f"{costs.why[:1].upper()}{costs.why[1:]}: {_MEANT[costs.state]}."
    if costs.forecast is not None:
        seen = costs.forecast
        yield (
            f"Month's end: {money(seen.expected, costs.currency)} ({money(seen.low, costs.currency)} to "
            f"{money(seen.high, costs.currency)} with 80 %), by {seen.method}, which was off by "
            f"{seen.past_error_percent:.1f} % in the past."
        )
    if costs.budget is not None:
        seen_budget = costs.budget
        yield f"Budget of {money(seen_budget.limit, costs.currency)}: {seen_budget.verdict}."
    for unit in costs.units:
        if unit.this is not None:
            earlier = "" if unit.before is None else f", {unit.before:,.4f} before"
            yield f"{unit.name}: {unit.this:,.4f} {costs.currency}{earlier}."
    if costs.restatement is not None and costs.restatement.change:
        told = costs.restatement
        then = covered((told.since, told.through))
        yield f"{then}: the {money(told.told, costs.currency)} told last are {money(told.now, costs.currency)} by now."


def _cost_tables(costs: CostReview) -> Iterator[Table]:
    columns = ("service", "now", "before", "change")
    rows = tuple((one.name, *_figures(one)) for one in costs.services[:MOST_SERVICES])
    note = left_out(len(costs.services), MOST_SERVICES)
    yield Table(caption=f"By service, {costs.currency}", columns=columns, rows=rows, numeric=columns[1:], note=note)
    yield from _moved("What moved", "SKU", costs, costs.skus, MOST_SKUS, sku_name)
    yield from _moved("What moved, by label", "label", costs, costs.labels, MOST_LABELS, label_name)
    if costs.invoices:
        names = ("invoice", "usage", "tax", "adjustments", "total")
        invoices = tuple(
            (one.month, *(f"{amount:,.2f}" for amount in (one.usage.net, one.tax, one.adjustments, one.total)))
            for one in costs.invoices[-3:]
        )
        yield Table(caption=f"Invoices, {costs.currency}", columns=names, rows=invoices, numeric=names[1:])


def _moved(
    caption: str, what: str, costs: CostReview, pairs: Sequence[Compared], most: int, named: Callable[[Compared], str]
) -> Iterator[Table]:
    """Those that changed most in money, up or down."""
    moved = movers(pairs, most)
    if not moved:
        return
    columns = (what, "now", "before", "change")
    rows = tuple((named(one), *_figures(one)) for one in moved)
    note = left_out(len(movers(pairs, len(pairs))), most)
    yield Table(caption=f"{caption}, {costs.currency}", columns=columns, rows=rows, numeric=columns[1:], note=note)


def _figures(one: Compared) -> tuple[str, str, str]:
    return f"{one.this.net:,.2f}", f"{one.before.net:,.2f}", f"{one.change:+,.2f}"
