"""How we connect to a SQL database.

Safety property: no session of ours waits without bound, for a connection, a lock or a statement; parameters and
passwords appear in no log and no message.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from tasks.clients import deadlines
from tasks.errors import BadInput

APPLICATION = "caretaker"
#: What PostgreSQL keeps of an application's name.
APPLICATION_LIMIT = 63


def parse(url: SecretStr, what: str) -> URL:
    """A connection string as SQLAlchemy's URL; PostgreSQL always by psycopg. Raises BadInput without quoting it."""
    try:
        parsed = make_url(url.get_secret_value().strip())
    except (ArgumentError, ValueError):  # a port that is no number, which may be a part of a password, is quoted
        raise BadInput(
            f"reading the connection string of {what} failed: it is no URL; it must look like "
            "postgresql+psycopg://user:password@/database?host=/cloudsql/project:region:instance, with the password "
            "percent-encoded"
        ) from None
    if parsed.drivername in ("postgres", "postgresql") or parsed.drivername.startswith("postgresql+"):
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def where(url: URL) -> str:
    """``user@database``, for messages."""
    return f"{url.username or ''}@{url.database or ''}"


def postgres(
    url: URL, application: str = APPLICATION, statement: timedelta = deadlines.STATEMENT,
    settings: Mapping[str, str] | None = None,
) -> Engine:
    """An engine that opens a session for each use, so that none outlives a changed password or a restored server.

    ``statement``: the longest that one statement may take. ``settings``: more of the session's, as ``{name: value}``.
    """
    arguments = _connect_args(application, statement, settings or {})
    return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)


def pooled(url: URL, application: str, size: int) -> Engine:
    """An engine that keeps sessions, for a server that is asked a hundred times a second.

    Each is asked whether it lives before it is used, and replaced after five minutes. It waits for no more than what a
    sender waits for an acknowledgement.
    """
    return create_engine(
        url, pool_size=size, max_overflow=2, pool_pre_ping=True, pool_recycle=300, hide_parameters=True,
        pool_timeout=deadlines.ACKNOWLEDGEMENT.total_seconds(),
        connect_args=_connect_args(application, deadlines.ACKNOWLEDGEMENT, {}),
    )


def _connect_args(application: str, statement: timedelta, settings: Mapping[str, str]) -> dict[str, Any]:
    options = {
        "statement_timeout": int(statement.total_seconds() * 1000),
        "lock_timeout": int(deadlines.LOCK.total_seconds() * 1000),
        **settings,
    }
    return {
        "connect_timeout": int(deadlines.CONNECT.total_seconds()),
        "application_name": application[:APPLICATION_LIMIT],
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        "keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3,
    }


def sqlite(url: URL) -> Engine:
    """An engine whose transactions take the write lock at their beginning, as ``BEGIN IMMEDIATE`` does.

    See "Serializable isolation / Savepoints / Transactional DDL" in SQLAlchemy's SQLite documentation.
    """
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": deadlines.CONNECT.total_seconds()})

    @event.listens_for(engine, "connect")
    def _no_implicit_begin(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def _begin(connection: object) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # type: ignore[attr-defined]

    return engine
