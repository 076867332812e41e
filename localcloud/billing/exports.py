"""Billing exports: which tables the local cloud fills with a generated bill, and how far each has come.

As on Google nobody calls it: before a table is read, the lines that an export would have written by now are added. So
a sample estate has a bill that goes on from day to day, and a start of the local cloud costs nothing. Safety property:
the lines and how far they reach are committed together, so a ``kill -9`` neither loses a line nor doubles one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from google.api_core import exceptions

from localcloud.bigquery import errors
from localcloud.bigquery.catalog import Catalog
from localcloud.bigquery.dialect import Name
from localcloud.bigquery.engine import Engine
from localcloud.bigquery.types import checked_schema
from localcloud.store import Store

DAY = timedelta(days=1)
#: How often an export writes, at most.
EVERY = timedelta(hours=1)
#: One invoice in this many bears an adjustment.
_ADJUSTED = 4
_ADJUSTMENT = -3.1
_FIELDS = frozenset({
    "project", "dataset", "table", "account", "seed", "since", "until", "currency", "copies", "planted",
    "random_anomalies",
})  # fmt: skip


@dataclass(frozen=True)
class Export:
    """One export. ``until``: it stood still then; None: it goes on."""

    name: Name
    account: str
    seed: int
    since: date
    until: datetime | None
    currency: str
    copies: int
    planted: tuple[tuple[str, date, int, float], ...]
    random_anomalies: bool

    @property
    def detailed(self) -> bool:
        return self.name.table.startswith("gcp_billing_export_resource_v1")


class Exports:
    """Every billing export. Safe to use from any thread."""

    def __init__(self, store: Store, catalog: Catalog, engine: Engine) -> None:
        self._catalog, self._engine = catalog, engine
        self._exports = store.documents("billing.exports")
        self._lock = threading.Lock()
        self._reached: dict[Name, datetime] = {}

    def put(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Switch an export on; its dataset is made. Of one that is on, only ``until`` is changed.

        Its table is made when it is first looked at: that takes half a second, which no start should wait for. Raises
        InvalidArgument.
        """
        name = _export(given).name
        with self._lock:
            with suppress(exceptions.AlreadyExists):
                self._catalog.insert_dataset(name.project, {"datasetReference": {"datasetId": name.dataset}})
            kept = self._exports.get(_key(name)) or dict(given)
            document = {**kept, "until": given.get("until")}
            self._exports.put(_key(name), document)
        return document

    def names(self, project: str, dataset: str) -> list[Name]:
        """The tables of the exports into a dataset."""
        return [Name(project, dataset, key.rsplit("/", 1)[1]) for key, _ in self._exports.list(f"{project}/{dataset}/")]

    def bring_up(self, name: Name) -> None:
        """Add what a table's export has written by now; nothing for a table that is of no export."""
        document = self._exports.get(_key(name))
        if document is None:
            return
        export = _export(document)
        now = datetime.now(UTC)
        upto = min(export.until or now, now)
        with self._lock:
            reached = self._reached.get(name) if self._catalog.inside(name) else None
            if reached is None or (reached < upto and (upto == export.until or upto - reached >= EVERY)):
                self._reached[name] = self._write(export, upto)

    def _made(self, export: Export) -> str:
        """The name inside of an export's table, which is made where there is none."""
        from localcloud.billing.schema import DETAILED, STANDARD

        inside = self._catalog.inside(export.name)
        if inside is None:
            fields = checked_schema(DETAILED if export.detailed else STANDARD)
            inside = str(self._catalog.make(export.name, fields, {})["inside"])
        return inside

    def _write(self, export: Export, upto: datetime) -> datetime:
        """Add the lines up to a moment, and return how far the export has come."""
        inside = self._made(export)
        with self._engine.transaction() as cursor:
            after = _reached(cursor, inside, export.since)
            if after >= upto:
                return after
            _add(cursor, inside, export, after, upto)
            cursor.execute("DELETE FROM exports.reached WHERE inside = ?", [inside])
            cursor.execute("INSERT INTO exports.reached VALUES (?, ?)", [inside, upto])
        self._catalog.changed(export.name)
        return upto


def _reached(cursor: Any, inside: str, since: date) -> datetime:
    cursor.execute("CREATE TABLE IF NOT EXISTS exports.reached (inside VARCHAR, upto TIMESTAMPTZ)")
    found = cursor.execute("SELECT upto FROM exports.reached WHERE inside = ?", [inside]).fetchone()
    return found[0] if found else datetime.combine(since - DAY, time.min, UTC)


def _add(cursor: Any, inside: str, export: Export, after: datetime, upto: datetime) -> None:
    """Add the usage lines of a span of export time, and what invoices bear that were closed in it."""
    from localcloud.billing import rows
    from localcloud.billing.bill import Bill, Planted

    planted = tuple(Planted(*one) for one in export.planted)
    bill = Bill(export.seed, export.since, planted, export.random_anomalies)
    project = export.name.project
    making = rows.Making(export.account, project, export.currency, export.copies, after, upto, export.detailed)
    rows.insert(cursor, inside, bill, making)
    for month in _months(export.since, upto.date()):
        if after < rows.posted(month) <= upto:
            adjusted = (export.seed + month.year * 12 + month.month) % _ADJUSTED == 0
            rows.insert_month(cursor, inside, making, month, _ADJUSTMENT if adjusted else 0.0)


def _months(since: date, until: date) -> Iterator[date]:
    month = since.replace(day=1)
    while month <= until:
        yield month
        month = (month + 32 * DAY).replace(day=1)


def _key(name: Name) -> str:
    return f"{name.project}/{name.dataset}/{name.table}"


def _export(document: Mapping[str, Any]) -> Export:
    """An export as it was asked for. Raises InvalidArgument."""
    if unknown := sorted(set(document) - _FIELDS):
        raise errors.invalid(f"unknown field {unknown[0]}; an export has {', '.join(sorted(_FIELDS))}")
    try:
        until = document.get("until")
        return Export(
            name=Name(str(document["project"]), str(document["dataset"]), str(document["table"])),
            account=str(document.get("account", "01C0DE-5A3B1E-0CA4E7")), seed=int(document.get("seed", 1)),
            since=date.fromisoformat(document["since"]),
            until=datetime.fromisoformat(until).astimezone(UTC) if until else None,
            currency=str(document.get("currency", "USD")), copies=int(document.get("copies", 1)),
            planted=tuple(
                (str(sku), date.fromisoformat(first), int(days), float(factor))
                for sku, first, days, factor in document.get("planted", ())
            ),
            random_anomalies=bool(document.get("random_anomalies", True)),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise errors.invalid(f"no billing export: {error!r}") from error
