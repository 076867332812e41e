"""The documented schemas of the billing export's two tables.

https://cloud.google.com/billing/docs/how-to/export-data-bigquery-tables/standard-usage and …/detailed-usage. Left out:
what stands in exports of marketplace sellers and of spend-based commitments alone.
"""

from __future__ import annotations

from typing import Any

Field = dict[str, Any]


def _field(name: str, kind: str, mode: str = "NULLABLE") -> Field:
    return {"name": name, "type": kind, "mode": mode}


def _record(name: str, *fields: Field, mode: str = "NULLABLE") -> Field:
    return {"name": name, "type": "RECORD", "mode": mode, "fields": list(fields)}


def _strings(*names: str) -> list[Field]:
    return [_field(name, "STRING") for name in names]


def _labels(name: str) -> Field:
    return _record(name, *_strings("key", "value"), mode="REPEATED")


STANDARD: list[Field] = [
    _field("billing_account_id", "STRING"),
    _record("service", *_strings("id", "description")),
    _record("sku", *_strings("id", "description")),
    _field("usage_start_time", "TIMESTAMP"),
    _field("usage_end_time", "TIMESTAMP"),
    _record(
        "project",
        *_strings("id", "number", "name"),
        _labels("labels"),
        *_strings("ancestry_numbers"),
        _record("ancestors", *_strings("resource_name", "display_name"), mode="REPEATED"),
    ),
    _labels("labels"),
    _labels("system_labels"),
    _record("location", *_strings("location", "country", "region", "zone")),
    _record(
        "tags", *_strings("key", "value"), _field("inherited", "BOOLEAN"), *_strings("namespace"), mode="REPEATED"
    ),
    _field("transaction_type", "STRING"),
    _field("seller_name", "STRING"),
    _field("export_time", "TIMESTAMP"),
    _field("cost", "FLOAT"),
    _field("currency", "STRING"),
    _field("currency_conversion_rate", "FLOAT"),
    _record(
        "usage",
        _field("amount", "FLOAT"),
        _field("unit", "STRING"),
        _field("amount_in_pricing_units", "FLOAT"),
        _field("pricing_unit", "STRING"),
    ),
    _record(
        "credits",
        _field("name", "STRING"),
        _field("amount", "FLOAT"),
        *_strings("full_name", "id", "type"),
        mode="REPEATED",
    ),
    _record("invoice", *_strings("month", "publisher_type")),
    _field("cost_type", "STRING"),
    _record("adjustment_info", *_strings("id", "description", "mode", "type")),
    _field("cost_at_list", "FLOAT"),
]
DETAILED: list[Field] = [
    *STANDARD,
    _record("resource", *_strings("name", "global_name")),
    _record(
        "price",
        _field("effective_price", "NUMERIC"),
        _field("tier_start_amount", "NUMERIC"),
        _field("unit", "STRING"),
        _field("pricing_unit_quantity", "NUMERIC"),
    ),
]
