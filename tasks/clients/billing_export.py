"""The Cloud Billing export in BigQuery: one parameterised query for each question.

Safety property: money is added up in NUMERIC, which is exact to nine decimals, and never in floating point.
Every query is bounded by ``as_of``, so the same question about the same moment has the same answer later, when more
lines have come. What is not in the review's currency is counted, and left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from tasks.clients import billing_sql
from tasks.clients.bigquery import BigQuery, Value
from tasks.cost_models import DayCost, ExportState, InvoiceLine, LabelSpend, ServiceRestated, SkuDay, Spend


@dataclass(frozen=True)
class Scope:
    """What is asked about: a table, a currency, the zone in which days begin, and the moment of asking."""

    table: str
    currency: str
    zone: ZoneInfo
    as_of: datetime

    def midnight(self, day: date) -> datetime:
        """When a day begins; a day of a clock change has 23 or 25 hours."""
        return datetime.combine(day, time.min, self.zone)


class BillingExport:
    """One export table. Days are given as first day and the day after the last."""

    def __init__(self, bigquery: BigQuery, scope: Scope) -> None:
        self._bigquery, self._scope = bigquery, scope
        self.bytes_processed = 0

    def state(self, since: date) -> ExportState:
        """How far the export has come, over the usage since a day."""
        (row,) = self._ask(billing_sql.STATE, "how far it has come", since=self._scope.midnight(since))
        return ExportState(
            newest_export=row["newest_export"], newest_usage=row["newest_usage"], lines=row["all_lines"],
            foreign_lines=row["foreign_lines"],
        )  # fmt: skip

    def days(self, since: date, until: date) -> list[DayCost]:
        """Each day's costs by kind, in order."""
        rows = self._ask(billing_sql.DAYS, "the costs per day", **self._days_between(since, until))
        return [DayCost(day=row["day"], cost_type=row["cost_type"], spend=_spend(row)) for row in rows]

    def sku_days(self, since: date, until: date) -> list[SkuDay]:
        """Each SKU's usage costs by day, in order."""
        rows = self._ask(billing_sql.SKU_DAYS, "the costs per SKU", **self._days_between(since, until))
        return [_sku_day(row) for row in rows]

    def invoices(self, first: str) -> list[InvoiceLine]:
        """What stands on each invoice since a month (``202611``), by kind."""
        rows = self._ask(billing_sql.INVOICES, "the invoices", first=first)
        return [InvoiceLine(month=row["invoice_month"], cost_type=row["cost_type"], spend=_spend(row)) for row in rows]

    def labels(self, keys: tuple[str, ...], before: date, week: date, until: date) -> list[LabelSpend]:
        """What the usage with these labels cost from ``week`` on, and from ``before`` to ``week``."""
        more: dict[str, Value] = {"week": self._scope.midnight(week), "keys": keys}
        rows = self._ask(billing_sql.LABELS, "the costs per label", **self._between(before, until), **more)
        return [_label_spend(row) for row in rows]

    def restated(self, since: date, until: date, told_at: datetime) -> list[ServiceRestated]:
        """Each service's net cost as the export stood at a moment, and as it stands now."""
        rows = self._ask(billing_sql.RESTATED, "what came late", **self._between(since, until), told_at=told_at)
        return [
            ServiceRestated(
                service=row["service_name"] or "", told=row["told"], now=row["now"], late_lines=row["late_lines"]
            )
            for row in rows
        ]

    def _between(self, since: date, until: date) -> dict[str, Value]:
        return {"since": self._scope.midnight(since), "until": self._scope.midnight(until)}

    def _days_between(self, since: date, until: date) -> dict[str, Value]:
        return {**self._between(since, until), "zone": self._scope.zone.key}

    def _ask(self, sql: str, what: str, **parameters: Value) -> tuple[dict[str, Any], ...]:
        text = sql.format(table=self._scope.table)
        common: dict[str, Value] = {"as_of": self._scope.as_of, "currency": self._scope.currency}
        known = {name: value for name, value in (common | parameters).items() if f"@{name}" in text}
        answer = self._bigquery.query(text, known, f"reading {what} from {self._scope.table}")
        self.bytes_processed += answer.bytes_processed
        return answer.rows


def _spend(row: Mapping[str, Any]) -> Spend:
    return Spend(cost=row["cost"], credits=row["credits"])


def _label_spend(row: Mapping[str, Any]) -> LabelSpend:
    return LabelSpend(
        key=row["label_key"], value=row["label_value"] or "", this_week=row["this_week"], spend=_spend(row)
    )


def _sku_day(row: Mapping[str, Any]) -> SkuDay:
    return SkuDay(
        day=row["day"], service=row["service_name"] or "", sku=row["sku_name"] or "", spend=_spend(row),
        amount=row["amount"] or 0, unit=row["unit"] or "",
    )  # fmt: skip
