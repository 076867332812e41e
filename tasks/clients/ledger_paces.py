"""Turns at an API's quota, which every process and machine with the same ledger shares.

Google counts a quota by project, and a pace that each process keeps for itself is none: two workers, or two estates of
one project, take twice as much. A file would be shared by one machine alone, so the turns stand in the ledger's
database, by its clock.

Safety property: a turn is taken in one transaction, and nothing is held afterwards. A process that is killed leaves one
turn unused at most, and blocks nobody.
"""

from __future__ import annotations

import time

from sqlalchemy import JSON, Column, Connection, MetaData, Table, Text, text

#: Turns further ahead than this many times the quota's span are of a clock that was wrong.
FURTHEST = 10

metadata = MetaData()
paces = Table(
    "paces", metadata,
    Column("name", Text, primary_key=True),
    Column("taken", JSON, nullable=False, comment="the turns of the last span, in seconds since the epoch, in order"),
)


def reserve(connection: Connection, name: str, calls: int, per: float, longest: float) -> float | None:
    """Take the next turn of which no span holds more than ``calls``; the seconds until then.

    None, and no turn is taken, where it would be further ahead than ``longest``. The caller has made this transaction
    the only one that does so.
    """
    metadata.create_all(connection)
    now = _now(connection)
    found = connection.execute(paces.select().where(paces.c.name == name)).mappings().first()
    taken = [at for at in found["taken"] if now - per < at < now + FURTHEST * per] if found else []
    turn = now if len(taken) < calls else max(now, taken[-calls] + per)
    if turn - now > longest:
        return None
    kept = {"taken": [*taken, turn]}
    connection.execute(
        paces.update().where(paces.c.name == name).values(**kept) if found else paces.insert().values(name=name, **kept)
    )
    return turn - now


def _now(connection: Connection) -> float:
    """The database's clock: machines may differ in theirs. SQLite is on this one."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
