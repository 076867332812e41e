"""Runs the migrations: one at a time over the whole database, and never waiting for long behind a lock.

Safety: an advisory lock keeps two migrators apart (several instances that start at once fail by racing). It is asked for,
not waited for in PostgreSQL, because a waiting session holds a snapshot, and CREATE INDEX CONCURRENTLY waits for that.
Each revision is a transaction of its own. ``lock_timeout`` comes from PGOPTIONS, or is five seconds: a migration that queues
behind an idle transaction would make every later query queue behind itself.
"""

import json
import logging.config
import os
import time
from pathlib import Path

from alembic import context
from sqlalchemy import Connection, NullPool, create_engine, text

from app.database import database_url
from app.schema import metadata

MIGRATION_LOCK = 0x7079706C6F7473  # "pyplots"
PATIENCE_SECONDS = float(os.environ.get("MIGRATION_LOCK_SECONDS", "60"))
DEFAULT_LOCK_TIMEOUT = "5s"
OPTIONS = {"target_metadata": metadata, "transaction_per_migration": True}

logging.config.dictConfig(json.loads((Path(__file__).parent.parent / "logging.json").read_text()))


def run_offline() -> None:
    """Print the SQL; needs no database."""
    context.configure(dialect_name="postgresql", literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


def run_online() -> None:
    engine = create_engine(database_url(), poolclass=NullPool, connect_args={"application_name": "pyplots-migration"})
    with engine.connect() as connection:
        take_migration_lock(connection)
        bound_lock_waits(connection)
        context.configure(connection=connection, **OPTIONS)
        with context.begin_transaction():
            context.run_migrations()


def take_migration_lock(connection: Connection) -> None:
    """Keep other migrators out until this session ends, however it ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": MIGRATION_LOCK}):
        connection.rollback()
        if time.monotonic() > deadline:
            raise SystemExit(f"another migration has been running for {PATIENCE_SECONDS:.0f} s; try again when it is done")
        time.sleep(0.2)
    connection.commit()


def bound_lock_waits(connection: Connection) -> None:
    if connection.scalar(text("SHOW lock_timeout")) == "0":
        connection.execute(text(f"SET lock_timeout = '{DEFAULT_LOCK_TIMEOUT}'"))
    connection.commit()


if context.is_offline_mode():
    run_offline()
else:
    run_online()
