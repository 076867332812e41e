"""What a database is made of: its catalogue, its size, its sequences, its indexes. Reads only."""

from __future__ import annotations

from tasks.backup_models import Catalogue, Sequence
from tasks.clients import catalogue_sql
from tasks.clients import inspection_sql as sql
from tasks.clients.statements import Statements, escaped


class Makeup(Statements):
    """The part of a session that tells what a database is made of."""

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
                step=int(row.step), sequence=escaped(row.quoted), column=escaped(row.attribute),
                table=escaped(row.owner),
            )  # fmt: skip
            state = self._one(f"reading sequence {row.name}", statement)
            found.append(Sequence(name=row.name, column=row.column_name, next=state[0], greatest=state[1]))
        return found

    def invalid_indexes(self) -> list[str]:
        """Indexes that no query uses: left by a CREATE INDEX CONCURRENTLY that broke off."""
        return [str(row[0]) for row in self._rows("listing the invalid indexes", sql.INVALID_INDEXES)]
