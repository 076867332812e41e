"""A billing export of a test's own in the local cloud, and the same sums in plain Python over its lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from tasks.clients.bigquery import BigQuery
from tasks.clients.google import Google

TABLE = "gcp_billing_export_v1_01C0DE_5A3B1E_0CA4E7"
DETAILED = "gcp_billing_export_resource_v1_01C0DE_5A3B1E_0CA4E7"
ZONE = ZoneInfo("America/Los_Angeles")
SINCE, UNTIL = date(2026, 9, 1), datetime(2026, 11, 10, 6, tzinfo=UTC)
_LINES = """
SELECT usage_start_time, export_time, cost, credits, cost_type, currency, labels, invoice.month AS month,
  service.description AS service, sku.description AS sku, usage.amount_in_pricing_units AS amount
FROM `{table}`
WHERE usage_start_time >= @since"""


@dataclass(frozen=True)
class Line:
    """One line of the export, as BigQuery gives it; money by the shortest decimal of its float."""

    start: datetime
    exported: datetime
    cost: Decimal
    credits: Decimal
    kind: str
    currency: str
    labels: tuple[tuple[str, str], ...]
    month: str
    service: str
    sku: str
    amount: Decimal

    @property
    def net(self) -> Decimal:
        return self.cost + self.credits

    @property
    def day(self) -> date:
        return self.start.astimezone(ZONE).date()


class Export:
    """The lines of one table, of usage from a day on."""

    def __init__(self, google: Google, table: str = TABLE, since: date = SINCE) -> None:
        self.google, self.table = google, f"{google.project}.billing.{table}"
        self._since = datetime(since.year, since.month, since.day, tzinfo=ZONE)

    @cached_property
    def lines(self) -> list[Line]:
        client, sql = BigQuery(self.google, 10**12, page_rows=10_000), _LINES.format(table=self.table)
        answer = client.query(sql, {"since": self._since}, "reading")
        return [_line(row) for row in answer.rows]


def add_up(lines: Iterable[Line], key: Callable[[Line], Any], value: Callable[[Line], Decimal]) -> dict[Any, Decimal]:
    """The plain loop."""
    found: dict[Any, Decimal] = {}
    for line in lines:
        found[key(line)] = found.get(key(line), Decimal(0)) + value(line)
    return found


def exact(number: float | None) -> Decimal:
    return Decimal(repr(number)) if number is not None else Decimal(0)


def _line(row: dict[str, Any]) -> Line:
    return Line(
        start=row["usage_start_time"], exported=row["export_time"], cost=exact(row["cost"]),
        credits=sum((exact(credit["amount"]) for credit in row["credits"]), Decimal(0)), kind=row["cost_type"],
        currency=row["currency"], labels=tuple((label["key"], label["value"]) for label in row["labels"]),
        month=row["month"], service=row["service"], sku=row["sku"], amount=exact(row["amount"]),
    )  # fmt: skip
