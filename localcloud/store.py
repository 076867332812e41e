"""Where the local cloud keeps every resource: one SQLite file, written through to disk before a call is acknowledged.

Safety property: a resource that a call has acknowledged survives a ``kill -9`` of the process and of the machine
(``synchronous=FULL``). Values are the wire bytes of Google's own messages, so nothing is lost in translation.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

Message = TypeVar("Message")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    kind TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class Store:
    """Bytes by kind and name, with transactions. Safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Secrets lie in it: made before SQLite makes it, which would let every user read it.
        path.touch(mode=0o600)
        self._lock = threading.RLock()
        self._depth = 0
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the store's lock; commit on leaving, roll back on an exception. Re-entrant."""
        with self._lock:
            if self._depth:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            else:
                self._db.execute("COMMIT")
            finally:
                self._depth -= 1

    def put(self, kind: str, name: str, body: bytes) -> None:
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO resources VALUES (?, ?, ?)", (kind, name, body))

    def get(self, kind: str, name: str) -> bytes | None:
        with self._lock:
            row = self._db.execute("SELECT body FROM resources WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        return row[0] if row else None

    def delete(self, kind: str, name: str) -> bool:
        """Delete one resource; say whether it was there."""
        with self.transaction():
            return self._db.execute("DELETE FROM resources WHERE kind = ? AND name = ?", (kind, name)).rowcount > 0

    def list(self, kind: str, prefix: str = "") -> list[tuple[str, bytes]]:
        """Every (name, body) of a kind whose name begins with the prefix, in the order of names."""
        upper = prefix + "\U0010ffff"
        with self._lock:
            rows = self._db.execute(
                "SELECT name, body FROM resources WHERE kind = ? AND name >= ? AND name < ? ORDER BY name",
                (kind, prefix, upper),
            ).fetchall()
        return [(name, body) for name, body in rows]

    def next(self, counter: str) -> int:
        """The next number of a counter, from 1; never given twice."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1", (counter,)
            )
            return int(self._db.execute("SELECT value FROM counters WHERE name = ?", (counter,)).fetchone()[0])

    def messages(self, kind: str, message: type[Message]) -> Messages[Message]:
        """A typed view of one kind whose values are proto-plus messages."""
        return Messages(self, kind, message)

    def documents(self, kind: str) -> Documents:
        """A view of one kind whose values are JSON objects."""
        return Documents(self, kind)

    def close(self) -> None:
        with self._lock:
            self._db.close()


class Messages(Generic[Message]):
    """One kind of resource, as proto-plus messages by their full resource name."""

    def __init__(self, store: Store, kind: str, message: type[Message]) -> None:
        self._store, self._kind, self._message = store, kind, message

    def get(self, name: str) -> Message | None:
        body = self._store.get(self._kind, name)
        return None if body is None else self._load(body)

    def put(self, name: str, message: Message) -> None:
        self._store.put(self._kind, name, self._message.serialize(message))  # type: ignore[attr-defined]

    def delete(self, name: str) -> bool:
        return self._store.delete(self._kind, name)

    def list(self, prefix: str = "") -> list[Message]:
        return [self._load(body) for _, body in self._store.list(self._kind, prefix)]

    def _load(self, body: bytes) -> Message:
        return self._message.deserialize(body)  # type: ignore[attr-defined,no-any-return]


class Documents:
    """One kind of resource, as JSON objects by name."""

    def __init__(self, store: Store, kind: str) -> None:
        self._store, self._kind = store, kind

    def get(self, name: str) -> dict[str, Any] | None:
        body = self._store.get(self._kind, name)
        return None if body is None else json.loads(body)

    def put(self, name: str, document: dict[str, Any]) -> None:
        self._store.put(self._kind, name, json.dumps(document, sort_keys=True).encode())

    def delete(self, name: str) -> bool:
        return self._store.delete(self._kind, name)

    def list(self, prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
        return [(name, json.loads(body)) for name, body in self._store.list(self._kind, prefix)]
