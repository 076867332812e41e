"""The connections to PostgreSQL: a small pool for visitors, and a way round it for probes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, create_engine, event

STATEMENT_TIMEOUT = "15s"


def database_url() -> str:
    """The SQLAlchemy URL of the database, which Cloud Run takes from Secret Manager at instance start."""
    return os.environ["DATABASE_URL"].strip()


@cache
def pooled() -> Engine:
    """The pool of this process. Cloud SQL's connections are few: instances × pool size must stay below them."""
    return _engine(pool_size=4, max_overflow=4, pool_timeout=5, pool_pre_ping=True)


@cache
def unpooled() -> Engine:
    """Opens a connection for every use: it proves that the password in use still works today."""
    return _engine(poolclass=NullPool)


@contextmanager
def connect(*, fresh: bool = False) -> Iterator[Connection]:
    """A connection for reading, from the pool or, if ``fresh``, a new one."""
    with (unpooled() if fresh else pooled()).connect() as connection:
        yield connection


def _engine(**settings: Any) -> Engine:
    engine = create_engine(
        database_url(), connect_args={"connect_timeout": 5, "application_name": "pyplots-api"}, **settings
    )
    event.listen(engine, "connect", _bound_statements)
    return engine


def _bound_statements(connection: Any, _record: Any) -> None:
    """Let no statement wait for ever. Not by ``options``, which would override the ones in the URL or PGOPTIONS."""
    connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
    connection.commit()
