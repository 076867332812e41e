"""Reads what a whole database holds and whether its structure is sound: production for a manifest, a copy for a drill.

Safety property: sessions are read-only, but for the one that installs ``amcheck`` on a copy; memory here does not grow
with the database, because counting, hashing and checking are done by the server.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import SecretStr

from tasks.backup_models import Beat, Catalogue, Chunk, Corruption, Reference, Sequence, TableContent
from tasks.clients import catalogue_sql, deadlines
from tasks.clients import inspection_sql as sql
from tasks.errors import BadInput, NotAllowed
from tasks.estate.drills import ObjectReferences, TableRule

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

Item = TypeVar("Item")
Answer = TypeVar("Answer")

#: Into how many ranges a growing table's key is divided.
PARTS = 32
#: Rows fetched at once where rows are the answer.
BATCH = 500
MOST_CORRUPTIONS = 5


@dataclass(frozen=True)
class Relation:
    """A table or an index: its id, its name for people and for statements, and its size."""

    oid: int
    name: str
    quoted: str
    bytes: int
    is_index: bool = False


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key and the statement that counts the rows that break it."""

    name: str
    validated: bool
    statement: str


class Inspector:
    """One database as one user."""

    def __init__(self, url: SecretStr, application: str = "caretaker-drill") -> None:
        self._url, self._application = url, application

    @contextmanager
    def session(self, *, snapshot: bool = False, writes: bool = False) -> Iterator[Session]:
        """A session; with ``snapshot`` all of it sees one moment. Read-only unless it ``writes``."""
        from tasks.clients.database_errors import translated

        level = "REPEATABLE READ" if snapshot else "AUTOCOMMIT"
        engine = self._engine(writes).execution_options(isolation_level=level)
        with translated("connecting", self.where):
            connection = engine.connect()
        with connection:
            yield Session(connection, self.where)

    def each(self, items: Iterable[Item], work: Callable[[Session, Item], Answer], jobs: int) -> list[Answer]:
        """Do some work on every item, in ``jobs`` sessions at once; each takes the next item when it is free.

        The first error ends the work, once what is under way has ended.
        """
        queue, turn, failed = iter(items), threading.Lock(), threading.Event()

        def take() -> list[Answer]:
            answers = []
            with self.session() as session:
                while not failed.is_set():
                    with turn:
                        item = next(queue, None)
                    if item is None:
                        break
                    try:
                        answers.append(work(session, item))
                    except BaseException:
                        failed.set()
                        raise
            return answers

        with ThreadPoolExecutor(jobs, "inspect") as pool:
            workers = [pool.submit(take) for _ in range(jobs)]
        return [answer for worker in workers for answer in worker.result()]

    @cached_property
    def where(self) -> str:
        """``user@database``, for messages."""
        from tasks.clients import engines

        return engines.where(engines.parse(self._url, "a database"))

    def _engine(self, writes: bool) -> Engine:
        from tasks.clients import engines

        read_only = {} if writes else {"default_transaction_read_only": "on"}
        return engines.postgres(
            engines.parse(self._url, "a database"),
            self._application,
            deadlines.WHOLE_TABLE,
            {**sql.SESSION, **read_only},
        )


class Session:
    """What one session can tell. Not to be used by two threads at once."""

    def __init__(self, connection: Connection, where: str) -> None:
        self._connection, self._where = connection, where

    # --- what it is made of ------------------------------------------------------------------------------------------

    def catalogue(self) -> Catalogue:
        """Everything that the database is made of, by kind and name."""
        found: Catalogue = {
            kind: {name: definition for statement in statements for name, definition in self._rows(kind, statement)}
            for kind, statements in catalogue_sql.STATEMENTS.items()
        }
        head = self.schema_revision()
        return {"schema revision": {} if head is None else {"alembic": head}, **found}

    def schema_revision(self) -> str | None:
        """Alembic's head, or several with commas; None where the database knows no alembic."""
        if not self._one("looking for alembic_version", catalogue_sql.HAS_ALEMBIC)[0]:
            return None
        return str(self._one("reading alembic_version", catalogue_sql.ALEMBIC)[0] or "")

    def size_bytes(self) -> int:
        """The size of the database on its disk."""
        return int(self._one("reading the size", sql.SIZE)[0])

    def sequences(self) -> list[Sequence]:
        """Every sequence that fills a column, and whether it is ahead of it."""
        found = []
        for row in self._rows("listing the sequences", sql.SEQUENCES):
            statement = sql.SEQUENCE_STATE.format(
                step=int(row.step), sequence=_quoted(row.quoted), column=_quoted(row.attribute),
                table=_quoted(row.owner),
            )  # fmt: skip
            state = self._one(f"reading sequence {row.name}", statement)
            found.append(Sequence(name=row.name, column=row.column_name, next=state[0], greatest=state[1]))
        return found

    def invalid_indexes(self) -> list[str]:
        """Indexes that no query uses: left by a CREATE INDEX CONCURRENTLY that broke off."""
        return [str(row[0]) for row in self._rows("listing the invalid indexes", sql.INVALID_INDEXES)]

    # --- what it holds -----------------------------------------------------------------------------------------------

    def tables(self) -> list[Relation]:
        """The tables that hold rows, largest first."""
        rows = self._rows("listing the tables", sql.TABLES)
        return [Relation(row.oid, row.name, _quoted(row.quoted), row.bytes) for row in rows]

    def now(self) -> datetime:
        """The server's clock, which also stamps its backups. In a snapshot's session, the first statement fixes it."""
        return self._one("reading the clock", "SELECT clock_timestamp()")[0].astimezone(UTC)  # type: ignore[no-any-return]

    def may_read(self, table: Relation) -> bool:
        """Whether the user may read a table."""
        return bool(self._one(f"asking for the right to read {table.name}", sql.MAY_READ, oid=table.oid)[0])

    def content(self, table: Relation, rule: TableRule, low: str = "", high: str = "") -> TableContent:
        """Count and hash the rows of a table; of one that grows, by ranges of its key up to ``high``.

        Without ``low`` and ``high`` they are the least and the greatest key that there is.
        """
        what, now = f"reading the rows of {table.name}", datetime.now(UTC)
        if rule.compare == "grows":
            return self._growing(table, rule, low, high, now)
        rows, checksum = self._one(what, sql.CONTENT.format(table=table.quoted))
        return TableContent(
            table=table.name, rows=rows, checksum=checksum, compare=rule.compare, at=now,
            tolerance_percent=rule.tolerance_percent,
        )  # fmt: skip

    def _growing(self, table: Relation, rule: TableRule, low: str, high: str, now: datetime) -> TableContent:
        key = self._key(table, rule.key or "")
        if not high:
            low, high = self._one(f"reading the keys of {table.name}", sql.RANGE.format(key=key, table=table.quoted))
        content = TableContent(table=table.name, compare="grows", key=rule.key or "", at=now)
        if high is None:
            return content
        statement = sql.CHUNKS.format(key=key, table=table.quoted, parts=PARTS)
        rows = self._rows(f"reading the rows of {table.name}", statement, low=low, high=high)
        chunks = tuple(Chunk(number=row[0], rows=row[1], checksum=row[2]) for row in rows)
        return content.model_copy(
            update={"rows": sum(chunk.rows for chunk in chunks), "low": low, "high": high, "chunks": chunks}
        )

    def _key(self, table: Relation, key: str) -> str:
        """The key of a growing table as a number. Raises BadInput for a column that is neither number nor time."""
        found = self._rows(f"reading the key of {table.name}", sql.KEY_TYPE, oid=table.oid, key=key)
        category = found[0][0] if found else ""
        if category == "N":
            return f't."{key}"::numeric'
        if category == "D":
            return f'extract(epoch FROM t."{key}")::numeric'
        raise BadInput(
            f"comparing {table.name} by its key {key} failed: the column "
            f"{'is neither a number nor a time' if category else 'does not exist'}; name another 'key' in the estate"
        )

    def heartbeat(self) -> Beat | None:
        """The newest heartbeat; None where none was ever written."""
        if not self._one("looking for the heartbeat", sql.HAS_BEATS)[0]:
            return None
        rows = self._rows("reading the heartbeat", sql.NEWEST_BEAT)
        return Beat(at=rows[0].at.astimezone(UTC), origin=rows[0].origin) if rows else None

    def references(self, source: ObjectReferences, share: int, shares: int) -> Iterator[list[Reference]]:
        """The references of one share, some at a time. A cursor needs a transaction: a session with a snapshot."""
        from sqlalchemy import text

        from tasks.clients.database_errors import translated

        statement = text(sql.REFERENCES.format(query=source.query, shares=int(shares)))
        with translated(f"reading the objects of {source.name}", self._where):
            options = self._connection.execution_options(stream_results=True, yield_per=BATCH)
            for part in options.execute(statement, {"share": share}).partitions():
                yield [_reference(row) for row in part]

    def references_named(self, source: ObjectReferences, names: list[str]) -> list[Reference]:
        """What the rows say of some objects."""
        statement = sql.REFERENCES_NAMED.format(query=source.query)
        return [_reference(row) for row in self._rows(f"reading the objects of {source.name}", statement, names=names)]

    # --- whether it is sound -----------------------------------------------------------------------------------------

    def foreign_keys(self) -> list[ForeignKey]:
        """Every foreign key."""
        return [
            ForeignKey(
                row.name,
                row.validated,
                sql.ORPHANS.format(
                    child=_quoted(row.child), parent=_quoted(row.parent), given=_quoted(row.given),
                    matches=_quoted(row.matches),
                ),
            )
            for row in self._rows("listing the foreign keys", sql.FOREIGN_KEYS)
        ]

    def orphans(self, key: ForeignKey) -> int:
        """How many rows refer to one that is not there."""
        return int(self._one(f"checking {key.name}", key.statement)[0])

    def amcheck_schema(self) -> str:
        """The schema of ``amcheck``, which is installed where it is missing. Raises NotAllowed where it cannot run."""
        found = self._rows("looking for amcheck", sql.AMCHECK)
        if not found:
            self._execute("installing amcheck", sql.MAKE_AMCHECK)
            found = self._rows("looking for amcheck", sql.AMCHECK)
        schema = str(found[0][0])
        if not self._one("asking for the right to run amcheck", sql.MAY_CHECK, schema=schema)[0]:
            raise NotAllowed(
                f"running amcheck on {self._where} failed: the user may not execute verify_heapam and bt_index_check; "
                "grant EXECUTE on them on production, so that a restored copy has it too"
            )
        return schema

    def checked_relations(self) -> list[Relation]:
        """Every heap and B-tree, the largest first."""
        rows = self._rows("listing the relations", sql.CHECKED)
        return [Relation(row.oid, row.name, row.name, row.bytes, row.is_index) for row in rows]

    def check(self, relation: Relation, schema: str) -> Corruption | None:
        """What ``amcheck`` has to say against a relation; None where all is well."""
        from sqlalchemy import text
        from sqlalchemy.exc import DBAPIError

        statement = sql.CHECK_INDEX if relation.is_index else sql.CHECK_HEAP
        made = text(statement.format(schema=schema, most=MOST_CORRUPTIONS))
        try:
            rows = self._connection.execute(made, {"oid": relation.oid}).all()
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None) or ""
            if not state.startswith("XX"):
                raise self._ours(error, f"checking {relation.name}") from error
            return Corruption(relation=relation.name, said=" ".join(str(error.orig).split())[:300])
        said = "; ".join(str(row[0]) for row in rows if row[0])
        return Corruption(relation=relation.name, said=said[:300]) if said else None

    # -----------------------------------------------------------------------------------------------------------------

    def _ours(self, error: Any, what: str) -> Exception:
        from tasks.clients.database_errors import translate

        return translate(error, what, self._where)

    def _one(self, what: str, statement: str, **parameters: Any) -> Any:
        return self._rows(what, statement, **parameters)[0]

    def _rows(self, what: str, statement: str, **parameters: Any) -> list[Any]:
        from sqlalchemy import text

        from tasks.clients.database_errors import translated

        with translated(what, self._where):
            return list(self._connection.execute(text(statement), parameters))

    def _execute(self, what: str, statement: str) -> None:
        from sqlalchemy import text

        from tasks.clients.database_errors import translated

        with translated(what, self._where):
            self._connection.execute(text(statement))


def _quoted(name: str) -> str:
    """An identifier as a statement's text takes it: a colon in a name is no parameter."""
    return name.replace(":", r"\:")


def _reference(row: Any) -> Reference:
    return Reference(name=row[0], size=row[1], checksum=row[2])
