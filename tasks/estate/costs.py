"""What the weekly review of costs is told: where the billing export lies, what may be spent, what is worth a word.

Safety property: the table's name is held to BigQuery's own rules here, since it is the one thing in a query that
cannot be a parameter.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, Field, StringConstraints

from tasks.models import Frozen

#: project.dataset.table; https://cloud.google.com/bigquery/docs/tables#table_naming, without what billing never uses.
TableName = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]\.[A-Za-z0-9_]+\.[A-Za-z0-9_-]+$", max_length=1024)
]
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name} is no time zone; write one as Europe/Amsterdam")
    return name


class Unit(Frozen):
    """A cost per unit: what ``services`` cost, over the amount of the SKUs whose description holds ``sku``.

    ``per`` is how many pricing units one unit is: 1000 for "per 1,000 requests", where a request is what is priced.
    """

    name: str = Field(min_length=1)
    services: tuple[str, ...] = Field(min_length=1)
    sku: str = Field(min_length=1)
    per: Decimal = Field(Decimal(1), gt=0)


class Costs(Frozen):
    """The review of costs. ``table`` is the standard or the detailed billing export.

    A day counts once the export has gone on for ``settle_hours`` after its end: Google promises no delay, and its
    services report at different times. Days begin in ``time_zone``, by default that of Google's invoices.
    """

    table: TableName
    currency: Currency = "USD"
    budget_per_month: Decimal | None = Field(None, gt=0)
    time_zone: Annotated[str, AfterValidator(_known_zone)] = "America/Los_Angeles"
    labels: tuple[str, ...] = ()
    settle_hours: int = Field(36, ge=0, le=240)
    stale_hours: int = Field(48, ge=1, le=24 * 30)
    least_impact: Decimal = Field(Decimal(5), ge=0, description="money; a deviation of less in the week is not told")
    least_percent: Decimal = Field(Decimal(25), gt=0)
    maximum_bytes_billed: int = Field(10_000_000_000, ge=10_485_760)
    units: tuple[Unit, ...] = ()

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which days and weeks begin."""
        return ZoneInfo(self.time_zone)
