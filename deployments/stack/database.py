"""The stack's own PostgreSQL: one cluster with a database for Prefect and one for the ledger.

Safety property: each database has its own role and password; neither is the superuser, and both live in files that
only the owner reads. It listens on a Unix socket alone: there is no port that another process could have taken.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import quote

from deployments.stack.folder import Folder
from embedded.postgres import CannotRun, Cluster, PostgresError
from embedded.temporary import socket_folder
from tasks.errors import OpsError

PREFECT, LEDGER = "prefect", "caretaker"
START_SECONDS = 60.0


class Database:
    """The cluster of a stack, with the few things that the supervisor asks of it."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._cluster = Cluster(folder.database / "data", socket_folder(folder.database))

    def start(self) -> bool:
        """Start it, or adopt the one that runs, and make the databases. Say whether it was adopted. Raises OpsError."""
        kept = self._cluster.running()
        try:
            self._cluster.init()
            self._cluster.start(START_SECONDS)
        except (PostgresError, CannotRun) as error:
            raise OpsError(f"starting PostgreSQL failed: {error}") from error
        with self._cluster.connect() as superuser:
            for name in (PREFECT, LEDGER):
                _ensure_role(superuser, name, self._folder.secret(f"database-{name}"))
                _ensure_database(superuser, name)
        return kept

    def stop(self) -> None:
        try:
            self._cluster.stop()
        except PostgresError as error:
            raise OpsError(f"stopping PostgreSQL failed: {error}") from error
        with suppress(OSError):  # not empty, or gone
            self._cluster.socket_dir.rmdir()

    def healthy(self) -> bool:
        return self._cluster.running()

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, from the file that it keeps."""
        try:
            return int((self._cluster.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None


def database_url(folder: Folder, name: str, driver: str) -> str:
    """The SQLAlchemy URL of one of the databases, over the Unix socket, with its role's password."""
    secret = quote(folder.secret(f"database-{name}"), safe="")
    return f"postgresql+{driver}://{name}:{secret}@/{name}?host={quote(str(socket_folder(folder.database)), safe='/')}"


def _ensure_role(superuser: Any, name: str, password: str) -> None:
    from psycopg import sql

    exists = superuser.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
    verb = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}" if exists else "CREATE ROLE {} LOGIN PASSWORD {}")
    superuser.execute(verb.format(sql.Identifier(name), sql.Literal(password)))


def _ensure_database(superuser: Any, name: str) -> None:
    from psycopg import sql

    if not superuser.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
        superuser.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(name)))
