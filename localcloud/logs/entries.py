"""Log entries on disk, and how they are found again.

Safety property: an entry is visible to every query that begins after ``write`` returned. A ``kill -9`` can lose the
entries of the last tenth of a second that nobody queried; ``flush`` is what an acknowledged WriteLogEntries waits for.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from google.cloud.logging_v2.types import LogEntry

from localcloud.logs.query import Query

MOST_ENTRIES = 500_000
RETENTION = timedelta(days=30)
MOST_AHEAD = timedelta(days=1)
_BATCH_SECONDS = 0.1
_TRIM_EVERY = 5_000
_NANOS = 1_000_000_000
_Entry: Any = LogEntry.pb()
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, log_name TEXT NOT NULL COLLATE NOCASE,
    log_id TEXT NOT NULL COLLATE NOCASE, ts INTEGER NOT NULL, insert_id TEXT NOT NULL, severity INTEGER NOT NULL,
    resource_type TEXT NOT NULL COLLATE NOCASE, service TEXT COLLATE NOCASE, revision TEXT COLLATE NOCASE,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_in_order ON entries (project, ts, insert_id);
CREATE INDEX IF NOT EXISTS entries_of_service ON entries (project, service, ts, insert_id);
CREATE UNIQUE INDEX IF NOT EXISTS entries_once ON entries (project, log_name, ts, insert_id);
"""
_INSERT = (
    "INSERT OR IGNORE INTO entries (project, log_name, log_id, ts, insert_id, severity, resource_type, service,"
    " revision, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True)
class Position:
    """Where a page ended: the order of entries is by timestamp, then insert id, then arrival."""

    ts: int
    insert_id: str
    id: int


class Entries:
    """The log entries of every project. Safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: list[tuple[Any, ...]] = []
        self._pending_lock, self._db_lock = threading.Lock(), threading.Lock()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._sequence = itertools.count()
        self._since_trim = 0
        self._db = _open(path)
        self._db.executescript(_SCHEMA)
        self._writer = threading.Thread(target=self._write_batches, name="logs", daemon=True)
        self._writer.start()

    def write(self, entries: Iterable[Any]) -> None:
        """Take entries (raw or proto-plus), filling timestamp, insert id and receive timestamp where they are unset.

        An entry with the log, timestamp and insert id of an older one is dropped, and so is one of more than a day
        ahead.
        """
        now = time.time_ns()
        rows = [row for entry in entries if (row := self._row(entry, now)) is not None]
        with self._pending_lock:
            self._pending += rows
        self._wake.set()

    def flush(self) -> None:
        """Write everything that was taken."""
        with self._db_lock:
            with self._pending_lock:
                rows, self._pending = self._pending, []
            if not rows:
                return
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_INSERT, rows)
            self._db.execute("COMMIT")
            self._trim(len(rows))

    def query(
        self, projects: Sequence[str], query: Query, *, descending: bool = False, limit: int = 1000,
        after: Position | None = None,
    ) -> tuple[list[Any], Position | None]:
        """At most ``limit`` entries as raw messages in the order of time, and where to go on when there are more."""
        self.flush()
        found: list[Any] = []
        last = after
        with closing(_open(self._path)) as db:
            for position, body in _scan(db, projects, query, descending=descending, after=after):
                entry = _Entry.FromString(body)
                if not query.matches(entry):
                    continue
                if len(found) == limit:
                    return found, last
                found.append(entry)
                last = position
        return found, None

    def count(self, project: str, begin: float, end: float) -> int:
        """How many entries bear a time from ``begin`` up to, not including, ``end``, in seconds since the epoch."""
        self.flush()
        with closing(_open(self._path)) as db:
            row = db.execute(
                "SELECT count(*) FROM entries WHERE project = ? AND ts >= ? AND ts < ?",
                (project, max(int(begin * _NANOS), _oldest()), int(end * _NANOS)),
            ).fetchone()
            return int(row[0])

    def logs(self, projects: Sequence[str]) -> list[str]:
        """The names of the logs that have entries."""
        self.flush()
        with closing(_open(self._path)) as db:
            rows = db.execute(
                f"SELECT DISTINCT log_name FROM entries WHERE project IN ({_marks(projects)}) AND ts >= ?"  # noqa: S608
                " ORDER BY log_name", (*projects, _oldest()),
            )
            return [row[0] for row in rows]

    def delete(self, log_name: str) -> bool:
        """Delete every entry of a log; say whether there was one."""
        self.flush()
        with self._db_lock:
            return self._db.execute("DELETE FROM entries WHERE log_name = ?", (log_name,)).rowcount > 0

    def close(self) -> None:
        self._closing.set()
        self._wake.set()
        self._writer.join(timeout=5)
        self.flush()
        with self._db_lock:
            self._db.close()

    def _write_batches(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(_BATCH_SECONDS)
            self._wake.clear()
            self.flush()

    def _row(self, entry: Any, now: int) -> tuple[Any, ...] | None:
        raw = LogEntry.pb(entry) if isinstance(entry, LogEntry) else entry
        raw.receive_timestamp.FromNanoseconds(now)
        if not raw.HasField("timestamp"):
            raw.timestamp.FromNanoseconds(now)
        ts = raw.timestamp.seconds * _NANOS + raw.timestamp.nanos
        if ts > now + MOST_AHEAD.total_seconds() * _NANOS:
            return None
        raw.insert_id = raw.insert_id or f"{now:016x}{next(self._sequence):08x}"
        labels = raw.resource.labels
        return (
            raw.log_name.split("/", 2)[1], raw.log_name, unquote(raw.log_name.partition("/logs/")[2]), ts,
            raw.insert_id, raw.severity, raw.resource.type, labels.get("service_name"), labels.get("revision_name"),
            raw.SerializeToString(),
        )

    def _trim(self, added: int) -> None:
        self._since_trim += added
        if self._since_trim >= _TRIM_EVERY:
            self._since_trim = 0
            self._db.execute(
                "DELETE FROM entries WHERE id <= (SELECT max(id) FROM entries) - ? OR ts < ?", (MOST_ENTRIES, _oldest())
            )


def _scan(
    db: sqlite3.Connection, projects: Sequence[str], query: Query, *, descending: bool, after: Position | None
) -> Iterator[tuple[Position, bytes]]:
    where, values = [f"project IN ({_marks(projects)})", "ts >= ?"], [*projects, _oldest()]
    for condition, parameters in query.conditions:
        where.append(condition)
        values += parameters
    if after is not None:
        where.append(f"(ts, insert_id, id) {'<' if descending else '>'} (?, ?, ?)")
        values += [after.ts, after.insert_id, after.id]
    way = "DESC" if descending else "ASC"
    rows = db.execute(
        f"SELECT ts, insert_id, id, body FROM entries WHERE {' AND '.join(where)}"  # noqa: S608
        f" ORDER BY ts {way}, insert_id {way}, id {way}", values,
    )
    for ts, insert_id, row_id, body in rows:
        yield Position(ts, insert_id, row_id), body


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    return db


def _oldest() -> int:
    return time.time_ns() - int(RETENTION.total_seconds()) * _NANOS


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
