"""A session that runs the statements that care for a database, one at a time.

Safety property: none waits for a lock without bound, and none runs beyond the end of the window, by the server's own
clock (``statement_timeout``). Whatever is run here may be broken off at any moment.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tasks.clients import deadlines
from tasks.clients import upkeep_work_sql as sql
from tasks.clients.statements import Statements, pid_of
from tasks.errors import NotAllowed, TransientError
from tasks.maintenance_models import Action

if TYPE_CHECKING:
    from sqlalchemy import Connection

APPLICATION = "caretaker-maintenance"
#: Both wordings: before PostgreSQL 16, and since.
_SKIPPED = re.compile(
    r'permission denied to (?:vacuum|analyze) "|skipping "[^"]+" --- only|--- relation no longer exists|'
    r"skipping (?:vacuum|analyze) of"
)
CANCELLED, NO_LOCK = "57014", "55P03"
LATE_CANCELS = 3
#: What a short statement of ours may take, and how long it waits for somebody who has locked what it measures.
SHORT, MEASURING_WAITS = deadlines.STATEMENT, timedelta(milliseconds=500)
#: Whoever wants to change the table waits for a drop, and no guard looks: what takes longer is left for the next run.
DROP_TAKES = timedelta(seconds=2)


class BrokenOff(TransientError):
    """A statement of ours was cancelled: by the guard, by somebody, or by the end of the window."""


class NoLock(TransientError):
    """A lock was not to be had within its time."""


class Worker(Statements):
    """One session that works. Not to be used by two threads at once, but for ``pid`` and ``break_off``."""

    def __init__(self, connection: Connection, where: str) -> None:
        super().__init__(connection, where, None)
        driver: Any = connection.connection.driver_connection
        self._driver, self.pid = driver, pid_of(connection)
        self._warnings: list[str] = []
        driver.add_notice_handler(self._hear)

    def run(self, statement: str, limit: timedelta, lock: timedelta, cost_delay_ms: float, what: str) -> list[str]:
        """Run one statement; the server's warnings. Raises BrokenOff, NoLock, or our error for anything else."""
        self._warnings.clear()
        self._limit_to(max(limit, timedelta(milliseconds=1)), lock, cost_delay_ms)
        try:
            self._send(statement, what)
        finally:
            if not self._connection.invalidated:  # what lost the session is to be told, and not that it is lost
                self._be_short()
        return list(self._warnings)

    def measure(self, action: Action) -> dict[str, float]:
        """What an action's object looks like now; empty where it is gone. Raises NoLock where it is locked."""
        of_index = action.kind in ("reindex", "drop_leftover")
        rows = self._rows(f"measuring {action.target}", sql.INDEX if of_index else sql.TABLE, quoted=action.quoted)
        found = rows[0]._asdict() if rows else {}
        return {name: round(float(value), 3) for name, value in found.items() if value is not None}

    def leftovers(self, table_oid: int) -> list[tuple[str, str]]:
        """What broken-off rebuilds left on a table: each name for people and for statements."""
        rows = self._rows("looking for what a rebuild left", sql.LEFTOVERS, oid=table_oid)
        return [(row.name, row.quoted) for row in rows]

    def drop_leftovers(self, table_oid: int, lock: timedelta) -> tuple[list[str], list[str]]:
        """Drop what broken-off rebuilds left on a table: what is gone, and what is not, with the reason."""
        gone, left = [], []
        for name, quoted in self.leftovers(table_oid):
            try:
                self.run(f"DROP INDEX CONCURRENTLY IF EXISTS {quoted}", DROP_TAKES, lock, 0.0, f"dropping {name}")
                gone.append(name)
            except (BrokenOff, NoLock, NotAllowed) as error:
                left.append(f"{name}: {error}")
        return gone, left

    def in_the_way(self, action: Action, ours: Sequence[int], older: timedelta) -> list[str]:
        """Transactions that a rebuild would have to wait for, in words."""
        rows = self._rows(
            "looking for old transactions", sql.IN_THE_WAY, ours=list(ours), seconds=older.total_seconds(),
            table_oid=action.table_oid,
        )  # fmt: skip
        return [f"{row.name} ({row.of_user}, {row.state}) since {_clock(row.since)}" for row in rows]

    def at_it_already(self, action: Action, ours: Sequence[int]) -> str:
        """Who vacuums, analyzes or indexes an action's table at this moment, in words; empty where nobody does."""
        rows = self._rows(
            "looking who is at it already", sql.AT_IT_ALREADY, ours=list(ours), quoted=action.quoted,
            table_oid=action.table_oid,
        )  # fmt: skip
        return f"pid {rows[0].pid} ({rows[0].who}) vacuums, analyzes or indexes the table already" if rows else ""

    def still_open(self, pid: int, since: datetime) -> bool:
        """Whether a session's transaction that began at a time is still there."""
        return bool(self._rows("looking for a transaction", sql.STILL_OPEN, pid=pid, since=since))

    def mark_oldest(self) -> None:
        """Tell the database its oldest table anew: the VACUUMs left that out, each would have read all tables."""
        self.run("VACUUM (ONLY_DATABASE_STATS)", SHORT, deadlines.LOCK, 0.0, "marking the oldest table")

    def end_strays(self) -> list[int]:
        """End every other session of ours on this database; the caller holds the lock. Their process ids."""
        rows = self._rows("ending sessions of an earlier run", sql.END_STRAYS, application=f"{APPLICATION}%")
        return [row.pid for row in rows]

    def break_off(self) -> None:
        """Cancel what runs, from another thread and without the guard's session."""
        self._driver.cancel_safe(timeout=deadlines.CONNECT.total_seconds())

    def _hear(self, notice: Any) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._warnings.append(" ".join(str(notice.message_primary).split()))

    def _limit_to(self, limit: timedelta, lock: timedelta, cost_delay_ms: float) -> None:
        self._send(
            f"SET statement_timeout = {_milliseconds(limit)}; SET lock_timeout = {_milliseconds(lock)}; "
            f"SET vacuum_cost_delay = {cost_delay_ms:.12g}", "setting the session's limits",
        )  # fmt: skip

    def _be_short(self) -> None:
        """The limits of the short statements between two that work. A cancellation may come too late, and hit it."""
        for _ in range(LATE_CANCELS):
            try:
                return self._limit_to(SHORT, MEASURING_WAITS, 0.0)
            except BrokenOff:
                continue
        return self._limit_to(SHORT, MEASURING_WAITS, 0.0)

    def _send(self, statement: str, what: str) -> None:
        from sqlalchemy.exc import DBAPIError

        from tasks.clients.database_errors import translate

        try:
            self._connection.exec_driver_sql(statement)
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None) or ""
            kind = {CANCELLED: BrokenOff, NO_LOCK: NoLock}.get(state)
            ours = translate(error, what, self._where)
            raise (kind(str(ours)) if kind else ours) from error

    def _rows(self, what: str, statement: str, **parameters: Any) -> list[Any]:
        """Rows of a short statement; asked again where a cancellation that was meant for the one before hit it."""
        for _ in range(LATE_CANCELS):
            try:
                return super()._rows(what, statement, **parameters)
            except TransientError as error:
                if NO_LOCK in str(error):
                    raise NoLock(str(error)) from error
                if CANCELLED not in str(error):
                    raise
        return super()._rows(what, statement, **parameters)


def skipped(warnings: Sequence[str]) -> str:
    """Why the server did nothing of what it was asked for; empty where it did, whatever else it warned of."""
    return next((line for line in warnings if _SKIPPED.search(line)), "")


def _milliseconds(time: timedelta) -> int:
    return int(time.total_seconds() * 1000)


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
