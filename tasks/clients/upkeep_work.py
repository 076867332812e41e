"""Opens the sessions that care for a database.

Safety property: no session of ours outlives its process (``client_connection_check_interval``), and none sits in a
transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import SecretStr

from tasks.clients import deadlines
from tasks.clients.upkeep import AS_LOGIN
from tasks.clients.upkeep_watch import Watch
from tasks.clients.upkeep_worker import APPLICATION, MEASURING_WAITS, Worker

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: What the server looks at while it works: a process that is gone must not leave a VACUUM behind.
SESSION = {
    **AS_LOGIN, "client_connection_check_interval": "1000", "idle_in_transaction_session_timeout": "60000",
    "default_transaction_read_only": "off", "lock_timeout": str(int(MEASURING_WAITS.total_seconds() * 1000)),
}  # fmt: skip


#: Limits that somebody may have set for the application's sessions: a VACUUM takes longer, and a worker waits for its
#: turn. By name, since the first is of PostgreSQL 17.
UNLIMITED = """
SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('transaction_timeout', 'idle_session_timeout')
"""


class Workshop:
    """Opens the sessions that work on one database. ``statistics_schema`` is that of pg_stat_statements, if any."""

    def __init__(self, url: SecretStr, statistics_schema: str | None) -> None:
        self._url, self._schema = url, statistics_schema

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        """A session that works."""
        with self._connection(APPLICATION) as (connection, where):
            yield Worker(connection, where)

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """The guard's session."""
        with self._connection(f"{APPLICATION} guard") as (connection, where):
            yield Watch(connection, where, self._schema)

    @contextmanager
    def _connection(self, application: str) -> Iterator[tuple[Connection, str]]:
        from tasks.clients import engines
        from tasks.clients.database_errors import translated

        url = engines.parse(self._url, "a database")
        options = {"isolation_level": "AUTOCOMMIT", "no_parameters": True}
        engine = engines.postgres(url, application, deadlines.STATEMENT, SESSION).execution_options(**options)
        with translated("connecting", engines.where(url)):
            connection = engine.connect()
        with connection:
            with translated("lifting the session's limits", engines.where(url)):
                connection.exec_driver_sql(UNLIMITED)
            yield connection, engines.where(url)
