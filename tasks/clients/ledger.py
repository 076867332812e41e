"""The ledger: every change that caretaker made, and what it measured.

Safety property: ``changes`` is append-only and hash-chained. Each line's hash covers the line and the hash before it,
so a line that was altered, inserted or taken out later is found; the database refuses to alter one in the first place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from tasks.clients.ledger_chain import broken, link
from tasks.clients.ledger_database import LedgerDatabase, utc
from tasks.errors import BadInput
from tasks.models import Change, Measurement

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


class Ledger(LedgerDatabase):
    """One ledger database: PostgreSQL, or SQLite in a file."""

    def __init__(self, url: SecretStr | str, holder: str = "") -> None:
        super().__init__(url)
        self._holder = holder or f"caretaker {os.getpid()}"

    def ensure(self) -> None:
        """Create the tables where they are missing. Safe to repeat and to run from several processes at once."""
        from tasks.clients import ledger_schema

        with self._translated("preparing the ledger"):
            ledger_schema.ensure(self._engine)

    def append(self, change: Change) -> Change:
        """Append one change and return it as it is written, with its id.

        Safe to repeat: a key that is there already gives the line that was written first.
        """
        from tasks.clients.ledger_schema import changes

        with self._translated(f"recording {change.kind} of {change.subject}"), self._engine.begin() as connection:
            self._take_turn(connection)
            found = connection.execute(changes.select().where(changes.c.key == change.key)).mappings().first()
            if found is not None:
                return _change(dict(found))
            last = connection.execute(changes.select().order_by(changes.c.id.desc()).limit(1)).mappings().first()
            row = link(change, dict(last) if last else None)
            connection.execute(changes.insert().values(**row))
            return _change(row)

    def changes(
        self, kind: str | None = None, subject: str | None = None, limit: int = 100, since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[Change]:
        """The newest changes, newest first; those from ``since`` up to, not including, ``until``."""
        from tasks.clients.ledger_schema import changes

        query = changes.select().order_by(changes.c.id.desc()).limit(limit)
        if kind is not None:
            query = query.where(changes.c.kind == kind)
        if subject is not None:
            query = query.where(changes.c.subject == subject)
        if since is not None:
            query = query.where(changes.c.at >= since.astimezone(UTC))
        if until is not None:
            query = query.where(changes.c.at < until.astimezone(UTC))
        return [_change(row) for row in self._read("reading the ledger's changes", query)]

    def last_verified(self, service: str, other_than: str = "") -> str | None:
        """The revision of a service that a deploy or roll-back last saw verified, other than the one given."""
        for change in self.changes(subject=service, limit=1000):
            revision = change.after.get("revision")
            good = change.kind in ("deploy", "roll_back") and change.after.get("verified")
            if good and revision and revision != other_than:
                return str(revision)
        return None

    def verify_chain(self) -> int | None:
        """The id of the first line that is not as it was written; None when every line is.

        Lines cut off at the end leave no trace in what remains: compare the last id with a copy kept elsewhere.
        """
        from tasks.clients.ledger_schema import changes

        return broken(self._read("reading the ledger's chain", changes.select().order_by(changes.c.id)))

    def measure(
        self, name: str, subject: str, value: float, unit: str, at: datetime | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Write one measurement down. ``unit`` is part of it: ``s``, ``bytes``, ``1``, ``EUR``."""
        from tasks.clients.ledger_schema import measurements

        row = {"at": at or datetime.now(UTC), "name": name, "subject": subject, "value": value, "unit": unit}
        with self._translated(f"recording {name} of {subject}"), self._engine.begin() as connection:
            connection.execute(measurements.insert().values(**row, labels=dict(labels or {})))

    def measurements(
        self, name: str, subject: str | None = None, since: datetime | None = None, limit: int = 1000
    ) -> list[Measurement]:
        """The newest measurements of a name, oldest first."""
        from tasks.clients.ledger_schema import measurements as table

        query = table.select().where(table.c.name == name).order_by(table.c.at.desc(), table.c.id.desc()).limit(limit)
        if subject is not None:
            query = query.where(table.c.subject == subject)
        if since is not None:
            query = query.where(table.c.at >= since.astimezone(UTC))
        return [_measurement(row) for row in reversed(self._read("reading the ledger's measurements", query))]

    def reserve(self, name: str, calls: int, per: timedelta, longest: timedelta) -> timedelta | None:
        """Take the next turn at a quota of ``calls`` in any ``per``; how long to wait for it.

        None where it would be longer than ``longest``: then no turn is taken.
        """
        from tasks.clients import ledger_paces

        with self._translated(f"taking a turn at {name}"), self._engine.begin() as connection:
            self._take_turn(connection)
            wait = ledger_paces.reserve(connection, name, calls, per.total_seconds(), longest.total_seconds())
            return None if wait is None else timedelta(seconds=wait)

    def lock(self, name: str, holder: str = "") -> AbstractContextManager[None]:
        """Hold a named lock while inside; it ends with this process. Raises Conflict, naming the holder, when taken.

        ``holder`` is how others will see us: ``caretaker <flow run>``.
        """
        who = holder or self._holder
        if self._is_sqlite:
            from tasks.clients.file_lock import held as held_file

            return held_file(self._file_for(name), f"taking the lock {name}", who)
        from tasks.clients import engines
        from tasks.clients.advisory_lock import held

        return held(engines.postgres(self._url, who), f"ledger {name}", f"taking the lock {name}", self._where)

    @cached_property
    def _engine(self) -> Engine:
        from tasks.clients import engines

        if not self._is_sqlite:
            return engines.postgres(self._url, self._holder)
        if not self._url.database or self._url.database == ":memory:":
            raise BadInput("opening the ledger failed: a SQLite ledger must be a file; use sqlite:///path")
        return engines.sqlite(self._url)

    def _file_for(self, name: str) -> str:
        return f"{self._url.database}.{''.join(c if c.isalnum() else '_' for c in name)}.lock"

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        from tasks.clients.database_errors import translated

        with translated(what, self._where):
            yield

    def _take_turn(self, connection: Connection) -> None:
        """Make appending wait its turn; SQLite has done so at the transaction's beginning."""
        if self._is_sqlite:
            return
        from sqlalchemy import text

        from tasks.clients.ledger_schema import TURN

        connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": TURN})

    def _read(self, what: str, query: Any) -> list[Mapping[str, Any]]:
        with self._translated(what), self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def open_ledger(url: SecretStr | str) -> Ledger:
    """A ledger whose tables are there."""
    ledger = Ledger(url)
    ledger.ensure()
    return ledger


def _change(row: Mapping[str, Any]) -> Change:
    fields = {name: row[name] for name in Change.model_fields}
    return Change.model_validate({**fields, "at": utc(row["at"])})


def _measurement(row: Mapping[str, Any]) -> Measurement:
    fields = {name: row[name] for name in Measurement.model_fields}
    return Measurement.model_validate({**fields, "at": utc(row["at"])})
