"""What a database holds: its tables' rows as counts and checksums, its heartbeat, the objects that rows refer to.

Safety property: counting and hashing is done by the server, so memory here does not grow with the database; what rows
refer to comes some at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tasks.backup_models import Beat, Chunk, Reference, TableContent
from tasks.clients import deadlines
from tasks.clients import inspection_sql as sql
from tasks.clients.statements import Statements, escaped
from tasks.errors import BadInput
from tasks.estate.drills import ObjectReferences, TableRule

#: Into how many ranges a growing table's key is divided.
PARTS = 32
#: Rows fetched at once where rows are the answer.
BATCH = 500


@dataclass(frozen=True)
class Relation:
    """A table or an index: its id, its name for people and for statements, and its size.

    ``root`` is the partitioned table that it is a part of, empty where it is none.
    """

    oid: int
    name: str
    quoted: str
    bytes: int
    is_index: bool = False
    root: str = ""


@dataclass(frozen=True)
class Referred:
    """How many rows a reference's query gives, and how many of them name an object."""

    rows: int
    named: int


class Rows(Statements):
    """The part of a session that tells what a database holds."""

    def tables(self) -> list[Relation]:
        """The tables that hold rows, largest first; of a partitioned one its partitions."""
        rows = self._rows("listing the tables", sql.TABLES)
        return [Relation(row.oid, row.name, escaped(row.quoted), row.bytes, root=row.root) for row in rows]

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
            table=table.name, root=table.root, rows=rows, checksum=checksum, compare=rule.compare, at=now,
            tolerance_percent=rule.tolerance_percent,
        )  # fmt: skip

    def _growing(self, table: Relation, rule: TableRule, low: str, high: str, now: datetime) -> TableContent:
        key, what = self._key(table, rule.key or ""), f"reading the rows of {table.name}"
        if not high:
            low, high = self._one(f"reading the keys of {table.name}", sql.RANGE.format(key=key, table=table.quoted))
        rows = self._rows(what, sql.CHUNKS.format(key=key, table=table.quoted, parts=PARTS), low=low, high=high)
        chunks = tuple(Chunk(number=row[0], rows=row[1], checksum=row[2]) for row in rows)
        return TableContent(
            table=table.name, root=table.root, compare="grows", key=rule.key or "", at=now, low=low or "",
            high=high or "", rows=sum(chunk.rows for chunk in chunks), chunks=chunks,
        )  # fmt: skip

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

    def referred(self, source: ObjectReferences) -> Referred:
        """How many references there are in all."""
        counted = self._one(f"counting the objects of {source.name}", sql.REFERRED.format(query=source.query))
        return Referred(rows=counted[0], named=counted[1])

    def references(self, source: ObjectReferences, share: int, shares: int) -> Iterator[list[Reference]]:
        """The references of one share, some at a time. A cursor needs a transaction: a session with a snapshot."""
        from sqlalchemy import text

        from tasks.clients.database_errors import translated

        statement = text(sql.REFERENCES.format(query=source.query, shares=int(shares)))
        with translated(f"reading the objects of {source.name}", self._where, deadlines.WHOLE_TABLE):
            options = self._connection.execution_options(stream_results=True, yield_per=BATCH)
            for part in options.execute(statement, {"share": share}).partitions():
                yield [_reference(row) for row in part]

    def references_named(self, source: ObjectReferences, names: list[str]) -> list[Reference]:
        """What the rows say of some objects."""
        statement = sql.REFERENCES_NAMED.format(query=source.query)
        return [_reference(row) for row in self._rows(f"reading the objects of {source.name}", statement, names=names)]


def _reference(row: Any) -> Reference:
    return Reference(name=row[0], size=row[1], checksum=row[2])
