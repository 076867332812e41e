"""Runs the statements that care for a database, and watches what they do to it.

Safety property: no session of ours outlives its process (``client_connection_check_interval``), none waits for a lock
without bound, and none runs beyond the end of the window, by the server's own clock (``statement_timeout``). Whatever
is run here may be broken off at any moment.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from tasks.clients import deadlines
from tasks.clients import upkeep_work_sql as sql
from tasks.clients.upkeep import AS_LOGIN
from tasks.errors import TransientError
from tasks.maintenance_models import Action

if TYPE_CHECKING:
    from sqlalchemy import Connection

APPLICATION = "caretaker-maintenance"
#: What the server looks at while it works: a process that is gone must not leave a VACUUM behind.
SESSION = {
    **AS_LOGIN, "client_connection_check_interval": "1000", "idle_in_transaction_session_timeout": "60000",
    "default_transaction_read_only": "off",
}  # fmt: skip
#: Both wordings: before PostgreSQL 16, and since.
_SKIPPED = re.compile(
    r'permission denied to (?:vacuum|analyze) "|skipping "[^"]+" --- only|--- relation no longer exists|'
    r"skipping (?:vacuum|analyze) of"
)
CANCELLED, NO_LOCK = "57014", "55P03"
LATE_CANCELS = 3
MEASURING_WAITS_MS = 500


class BrokenOff(TransientError):
    """A statement of ours was cancelled: by the guard, by somebody, or by the end of the window."""


class NoLock(TransientError):
    """A lock was not to be had within its time."""


class Worker:
    """One session that works. Not to be used by two threads at once, but for ``pid``."""

    def __init__(self, connection: Connection, where: str) -> None:
        self._connection, self._where = connection, where
        driver: Any = connection.connection.driver_connection
        self._driver, self.pid = driver, int(driver.info.backend_pid)
        self._warnings: list[str] = []
        driver.add_notice_handler(self._hear)

    def run(self, statement: str, limit: timedelta, lock: timedelta, cost_delay_ms: float, what: str) -> list[str]:
        """Run one statement; the server's warnings. Raises BrokenOff, NoLock, or our error for anything else."""
        self._warnings.clear()
        self._set("statement_timeout", max(1, int(limit.total_seconds() * 1000)))
        self._set("lock_timeout", int(lock.total_seconds() * 1000))
        self._set("vacuum_cost_delay", cost_delay_ms)
        self._execute(statement, what)
        return list(self._warnings)

    def measure(self, action: Action) -> dict[str, float]:
        """What an action's object looks like now; empty where it is gone. Raises NoLock where it is locked."""
        of_index = action.kind in ("reindex", "drop_leftover")
        self._set("lock_timeout", MEASURING_WAITS_MS)
        rows = self._rows(f"measuring {action.target}", sql.INDEX if of_index else sql.TABLE, quoted=action.quoted)
        found = rows[0]._asdict() if rows else {}
        return {name: round(float(value), 3) for name, value in found.items() if value is not None}

    def leftovers(self, table_oid: int) -> list[tuple[str, str]]:
        """What broken-off rebuilds left on a table: each name for people and for statements."""
        rows = self._rows("looking for what a rebuild left", sql.LEFTOVERS, oid=table_oid)
        return [(row.name, row.quoted) for row in rows]

    def old_transactions(self, ours: Sequence[int], older: timedelta) -> list[str]:
        """Transactions that a rebuild would have to wait for, in words."""
        seconds = older.total_seconds()
        rows = self._rows("looking for old transactions", sql.OLD_TRANSACTIONS, ours=list(ours), seconds=seconds)
        return [f"pid {row.pid} ({row.of_user}, {row.state}) since {_clock(row.since)}" for row in rows]

    def still_open(self, pid: int) -> bool:
        """Whether a session's transaction is still there."""
        return bool(self._rows("looking for a transaction", sql.STILL_OPEN, pid=pid))

    def _hear(self, notice: Any) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._warnings.append(" ".join(str(notice.message_primary).split()))

    def _set(self, name: str, value: float) -> None:
        self._execute(f"SET {name} = {value:.12g}", f"setting {name}")

    def _execute(self, statement: str, what: str) -> None:
        from sqlalchemy.exc import DBAPIError

        from tasks.clients.database_errors import translate

        try:
            self._connection.exec_driver_sql(statement)
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None) or ""
            kind = {CANCELLED: BrokenOff, NO_LOCK: NoLock}.get(state)
            ours = translate(error, what, self._where)
            raise (kind(str(ours)) if kind else ours) from error

    def end_strays(self) -> list[int]:
        """End every other session of ours on this database; the caller holds the lock. Their process ids."""
        rows = self._rows("ending sessions of an earlier run", sql.END_STRAYS, application=f"{APPLICATION}%")
        return [row.pid for row in rows]

    def break_off(self) -> None:
        """Cancel what runs, from another thread and without the guard's session."""
        self._driver.cancel_safe(timeout=deadlines.CONNECT.total_seconds())

    def _rows(self, what: str, statement: str, **parameters: Any) -> list[Any]:
        """Rows of a short statement; asked again where a cancellation that was meant for the one before hit it."""
        for _ in range(LATE_CANCELS):
            try:
                return _rows(self._connection, self._where, what, statement, **parameters)
            except TransientError as error:
                if NO_LOCK in str(error):
                    raise NoLock(str(error)) from error
                if CANCELLED not in str(error):
                    raise
        return _rows(self._connection, self._where, what, statement, **parameters)


@dataclass(frozen=True)
class Sample:
    """One look of the guard. ``at`` is on the clock of ``time.monotonic``; ``counters``: calls and milliseconds."""

    at: float
    counters: dict[str, tuple[int, float]] | None = None
    probe_ms: float = 0.0
    lag_bytes: float = 0.0
    blocked_seconds: float = 0.0
    others: int = 0


@dataclass(frozen=True)
class Step:
    """How far one statement of ours is. ``done`` is 0…1, or None where the phase does not tell."""

    name: str
    phase: str
    done: float | None = None


@dataclass
class Watch:
    """The guard's own session."""

    connection: Connection
    where: str
    schema: str | None
    watched: list[str] = field(default_factory=list)

    def choose(self) -> None:
        """Choose the statements whose latency is watched: those of the application that run most."""
        if self.schema is not None:
            rows = self._rows("choosing the statements to watch", sql.WATCHED.format(schema=self.schema))
            self.watched = [row[0] for row in rows]

    def blocked(self, ours: Sequence[int]) -> float:
        """For how long, in seconds, the session that waits longest for us has waited; 0 for none."""
        if not ours:
            return 0.0
        rows = self._rows("looking for blocked sessions", sql.BLOCKED, ours=list(ours))
        return max((max(row.seconds, 0.001) for row in rows), default=0.0)

    def sample(self, ours: Sequence[int]) -> Sample:
        """Everything that the guard judges by."""
        counters = None
        if self.schema is not None:
            rows = self._rows("reading the latencies", sql.COUNTERS.format(schema=self.schema), ids=self.watched)
            counters = {row.id: (row.calls, row.total_ms) for row in rows}
        lag = self._rows("reading the replicas' lag", sql.LAG)[0][0] or 0.0
        began = time.monotonic()
        self._rows("probing", sql.PROBE)
        ended = time.monotonic()
        others = self._rows("counting the sessions", sql.OTHERS, ours=list(ours))[0][0]
        return Sample(ended, counters, (ended - began) * 1000, lag, self.blocked(ours), others)

    def cancel(self, ours: Sequence[int]) -> None:
        """Break our own statements off. What a VACUUM has done on the heap stays done."""
        if ours:
            self._rows("pausing", sql.CANCEL, ours=list(ours))

    def steps(self, ours: Sequence[int]) -> list[Step]:
        """How far each of our statements is."""
        if not ours:
            return []
        rows = self._rows("reading the progress", sql.PROGRESS, ours=list(ours))
        return [Step(row.name, row.phase, row.done) for row in rows]

    def _rows(self, what: str, statement: str, **parameters: Any) -> list[Any]:
        return _rows(self.connection, self.where, what, statement, **parameters)


class Workshop:
    """Opens the sessions that work on one database."""

    def __init__(self, url: SecretStr, statistics_schema: str | None) -> None:
        self._url, self._schema = url, statistics_schema

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """A session that works."""
        with self._connection(APPLICATION) as (connection, where):
            yield Worker(connection, where)

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """The guard's session."""
        with self._connection(f"{APPLICATION} guard") as (connection, where):
            yield Watch(connection, where, self._schema)

    @contextmanager
    def _connection(self, application: str) -> Iterator[tuple[Connection, str]]:
        from tasks.clients import engines
        from tasks.clients.database_errors import translated

        url = engines.parse(self._url, "a database")
        options = {"isolation_level": "AUTOCOMMIT", "no_parameters": True}
        engine = engines.postgres(url, application, deadlines.STATEMENT, SESSION).execution_options(**options)
        with translated("connecting", engines.where(url)):
            connection = engine.connect()
        with connection:
            yield connection, engines.where(url)


def skipped(warnings: Sequence[str]) -> str:
    """Why the server did nothing of what it was asked for; empty where it did, whatever else it warned of."""
    return next((line for line in warnings if _SKIPPED.search(line)), "")


def _rows(connection: Connection, where: str, what: str, statement: str, **parameters: Any) -> list[Any]:
    from sqlalchemy import text

    from tasks.clients.database_errors import translated

    with translated(what, where):
        return list(connection.execute(text(statement), parameters))


def _clock(at: datetime) -> str:
    from datetime import UTC

    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
