"""A service's own PostgreSQL database, reached by the connection string that the service reads.

Safety property: this client writes nothing; its one lock is an advisory lock, which no statement of the application
ever waits for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from tasks.errors import Refused
from tasks.models import Blocker

if TYPE_CHECKING:
    from sqlalchemy import Engine

QUERY_SHOWN = 60

#: Needs an ACCESS SHARE lock on catalogues only. A session without the role pg_read_all_stats sees NULL in the columns
#: of other roles' sessions, hence the coalesce.
_BLOCKERS = """
SELECT a.pid, coalesce(a.usename, '') AS usename, coalesce(a.application_name, '') AS application_name,
       coalesce(a.state, 'unknown') AS state, coalesce(a.xact_start, now()) AS since, coalesce(a.query, '') AS query
  FROM pg_stat_activity a
 WHERE a.datname = current_database() AND a.pid <> pg_backend_pid()
   AND EXISTS (SELECT FROM pg_locks l
                WHERE l.pid = a.pid AND l.granted AND l.locktype = 'relation' AND l.relation >= 16384
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND (CAST(:relation AS text) IS NULL OR l.relation = to_regclass(:relation)))
 ORDER BY since, a.pid
"""
_REVISIONS = "SELECT version_num FROM alembic_version"


class Postgres:
    """One database as one user."""

    def __init__(self, url: SecretStr, application: str = "caretaker") -> None:
        self._url, self._application = url, application

    def ping(self) -> None:
        """Prove that the database answers. Raises NotAllowed, Missing or TransientError, saying why it does not."""
        self._rows("asking whether it answers", "SELECT 1")

    def alembic_revision(self) -> str | None:
        """The revision at which alembic says that the schema stands; None where no migration ever ran.

        Raises Refused when alembic names several: such a history has branches, and there is no single way on.
        """
        if self._rows("looking for alembic_version", "SELECT to_regclass('alembic_version')")[0][0] is None:
            return None
        found = sorted(str(row[0]) for row in self._rows("reading alembic_version", _REVISIONS))
        if len(found) > 1:
            raise Refused(
                f"reading the schema's revision of {self.where} failed: alembic_version holds {', '.join(found)}; "
                "merge the branches with 'alembic merge heads' and deploy that first"
            )
        return found[0] if found else None

    def blockers(self, relation: str | None = None) -> list[Blocker]:
        """The other sessions that hold a lock on a table (of one table where it is named), oldest first.

        These are what a migration that gave up on its lock was waiting for, an idle transaction among them.
        """
        rows = self._rows("looking for sessions that hold locks", _BLOCKERS, relation=relation)
        return [
            Blocker(
                pid=row.pid, user=row.usename, application=row.application_name, state=row.state,
                since=_utc(row.since), query=masked(row.query),
            )
            for row in rows
        ]

    def advisory_lock(self, key: str) -> AbstractContextManager[None]:
        """Hold an advisory lock while inside. Raises Conflict, naming the holder, when another session has it."""
        from tasks.clients.advisory_lock import held

        return held(self._engine, key, f"taking the lock {key}", self.where)

    def table_counts(self, tables: Iterable[str]) -> dict[str, int]:
        """Count the rows of tables, named ``table`` or ``schema.table``. Raises Missing when one does not exist."""
        return {name: self._count(name) for name in tables}

    def _count(self, table: str) -> int:
        statement = f"SELECT count(*) FROM {_quoted(table)}"  # noqa: S608  an identifier, quoted
        return int(self._rows(f"counting the rows of {table}", statement)[0][0])

    @cached_property
    def where(self) -> str:
        """``user@database``, for messages."""
        from tasks.clients import engines

        return engines.where(engines.parse(self._url, "a database"))

    @cached_property
    def _engine(self) -> Engine:
        from tasks.clients import engines

        return engines.postgres(engines.parse(self._url, "a database"), self._application)

    def _rows(self, what: str, statement: str, **parameters: Any) -> list[Any]:
        from sqlalchemy import text

        from tasks.clients.database_errors import translated

        with translated(what, self.where), self._engine.connect() as connection:
            return list(connection.execute(text(statement), parameters))


#: What a statement is made of that hides or holds a literal, as PostgreSQL's lexer reads it, from left to right: a
#: comment may hold a quote, a quoted name too, and E'…' escapes one. What does not end, ends with the text.
#: https://www.postgresql.org/docs/18/sql-syntax-lexical.html
_LEXEMES = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\* )
    | (?P<name> (?:\bU&)? "(?:[^"]|"")*(?:"|\Z) )
    | (?P<literal> \bE'(?:[^'\\]|''|\\.)*(?:'|\Z) | (?:\b(?:U&|B|X|N))?'(?:[^']|'')*(?:'|\Z)
                 | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z) | \b\d+(?:\.\d+)?\b )
    """, re.VERBOSE | re.DOTALL | re.IGNORECASE,
)  # fmt: skip
_COMMENT_ENDS = re.compile(r"/\*|\*/")


def masked(query: str, shown: int = QUERY_SHOWN) -> str:
    """The beginning of a statement on one line, with every literal masked: literals are data. Without comments."""
    parts, place = [], 0
    while (found := _LEXEMES.search(query, place)) is not None:
        parts.append(query[place : found.start()])
        parts.append({"comment": " ", "name": found.group()}.get(found.lastgroup or "", "?"))
        place = found.end() if found.group() != "/*" else _after_comment(query, found.end())
    return " ".join("".join((*parts, query[place:])).split())[:shown]


def _after_comment(query: str, place: int) -> int:
    """Where a block comment ends, which may hold others."""
    depth = 1
    while depth:
        found = _COMMENT_ENDS.search(query, place)
        if found is None:
            return len(query)
        depth, place = depth + (1 if found.group() == "/*" else -1), found.end()
    return place


def _quoted(table: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)
