"""Every query of the review of costs, in BigQuery's SQL.

Each reads the few columns that it names, over the whole table: the export is partitioned by the time of loading and not
by that of usage, so BigQuery bills these columns whole, each time. Money is cast line by line before it is added, as
Google's own examples do (https://cloud.google.com/billing/docs/how-to/bq-examples): NUMERIC is exact to nine decimals.
An alias never bears a column's name, since GROUP BY would then mean the column. ``{table}`` is the one thing that
cannot be a parameter; the estate holds its name to BigQuery's rules.
"""
# ruff: noqa: S608  what is put together here are constants of this module

from __future__ import annotations

_CREDITS = "IFNULL((SELECT SUM(CAST(c.amount AS NUMERIC)) FROM UNNEST(credits) AS c), 0)"
_SUMS = f"SUM(CAST(cost AS NUMERIC)) AS cost, SUM({_CREDITS}) AS credits"
_DAY = "DATE(usage_start_time, @zone)"
_BOUNDS = """usage_start_time >= @since AND usage_start_time < @until
  AND export_time <= @as_of AND currency = @currency"""

STATE = """
SELECT MAX(export_time) AS newest_export, MAX(usage_start_time) AS newest_usage, COUNT(*) AS all_lines,
  COUNTIF(currency <> @currency) AS foreign_lines
FROM `{table}`
WHERE usage_start_time >= @since AND export_time <= @as_of"""

DAYS = f"""
SELECT {_DAY} AS day, cost_type, {_SUMS}
FROM `{{table}}`
WHERE {_BOUNDS}
GROUP BY day, cost_type
ORDER BY day, cost_type"""

SKU_DAYS = f"""
SELECT {_DAY} AS day, service.description AS service_name, sku.description AS sku_name, {_SUMS},
  SUM(CAST(usage.amount_in_pricing_units AS NUMERIC)) AS amount, MIN(usage.pricing_unit) AS unit
FROM `{{table}}`
WHERE {_BOUNDS} AND cost_type = 'regular'
GROUP BY day, service_name, sku_name
ORDER BY day, service_name, sku_name"""

INVOICES = f"""
SELECT invoice.month AS invoice_month, cost_type, {_SUMS}
FROM `{{table}}`
WHERE invoice.month >= @first AND export_time <= @as_of AND currency = @currency
GROUP BY invoice_month, cost_type
ORDER BY invoice_month, cost_type"""

LABELS = f"""
SELECT label.key AS label_key, label.value AS label_value, usage_start_time >= @week AS this_week, {_SUMS}
FROM `{{table}}`, UNNEST(labels) AS label
WHERE {_BOUNDS} AND cost_type = 'regular' AND label.key IN UNNEST(@keys)
GROUP BY label_key, label_value, this_week
ORDER BY label_key, label_value, this_week"""

RESTATED = f"""
SELECT service_name, SUM(IF(export_time <= @told_at, net, 0)) AS told, SUM(net) AS now,
  COUNTIF(export_time > @told_at) AS late_lines
FROM (
  SELECT service.description AS service_name, export_time, CAST(cost AS NUMERIC) + {_CREDITS} AS net
  FROM `{{table}}`
  WHERE {_BOUNDS} AND cost_type = 'regular'
)
GROUP BY service_name
ORDER BY service_name"""
