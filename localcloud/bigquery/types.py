"""BigQuery's types and DuckDB's: schemas one way and the other, values as JSON cells, and the bytes they count for.

A type that DuckDB has no exact like of is refused by name (BIGNUMERIC, DATETIME, GEOGRAPHY …). NUMERIC is DECIMAL(38,9)
on both sides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from localcloud.bigquery import errors

Field = Mapping[str, Any]
NUMERIC = "DECIMAL(38,9)"
#: BigQuery's name (the legacy one, which the API tells), DuckDB's, and the bytes that a value counts for
#: (https://cloud.google.com/bigquery/pricing#data); a string counts 2 and its UTF-8 bytes, JSON its text's.
_TYPES = {
    "STRING": ("VARCHAR", 2), "INTEGER": ("BIGINT", 8), "FLOAT": ("DOUBLE", 8), "NUMERIC": (NUMERIC, 16),
    "BOOLEAN": ("BOOLEAN", 1), "TIMESTAMP": ("TIMESTAMP WITH TIME ZONE", 8), "DATE": ("DATE", 8),
    "JSON": ("JSON", 0),
}  # fmt: skip
_MODERN = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}
_FROM_DUCKDB = {
    "varchar": "STRING", "bigint": "INTEGER", "integer": "INTEGER", "hugeint": "INTEGER", "smallint": "INTEGER",
    "tinyint": "INTEGER", "ubigint": "INTEGER", "uinteger": "INTEGER", "double": "FLOAT", "float": "FLOAT",
    "decimal": "NUMERIC", "boolean": "BOOLEAN", "timestamp with time zone": "TIMESTAMP", "date": "DATE",
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def checked_schema(fields: Sequence[Field]) -> list[dict[str, Any]]:
    """A schema as it is kept. Raises InvalidArgument, MethodNotImplemented."""
    return [_checked(field) for field in fields]


def duckdb_type(field: Field) -> str:
    """The DuckDB type of a field of a checked schema."""
    if field["type"] == "RECORD":
        inner = ", ".join(f'"{part["name"]}" {duckdb_type(part)}' for part in field["fields"])
        single = f"STRUCT({inner})"
    else:
        single = _TYPES[field["type"]][0]
    return f"{single}[]" if field["mode"] == "REPEATED" else single


def scalar_type(name: str) -> str:
    """The DuckDB type of a query parameter's type. Raises MethodNotImplemented."""
    kind = _MODERN.get(name, name)
    if kind not in _TYPES or kind == "JSON":
        raise errors.not_implemented(f"a parameter of the type {name}")
    return _TYPES[kind][0]


def filled(row: Any, fields: Sequence[Field]) -> dict[str, Any]:
    """A row of JSON with every field of a schema, those that it lacks as null. Raises InvalidArgument."""
    if not isinstance(row, Mapping):
        raise errors.invalid(f"Invalid value: {row!r} is no record")
    known = {field["name"] for field in fields}
    if unknown := sorted(set(row) - known):
        raise errors.invalid(f"no such field: {unknown[0]}.")
    return {field["name"]: _filled(row.get(field["name"]), field) for field in fields}


def bytes_of(field: Field, value: str) -> str:
    """An expression for the bytes that a value of this field counts for; NULL counts for none."""
    if field["mode"] == "REPEATED":
        each = bytes_of({**field, "mode": "NULLABLE"}, "e")
        return f"coalesce(list_sum(list_transform({value}, lambda e: {each})), 0)"
    if field["type"] == "RECORD":
        return "(" + " + ".join(bytes_of(part, f'{value}."{part["name"]}"') for part in field["fields"]) + ")"
    size = _TYPES[field["type"]][1]
    more = f" + strlen({value}::VARCHAR)" if field["type"] in ("STRING", "JSON") else ""
    return f"CASE WHEN {value} IS NULL THEN 0 ELSE {size}{more} END"


def schema_of(names: Sequence[str], types: Sequence[Any]) -> list[dict[str, Any]]:
    """The schema of a result, from the types that DuckDB gave its columns."""
    return [_field(name, kind) for name, kind in zip(names, types, strict=True)]


def cell(value: Any, *, whole_timestamps: bool) -> dict[str, Any]:
    """A value as BigQuery writes it: every scalar a string, ``v`` and ``f`` for what is nested."""
    return {"v": _cell(value, whole_timestamps)}


def _cell(value: Any, whole: bool) -> Any:
    if isinstance(value, list):
        return [{"v": _cell(item, whole)} for item in value]
    if isinstance(value, dict):
        return {"f": [{"v": _cell(item, whole)} for item in value.values()]}
    return _scalar(value, whole)


def _scalar(value: Any, whole: bool) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(value.normalize(), "f")
        case datetime():
            micros = (value.astimezone(UTC) - _EPOCH) // _MICROSECOND
            return str(micros) if whole else repr(micros / 1e6)
        case date():
            return value.isoformat()
        case float():
            return repr(value)
        case _:
            return str(value)


def _filled(value: Any, field: Field) -> Any:
    if field["mode"] == "REPEATED":
        return [_filled(item, {**field, "mode": "NULLABLE"}) for item in value or []]
    if value is None and field["mode"] == "REQUIRED":
        raise errors.invalid(f"Missing required field: {field['name']}.")
    if field["type"] == "RECORD" and value is not None:
        return filled(value, field["fields"])
    return _json(value, field["name"]) if field["type"] == "JSON" and value is not None else value


def _json(text: Any, name: str) -> Any:
    """A value of a JSON column, which a request holds as text."""
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise errors.invalid(f"Invalid JSON text for field {name}: {error}") from error


def _checked(field: Field) -> dict[str, Any]:
    name, mode = str(field.get("name", "")), str(field.get("mode") or "NULLABLE").upper()
    kind = str(field.get("type", "")).upper()
    kind = _MODERN.get(kind, kind)
    if not _NAME.fullmatch(name):
        raise errors.invalid(f'Invalid field name "{name}".')
    if mode not in ("NULLABLE", "REQUIRED", "REPEATED"):
        raise errors.invalid(f"Invalid mode {mode} of field {name}")
    if kind == "RECORD":
        return {"name": name, "type": kind, "mode": mode, "fields": checked_schema(field.get("fields") or [])}
    if kind not in _TYPES:
        raise errors.not_implemented(f"the type {kind or 'of a field without one'}")
    return {"name": name, "type": kind, "mode": mode}


def _field(name: str, kind: Any) -> dict[str, Any]:
    if kind.id == "list":
        return {**_field(name, kind.children[0][1]), "mode": "REPEATED"}
    if kind.id == "struct":
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": [_field(n, k) for n, k in kind.children]}
    if kind.id not in _FROM_DUCKDB or str(kind) == "JSON":
        raise errors.not_implemented(f"a result column of the type {kind}")
    return {"name": name, "type": _FROM_DUCKDB[kind.id], "mode": "NULLABLE"}
