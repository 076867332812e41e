"""What the proxy saw of each request: the facts from which Monitoring makes its time series.

An observation, not a resource: facts are buffered, written without waiting for the disk, and the oldest are dropped, so
the file stays bounded. A ``kill -9`` may lose the last fraction of a second.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

MOST_FACTS = 2_000_000
_FLUSH_AT = 500
_PRUNE_EVERY = 50_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, project TEXT NOT NULL, service TEXT NOT NULL, revision TEXT NOT NULL,
    status INTEGER NOT NULL, latency REAL NOT NULL, location TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS requests_by_service ON requests (project, service, at);
"""


@dataclass(frozen=True)
class RequestFact:
    """One answered request. ``at`` is seconds since the epoch, ``latency`` seconds."""

    at: float
    project: str
    service: str
    revision: str
    status: int
    latency: float
    location: str


class Requests:
    """The facts of all services. Safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._buffer: list[RequestFact] = []
        self._written = 0
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)
        self._prune()

    def add(self, fact: RequestFact) -> None:
        """Remember one fact."""
        self.extend((fact,))

    def extend(self, facts: Sequence[RequestFact]) -> None:
        """Remember several facts."""
        with self._lock:
            self._buffer.extend(facts)
            if len(self._buffer) >= _FLUSH_AT:
                self._flush()

    def between(self, project: str, service: str, start: float, end: float) -> list[RequestFact]:
        """The facts with ``start <= at < end``, oldest first. An empty service name means every service."""
        with self._lock:
            self._flush()
            rows = self._db.execute(
                "SELECT at, project, service, revision, status, latency, location FROM requests"
                " WHERE project = ? AND (? = '' OR service = ?) AND at >= ? AND at < ? ORDER BY at",
                (project, service, service, start, end),
            ).fetchall()
        return [RequestFact(*row) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._flush()
            self._db.close()

    def _flush(self) -> None:
        if not self._buffer:
            return
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT INTO requests (at, project, service, revision, status, latency, location)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [astuple(fact) for fact in self._buffer],
        )
        self._db.execute("COMMIT")
        self._written += len(self._buffer)
        self._buffer.clear()
        if self._written >= _PRUNE_EVERY:
            self._written = 0
            self._prune()

    def _prune(self) -> None:
        self._db.execute("DELETE FROM requests WHERE seq <= (SELECT MAX(seq) FROM requests) - ?", (MOST_FACTS,))
