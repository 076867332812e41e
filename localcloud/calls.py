"""The call log: who called what, when, reading or writing, and what came back.

It is how a dry run is proved to write nothing and how a chaos case is generated. It is an observation, not a resource:
it is written without waiting for the disk.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_COLUMNS = "seq, started, finished, method, project, resource, writes, caller, code, fault"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, started REAL NOT NULL, finished REAL, method TEXT NOT NULL,
    project TEXT NOT NULL, resource TEXT NOT NULL, writes INTEGER NOT NULL, caller TEXT NOT NULL,
    code TEXT NOT NULL DEFAULT '', fault TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS calls_by_project ON calls (project, seq);
"""


@dataclass(frozen=True)
class Call:
    """One call. Times are seconds since the epoch; ``code`` is Google's status name, empty while it runs."""

    seq: int
    started: float
    finished: float | None
    method: str
    project: str
    resource: str
    writes: bool
    caller: str
    code: str
    fault: str


class Calls:
    """The log of every call. Safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)

    def begin(self, method: str, project: str, resource: str, caller: str, *, writes: bool) -> int:
        with self._lock:
            cursor = self._db.execute(
                "INSERT INTO calls (started, method, project, resource, writes, caller) VALUES (?, ?, ?, ?, ?, ?)",
                (time.time(), method, project, resource, int(writes), caller),
            )
            return int(cursor.lastrowid or 0)

    def end(self, seq: int, code: str, fault: str = "") -> None:
        with self._lock:
            self._db.execute(
                "UPDATE calls SET finished = ?, code = ?, fault = ? WHERE seq = ?", (time.time(), code, fault, seq)
            )

    def list(self, *, project: str = "", writes_only: bool = False, after: int = 0, limit: int = 10_000) -> list[Call]:
        """The calls after a sequence number, oldest first."""
        with self._lock:
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM calls WHERE seq > ? AND (? = '' OR project = ?) AND writes >= ?"  # noqa: S608
                " ORDER BY seq LIMIT ?",
                (after, project, project, int(writes_only), limit),
            ).fetchall()
        return [_call(row) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._db.close()


def _call(row: tuple[Any, ...]) -> Call:
    seq, started, finished, method, project, resource, writes, caller, code, fault = row
    return Call(seq, started, finished, method, project, resource, bool(writes), caller, code, fault)
