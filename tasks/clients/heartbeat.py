"""The heartbeat: one small row a few minutes in the application's database, by which a restored copy tells its age.

Safety property: it writes to the table ``caretaker.heartbeat`` and to nothing else. The row names the instance that it
was written on, so a copy of another instance is known by it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import SecretStr

#: How long beats are kept.
KEPT = timedelta(days=3)

_MAKE = (
    "CREATE SCHEMA IF NOT EXISTS caretaker",
    "CREATE TABLE IF NOT EXISTS caretaker.heartbeat (at timestamptz PRIMARY KEY, origin text NOT NULL)",
)
_IS_THERE = "SELECT to_regclass('caretaker.heartbeat') IS NOT NULL"
#: The server's clock, which also stamps its backups and its WAL.
_BEAT = """
INSERT INTO caretaker.heartbeat (at, origin) VALUES (clock_timestamp(), :origin)
    ON CONFLICT (at) DO UPDATE SET origin = excluded.origin RETURNING at
"""
_FORGET = "DELETE FROM caretaker.heartbeat WHERE at < now() - CAST(:kept AS interval)"


def beat(url: SecretStr, origin: str) -> datetime:
    """Write a heartbeat, the table too where it is missing, and forget old ones; when it was written.

    Safe to repeat: another beat is only a newer one.
    """
    from sqlalchemy import text

    from tasks.clients import engines
    from tasks.clients.database_errors import translated

    parsed = engines.parse(url, "a database")
    with translated("writing the heartbeat", engines.where(parsed)), engines.postgres(parsed).begin() as connection:
        if not connection.execute(text(_IS_THERE)).scalar_one():
            for statement in _MAKE:
                connection.execute(text(statement))
        at: datetime = connection.execute(text(_BEAT), {"origin": origin}).scalar_one()
        connection.execute(text(_FORGET), {"kept": f"{KEPT.days} days"})
    return at
