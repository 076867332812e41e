"""How a session asks: one statement, and our error where it fails.

Safety property: a statement that ran into a time limit so generous that the next attempt would take as long is a
``TimedOut``, which no policy retries.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Statements:
    """A session and its statements. Not to be used by two threads at once.

    ``limit``: the session's time limit where another attempt would run into it again; None where it may succeed.
    """

    def __init__(self, connection: Connection, where: str, limit: timedelta | None) -> None:
        self._connection, self._where, self._limit = connection, where, limit

    def _one(self, what: str, statement: str, **parameters: Any) -> Any:
        return self._rows(what, statement, **parameters)[0]

    def _rows(self, what: str, statement: str, **parameters: Any) -> list[Any]:
        from sqlalchemy import text

        from tasks.clients.database_errors import translated

        with translated(what, self._where, self._limit):
            return list(self._connection.execute(text(statement), parameters))

    def _execute(self, what: str, statement: str) -> None:
        from sqlalchemy import text

        from tasks.clients.database_errors import translated

        with translated(what, self._where, self._limit):
            self._connection.execute(text(statement))


def pid_of(connection: Connection) -> int:
    """The process id of a session's server process."""
    driver: Any = connection.connection.driver_connection
    return int(driver.info.backend_pid)


def escaped(name: str) -> str:
    """An identifier as a statement's text takes it: a colon in a name is no parameter."""
    return name.replace(":", r"\:")
