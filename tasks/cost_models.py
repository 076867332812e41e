"""What the review of costs found: frozen values, in money that is exact to BigQuery's nine decimals.

Safety property: a figure that could not be had is absent with its reason (``CostReview.state``, ``why``), never zero.
Amounts are ``Decimal`` in the review's currency; ``net`` is what the usage cost after credits.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from tasks.models import Finding, Frozen

ZERO = Decimal(0)
CostType = Literal["regular", "tax", "adjustment", "rounding_error"]


# --- what the export says --------------------------------------------------------------------------------------------


class Spend(Frozen):
    """An amount before credits, and the credits, which are negative."""

    cost: Decimal = ZERO
    credits: Decimal = ZERO

    @property
    def net(self) -> Decimal:
        """What is left to pay."""
        return self.cost + self.credits

    def __add__(self, other: Spend) -> Spend:
        return Spend(cost=self.cost + other.cost, credits=self.credits + other.credits)


class ExportState(Frozen):
    """How far the export has come: newest export, newest usage, and lines that are not in the review's currency."""

    newest_export: datetime | None
    newest_usage: datetime | None
    lines: int
    foreign_lines: int = 0


class DayCost(Frozen):
    """One day's usage costs (``regular``), or its taxes, adjustments or rounding errors."""

    day: date
    cost_type: str
    spend: Spend


class SkuDay(Frozen):
    """What one SKU cost on one day, and how much was used in units of its price."""

    day: date
    service: str
    sku: str
    spend: Spend
    amount: Decimal = ZERO
    unit: str = ""


class InvoiceLine(Frozen):
    """All of one kind on one invoice; ``month`` as Google writes it, 202611."""

    month: str
    cost_type: str
    spend: Spend


class LabelSpend(Frozen):
    """What the usage with one label cost in the week, or in the one before."""

    key: str
    value: str
    this_week: bool
    spend: Spend


class ServiceRestated(Frozen):
    """A service's net cost of a week as the export told it then, and as it tells it now."""

    service: str
    told: Decimal
    now: Decimal
    late_lines: int


# --- what is made of it ----------------------------------------------------------------------------------------------


class Week(Frozen):
    """Seven days from a Monday, with their net usage cost. Not ``complete``: some of its days are still filling."""

    start: date
    spend: Spend
    complete: bool


class Compared(Frozen):
    """What one service, SKU or label value cost in this week and in the one before."""

    name: str
    of: str = ""
    """The service of a SKU, the key of a label."""
    this: Spend
    before: Spend

    @property
    def change(self) -> Decimal:
        """The difference in money."""
        return self.this.net - self.before.net

    @property
    def percent(self) -> Decimal | None:
        """The difference in per cent of the week before; None where that was nothing."""
        return None if self.before.net == 0 else 100 * self.change / abs(self.before.net)


class CostAnomaly(Frozen):
    """Days of a SKU that cost other than they should, with the money between the two."""

    service: str
    sku: str
    kind: Literal["spike", "drop", "new"]
    days: tuple[date, ...]
    actual: Decimal
    expected: Decimal

    @property
    def impact(self) -> Decimal:
        """Money more than expected; negative for less."""
        return self.actual - self.expected

    @property
    def percent(self) -> Decimal | None:
        """The same in per cent of what was expected; None where nothing was."""
        return None if self.expected == 0 else 100 * self.impact / abs(self.expected)


class Invoice(Frozen):
    """One invoice month: usage with its credits, and apart from it tax, adjustments and rounding errors."""

    month: str
    usage: Spend
    tax: Decimal = ZERO
    adjustments: Decimal = ZERO
    rounding: Decimal = ZERO
    other: Decimal = ZERO
    """Of a cost type that Google had not documented when this was written."""

    @property
    def total(self) -> Decimal:
        """What the invoice says."""
        return self.usage.net + self.tax + self.adjustments + self.rounding + self.other


class Backtest(Frozen):
    """How a method would have done on past days: the mean error of the month's end, and how often its 80 % held."""

    method: str
    origins: int
    mean_error_percent: float


class Forecast(Frozen):
    """Net usage cost of a month at its end: what is spent, the best guess, and where it lies with 80 %."""

    month: str
    through: date
    """The last complete day, which is the last one in ``spent``."""
    spent: Decimal
    expected: Decimal
    low: Decimal
    high: Decimal
    method: str
    past_error_percent: float
    backtests: tuple[Backtest, ...]


class Budget(Frozen):
    """The month against the estate's budget."""

    month: str
    limit: Decimal
    spent: Decimal
    expected: Decimal | None = None
    verdict: Literal["within", "at risk", "over soon", "over"]


class UnitCost(Frozen):
    """What one unit cost this week and the week before; None where none was used."""

    name: str
    this: Decimal | None
    before: Decimal | None
    amount: Decimal
    """How many units this week."""


class CostsTold(Frozen):
    """The days that a review judged, and when: what the next one goes on after, and states anew."""

    since: date
    through: date
    as_of: datetime


class Restatement(Frozen):
    """The net cost of the days that the last review judged, as it was then and as it is now: late lines have come."""

    since: date
    through: date
    as_of: datetime
    told: Decimal
    now: Decimal
    late_lines: int
    services: tuple[ServiceRestated, ...] = ()

    @property
    def change(self) -> Decimal:
        return self.now - self.told


class Freshness(Frozen):
    """What may be judged: ``judged`` are the complete days that no earlier review judged, up to the week's last one.

    ``incomplete`` are those of the week that are still filling: the next review's. ``passed_over`` are complete days
    that no review judged and none will, since they are too long ago.
    """

    newest_export: datetime | None
    complete_through: date | None
    judged: tuple[date, ...]
    incomplete: tuple[date, ...]
    passed_over: tuple[date, ...] = ()


class CostReview(Frozen):
    """The review of one week's costs: of the complete days that no earlier review judged, up to the week's end.

    ``judged``: every day of the week is complete. ``partial``: some are not, and the next review judges those.
    ``stale``: the export stands still, so they are not judged. ``unavailable``: it could not be read, ``why`` says why.
    ``off``: the estate has no ``[costs]``.
    """

    state: Literal["judged", "partial", "stale", "unavailable", "off"]
    why: str = ""
    week: date
    currency: str = ""
    table: str = ""
    freshness: Freshness | None = None
    this: Spend | None = None
    before: Spend | None = None
    """As many days before, on the same weekdays."""
    weeks: tuple[Week, ...] = ()
    services: tuple[Compared, ...] = ()
    skus: tuple[Compared, ...] = ()
    labels: tuple[Compared, ...] = ()
    anomalies: tuple[CostAnomaly, ...] = ()
    invoices: tuple[Invoice, ...] = ()
    forecast: Forecast | None = None
    budget: Budget | None = None
    units: tuple[UnitCost, ...] = ()
    restatement: Restatement | None = None
    days: tuple[DayCost, ...] = ()
    """Net usage cost per complete day, for a chart."""
    bytes_processed: int = 0
    findings: tuple[Finding, ...] = ()
