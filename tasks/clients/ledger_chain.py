"""The ledger's hash chain, on plain rows.

A line's hash is SHA-256 over the canonical JSON of its fields (sorted keys, UTF-8, times in UTC with microseconds) with
the hash of the line before among them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tasks.models import Change

_HASHED = (*Change.model_fields, "previous")


def link(change: Change, last: Mapping[str, Any] | None) -> dict[str, Any]:
    """The row of a change that follows the last row."""
    row = change.model_dump(mode="json") | {
        "id": last["id"] + 1 if last else 1,
        "at": change.at.astimezone(UTC),
        "previous": last["hash"] if last else "",
    }
    return row | {"hash": digest(row)}


def broken(rows: Iterable[Mapping[str, Any]]) -> int | None:
    """The id of the first row that does not follow from the one before it, or whose hash is not its own."""
    previous = ""
    for number, row in enumerate(rows, start=1):
        if row["id"] != number or row["previous"] != previous or row["hash"] != digest(row):
            return int(row["id"])
        previous = row["hash"]
    return None


def digest(row: Mapping[str, Any]) -> str:
    """The hash that a row must have."""
    fields = {name: row[name] for name in _HASHED} | {"at": _text(row["at"])}
    canonical = json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _text(at: datetime) -> str:
    utc = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")
