"""How a session of an inspection asks: one statement, and our error where it fails.

Safety property: a statement that ran into its time limit is a ``TimedOut``, which no policy retries: the next attempt
would take as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks.clients import deadlines

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Statements:
    """A session and its statements. Not to be used by two threads at once."""

    def __init__(self, connection: Connection, where: str) -> None:
        self._connection, self._where = connection, where

    def _one(self, what: str, statement: str, **parameters: Any) -> Any:
        return self._rows(what, statement, **parameters)[0]

    def _rows(self, what: str, statement: str, **parameters: Any) -> list[Any]:
        from sqlalchemy import text

        from tasks.clients.database_errors import translated

        with translated(what, self._where, deadlines.WHOLE_TABLE):
            return list(self._connection.execute(text(statement), parameters))

    def _execute(self, what: str, statement: str) -> None:
        from sqlalchemy import text

        from tasks.clients.database_errors import translated

        with translated(what, self._where, deadlines.WHOLE_TABLE):
            self._connection.execute(text(statement))


def escaped(name: str) -> str:
    """An identifier as a statement's text takes it: a colon in a name is no parameter."""
    return name.replace(":", r"\:")
