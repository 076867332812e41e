"""A PostgreSQL advisory lock that is held on a session of its own.

Safety property: the lock ends with its session, so a killed run holds nothing; and taking it never waits, so two runs
never queue up behind each other unseen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from tasks.clients.database_errors import translated
from tasks.errors import Conflict

_TRY = text("SELECT pg_try_advisory_lock(:key)")
_FREE = text("SELECT pg_advisory_unlock(:key)")
#: An advisory lock on one bigint is listed with the key's high and low half and objsubid 1.
_HOLDER = text("""
    SELECT a.application_name, a.backend_start, l.pid
      FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
     WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND ((l.classid::bigint << 32) | l.objid::bigint) = :key
""")


@contextmanager
def held(engine: Engine, key: str, what: str, where: str) -> Iterator[None]:
    """Hold a lock while inside. Raises Conflict, naming the holder, when another session has it."""
    number = lock_number(key)
    with translated(f"connecting for {what}", where):
        connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        with translated(what, where):
            if not connection.execute(_TRY, {"key": number}).scalar_one():
                raise Conflict(f"{what} failed: {_holder(connection, number)}; wait for it, or end it")
        yield
    finally:
        _release(connection, number)


def lock_number(key: str) -> int:
    """The bigint that stands for a name."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)


def _holder(connection: Connection, number: int) -> str:
    found = connection.execute(_HOLDER, {"key": number}).first()
    if found is None:
        return "it was held a moment ago"
    since = (found.backend_start or datetime.now(UTC)).astimezone(UTC)
    who = found.application_name or "an unnamed session"
    return f"held by {who} (pid {found.pid}) since {since:%Y-%m-%d %H:%M:%S} UTC"


def _release(connection: Connection, number: int) -> None:
    """Give the lock back before the session ends: a server sees the end of a session a moment later only."""
    with suppress(DBAPIError):  # a session that is lost has given its lock back already
        connection.execute(_FREE, {"key": number})
    connection.close()
