"""The lines of a bill, made inside DuckDB: a few million in seconds.

A line's numbers come from a hash of what it is (seed, day, hour, SKU, copy), so it is the same line whenever it is
made. Costs and credits have six decimals, as the export's have. Most lines are exported within a day of their use; one
in fifty comes up to six days late, and then may stand on the next month's invoice.
"""
# ruff: noqa: S608  what is put together here are names and expressions of this module

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from localcloud.billing.bill import SKUS, Bill

DAY = timedelta(days=1)
#: The longest that a line comes after its day.
LATEST = 9 * DAY
ZONE = "America/Los_Angeles"
TAX = 0.21


@dataclass(frozen=True)
class Making:
    """What is made: the lines that were exported after one moment and up to another.

    ``copies`` is how many resources share each SKU's use: the rows multiply by it, and the money does not.
    """

    account: str
    project: str
    currency: str
    copies: int
    after: datetime
    upto: datetime
    detailed: bool


#: A fraction of 0 to 1, for the purpose named by a number.
_CHANCE = "(hash({salt}, p.seed, p.day, p.sku, hour, copy) % 1000003) / 1000003.0"


def insert(cursor: Any, inside: str, bill: Bill, making: Making) -> int:
    """Add the usage lines of a span of export time to a table; how many there were."""
    first = max(bill.since, (making.after - LATEST).date() - DAY)
    days = (making.upto.date() - bill.since).days + 1
    if days <= 0:
        return 0
    _plan(cursor, bill, first, days)
    resource = _RESOURCE if making.detailed else ""
    cursor.execute(f'INSERT INTO tables."{inside}" {_USAGE.format(resource=resource)}', _values(making))
    return int(cursor.fetchone()[0])


def insert_month(cursor: Any, inside: str, making: Making, month: date, adjustment: float) -> None:
    """Add what an invoice bears beside usage: its tax, its rounding, and an adjustment where there is one."""
    values = {
        "month": f"{month:%Y%m}", "day": month, "tax": TAX, "adjustment": adjustment, "account": making.account,
        "project": making.project, "currency": making.currency, "posted": posted(month),
    }  # fmt: skip
    resource = ", NULL, NULL" if making.detailed else ""
    cursor.execute(
        f'INSERT INTO tables."{inside}" {_MONTH.format(inside=inside, resource=resource)}',
        values,
    )


def posted(month: date) -> datetime:
    """When an invoice is closed and its taxes are exported: noon of the sixth of the month after.

    What comes later stands on the next invoice.
    """
    after = (month.replace(day=28) + 4 * DAY).replace(day=6)
    return datetime(after.year, after.month, after.day, 12, tzinfo=UTC)


def _plan(cursor: Any, bill: Bill, first: date, days: int) -> None:
    """The amount of each SKU on each day, as a temporary table, with the SKU's own facts."""
    used = bill.amounts(days)[(first - bill.since).days :]
    cursor.execute(f"CREATE OR REPLACE TEMP TABLE skus AS SELECT * FROM (VALUES {_sku_values()}) AS s({_SKU_COLUMNS})")
    cursor.execute(
        """CREATE OR REPLACE TEMP TABLE plan AS
        SELECT $seed AS seed, day, sku, amount FROM (
          SELECT $first + CAST((n // $skus) AS INTEGER) AS day, n % $skus AS sku, amount
          FROM (SELECT unnest(range(len($amounts))) AS n, unnest($amounts) AS amount)
        ) WHERE amount > 0""",
        {"seed": bill.seed, "first": first, "skus": len(SKUS), "amounts": used.ravel().tolist()},
    )


_SKU_COLUMNS = (
    "index, service, service_id, name, sku_id, unit, pricing_unit, base, price, every, discount, credit, labelled"
)


def _sku_values() -> str:
    return ", ".join(
        f"({n}, '{s.service}', '{s.service_id}', '{s.name}', '{s.sku_id}', '{s.unit}', '{s.pricing_unit}', "
        f"{s.base!r}::DOUBLE, {s.price!r}::DOUBLE, {s.every}, {s.discount!r}::DOUBLE, '{s.credit}', {s.labelled})"
        for n, s in enumerate(SKUS)
    )


def _values(making: Making) -> dict[str, Any]:
    return {
        "account": making.account, "project": making.project, "currency": making.currency, "copies": making.copies,
        "after": making.after, "upto": making.upto,
    }  # fmt: skip


_PROJECT = """struct_pack(id := $project, number := '1', name := $project, labels := [], ancestry_numbers := NULL,
    ancestors := [])"""
_RESOURCE = """,
  struct_pack(name := 'r-' || copy, global_name := '//cloud.example/' || sku_id || '/r-' || copy),
  struct_pack(effective_price := CAST(price AS DECIMAL(38, 9)), tier_start_amount := CAST(0 AS DECIMAL(38, 9)),
    unit := pricing_unit, pricing_unit_quantity := CAST(1 AS DECIMAL(38, 9)))"""

#: Money is rounded to six decimals line by line, so that a sum of it is exact wherever it is added up.
_USAGE = f"""
WITH spread AS (
  SELECT p.seed, p.day, s.*, hour, copy,
    p.amount * s.every / 24 / $copies * (0.7 + 0.6 * {_CHANCE.format(salt=1)}) AS amount,
    CAST(p.day AS TIMESTAMP) AT TIME ZONE '{ZONE}' + to_hours(CAST(hour AS BIGINT)) AS started,
    CASE WHEN {_CHANCE.format(salt=2)} < 0.02 THEN 24 + CAST(6 * 24 * {_CHANCE.format(salt=3)} AS BIGINT)
      ELSE 1 + CAST(20 * {_CHANCE.format(salt=3)} AS BIGINT) END AS lag,
    CASE WHEN NOT s.labelled THEN '' WHEN {_CHANCE.format(salt=4)} < 0.75 THEN 'api' ELSE 'frontend' END AS part
  FROM plan p JOIN skus s ON s.index = p.sku, unnest(range(0, 24, s.every)) AS h(hour), range($copies) AS c(copy)
), exported AS (
  SELECT *, started + to_hours(every) AS ended, started + to_hours(every + lag) AS exported,
    round(amount * price, 6) AS cost
  FROM spread
), dated AS (
  SELECT *, strftime(started AT TIME ZONE '{ZONE}', '%Y%m') AS used_in,
    strftime((exported - INTERVAL 5 DAY) AT TIME ZONE '{ZONE}', '%Y%m') AS billable_in
  FROM exported WHERE exported > $after AND exported <= $upto
)
SELECT $account, struct_pack(id := service_id, description := service), struct_pack(id := sku_id, description := name),
  started, ended, {_PROJECT},
  CASE part WHEN '' THEN [] ELSE [
    struct_pack(key := 'service', value := part), struct_pack(key := 'env', value := 'prod')] END,
  [], struct_pack(location := 'europe-west4', country := 'NL', region := 'europe-west4', zone := NULL), [],
  'GOOGLE', 'Google', exported, cost, $currency, 1.0,
  struct_pack(amount := amount * base, unit := unit, amount_in_pricing_units := round(amount, 9),
    pricing_unit := pricing_unit),
  CASE WHEN discount > 0 THEN [struct_pack(
    name := lower(replace(credit, '_', ' ')), amount := -round(cost * discount, 6),
    full_name := lower(replace(credit, '_', ' ')), id := credit, type := credit)] ELSE [] END,
  struct_pack(month := greatest(used_in, billable_in), publisher_type := 'GOOGLE'), 'regular', NULL,
  cost{{resource}}
FROM dated"""

_MONTH = f"""
WITH usage AS (
  SELECT sum(CAST(cost AS DECIMAL(38, 9)))
    + sum(coalesce(list_sum(list_transform(credits, lambda c: CAST(c.amount AS DECIMAL(38, 9)))), 0)) AS net
  FROM tables."{{inside}}" WHERE invoice.month = $month AND cost_type = 'regular' AND export_time <= $posted
), lines AS (
  SELECT 'tax' AS kind, CAST(round(net * CAST($tax AS DECIMAL(9, 6)), 2) AS DOUBLE) AS cost FROM usage
  UNION ALL SELECT 'rounding_error', CAST(round(net, 2) - net AS DOUBLE) FROM usage
  UNION ALL SELECT 'adjustment', CAST($adjustment AS DOUBLE) WHERE $adjustment <> 0
)
SELECT $account, struct_pack(id := 'INVOICE', description := 'Invoice'),
  struct_pack(id := upper(kind), description := CASE kind WHEN 'tax' THEN 'Tax'
    WHEN 'adjustment' THEN 'Billing correction' ELSE 'Rounding error' END),
  CAST(last_day(CAST($day AS DATE)) AS TIMESTAMP) AT TIME ZONE '{ZONE}',
  CAST(last_day(CAST($day AS DATE)) + 1 AS TIMESTAMP) AT TIME ZONE '{ZONE}',
  {_PROJECT}, [], [], NULL, [], 'GOOGLE', 'Google', CAST($posted AS TIMESTAMPTZ), cost, $currency, 1.0, NULL, [],
  struct_pack(month := $month, publisher_type := 'GOOGLE'), kind,
  CASE kind WHEN 'adjustment' THEN struct_pack(id := 'ADJ-' || $month, description := 'Service level credit',
    mode := 'MANUAL_ADJUSTMENT', type := 'SLA_VIOLATION') END,
  cost{{resource}}
FROM lines WHERE cost <> 0 ORDER BY kind"""
