"""Adds up and compares what a billing export says: weeks, services, SKUs, labels, invoices, units.

Pure, and exact: every sum is one of decimals. Usage is told net of its credits; taxes, adjustments and rounding errors
stand apart, since they belong to an invoice and not to a day of usage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Protocol, TypeVar

from tasks.cost_models import (
    ZERO,
    Budget,
    Compared,
    CostsTold,
    DayCost,
    Forecast,
    Invoice,
    InvoiceLine,
    LabelSpend,
    Restatement,
    ServiceRestated,
    SkuDay,
    Spend,
    UnitCost,
    Week,
)

REGULAR = "regular"
DAY = timedelta(days=1)
#: An expected month of more than this share of the budget is a risk, also where the best guess stays within.
AT_RISK = Decimal("0.9")
CENT = Decimal("0.01")
Key = TypeVar("Key")
_Line = TypeVar("_Line")


class UnitRule(Protocol):
    """The part of the estate that says what a unit is."""

    @property
    def name(self) -> str: ...
    @property
    def services(self) -> tuple[str, ...]: ...
    @property
    def sku(self) -> str: ...
    @property
    def per(self) -> Decimal: ...


def total(spends: Iterable[Spend]) -> Spend:
    """The sum of amounts."""
    return sum(spends, Spend())


def usage(days: Iterable[DayCost]) -> dict[date, Spend]:
    """What the usage of each day cost, in order of the days; a day without any is absent."""
    found: dict[date, Spend] = defaultdict(Spend)
    for line in days:
        if line.cost_type == REGULAR:
            found[line.day] += line.spend
    return dict(sorted(found.items()))


def weeks(by_day: dict[date, Spend], last: date, complete_through: date | None, count: int) -> tuple[Week, ...]:
    """The ``count`` weeks up to the one that begins at ``last``, oldest first."""
    starts = [last - 7 * index * DAY for index in reversed(range(count))]
    return tuple(
        Week(
            start=start,
            spend=total(by_day.get(start + index * DAY, Spend()) for index in range(7)),
            complete=complete_through is not None and start + 6 * DAY <= complete_through,
        )
        for start in starts
    )


def of_days(by_day: dict[date, Spend], days: Iterable[date]) -> Spend:
    """What these days cost together."""
    return total(by_day.get(day, Spend()) for day in days)


def before(days: Sequence[date]) -> tuple[date, ...]:
    """As many days before these, on the same weekdays: a week earlier, or as many weeks as the days are long."""
    weeks_back = -(-len(days) // 7)
    return tuple(day - 7 * weeks_back * DAY for day in days)


def compare_services(lines: Sequence[SkuDay], days: Sequence[date]) -> tuple[Compared, ...]:
    """Each service on these days against as many before, the dearest first."""
    return _compared(lines, days, lambda line: ("", line.service))


def compare_skus(lines: Sequence[SkuDay], days: Sequence[date]) -> tuple[Compared, ...]:
    """Each SKU on these days against as many before, the dearest first."""
    return _compared(lines, days, lambda line: (line.service, line.sku))


def compare_labels(lines: Sequence[LabelSpend]) -> tuple[Compared, ...]:
    """Each label's value on the judged days against as many before, the dearest first."""
    this = _by(lines, lambda line: (line.key, line.value), lambda line: line.this_week)
    earlier = _by(lines, lambda line: (line.key, line.value), lambda line: not line.this_week)
    return _paired(this, earlier)


def movers(pairs: Iterable[Compared], most: int) -> tuple[Compared, ...]:
    """Those whose cost changed most in money, up or down; what changed by less than a cent is none."""
    moved = [pair for pair in pairs if abs(pair.change) >= CENT]
    return tuple(sorted(moved, key=lambda pair: (-abs(pair.change), pair.of, pair.name))[:most])


def invoices(lines: Iterable[InvoiceLine]) -> tuple[Invoice, ...]:
    """What stands on each invoice, oldest first."""
    by_month: dict[str, dict[str, Spend]] = defaultdict(lambda: defaultdict(Spend))
    for line in lines:
        by_month[line.month][line.cost_type] += line.spend
    return tuple(_invoice(month, kinds) for month, kinds in sorted(by_month.items()))


def unit_costs(lines: Sequence[SkuDay], days: Sequence[date], rules: Iterable[UnitRule]) -> tuple[UnitCost, ...]:
    """What one unit cost on these days, and on as many before."""
    return tuple(_unit_cost(lines, days, rule) for rule in rules)


def restatement(told: CostsTold, services: Sequence[ServiceRestated]) -> Restatement:
    """What late lines have made of the figure of the days that were judged then."""
    return Restatement(
        since=told.since, through=told.through, as_of=told.as_of,
        told=sum((line.told for line in services), ZERO), now=sum((line.now for line in services), ZERO),
        late_lines=sum(line.late_lines for line in services),
        services=tuple(line for line in services if line.late_lines),
    )  # fmt: skip


def budget(limit: Decimal, month: str, spent: Decimal, forecast: Forecast | None) -> Budget:
    """A month against its limit: by what is spent, and by what is expected."""
    expected = forecast.expected if forecast else None
    high = forecast.high if forecast else spent
    if spent > limit:
        return Budget(month=month, limit=limit, spent=spent, expected=expected, verdict="over")
    if expected is not None and expected > limit:
        return Budget(month=month, limit=limit, spent=spent, expected=expected, verdict="over soon")
    if high > limit or (expected is not None and expected > AT_RISK * limit):
        return Budget(month=month, limit=limit, spent=spent, expected=expected, verdict="at risk")
    return Budget(month=month, limit=limit, spent=spent, expected=expected, verdict="within")


def _invoice(month: str, kinds: dict[str, Spend]) -> Invoice:
    known = {REGULAR, "tax", "adjustment", "rounding_error"}
    return Invoice(
        month=month,
        usage=kinds.get(REGULAR, Spend()),
        tax=kinds.get("tax", Spend()).net,
        adjustments=kinds.get("adjustment", Spend()).net,
        rounding=kinds.get("rounding_error", Spend()).net,
        other=total(spend for kind, spend in kinds.items() if kind not in known).net,
    )


def _unit_cost(lines: Sequence[SkuDay], days: Sequence[date], rule: UnitRule) -> UnitCost:
    this, amount = _per_unit(lines, frozenset(days), rule)
    earlier, _ = _per_unit(lines, frozenset(before(days)), rule)
    return UnitCost(name=rule.name, this=this, before=earlier, amount=amount)


def _per_unit(lines: Sequence[SkuDay], days: frozenset[date], rule: UnitRule) -> tuple[Decimal | None, Decimal]:
    of_rule = [line for line in lines if line.day in days and line.service in rule.services]
    amount = sum((line.amount for line in of_rule if rule.sku in line.sku), ZERO) / rule.per
    cost = total(line.spend for line in of_rule).net
    return (cost / amount if amount else None), amount


def _compared(
    lines: Sequence[SkuDay], days: Sequence[date], key: Callable[[SkuDay], tuple[str, str]]
) -> tuple[Compared, ...]:
    these, earlier = frozenset(days), frozenset(before(days))
    this = _by(lines, key, lambda line: line.day in these)
    then = _by(lines, key, lambda line: line.day in earlier)
    return _paired(this, then)


class _WithSpend(Protocol):
    @property
    def spend(self) -> Spend: ...


_Spent = TypeVar("_Spent", bound=_WithSpend)


def _by(
    lines: Iterable[_Spent], key: Callable[[_Spent], tuple[str, str]], wanted: Callable[[_Spent], bool]
) -> dict[tuple[str, str], Spend]:
    found: dict[tuple[str, str], Spend] = defaultdict(Spend)
    for line in lines:
        if wanted(line):
            found[key(line)] += line.spend
    return found


def _paired(this: dict[tuple[str, str], Spend], then: dict[tuple[str, str], Spend]) -> tuple[Compared, ...]:
    pairs = [
        Compared(of=of, name=name, this=this.get((of, name), Spend()), before=then.get((of, name), Spend()))
        for of, name in {*this, *then}
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.this.net, -pair.before.net, pair.of, pair.name)))
