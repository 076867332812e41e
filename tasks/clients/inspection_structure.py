"""Whether a database's structure is sound: foreign keys that lead somewhere, heaps and B-trees that ``amcheck`` reads.

Safety property: what ``amcheck`` says against a relation is an answer; that it could not be asked is an error.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.backup_models import Corruption
from tasks.clients import deadlines
from tasks.clients import inspection_sql as sql
from tasks.clients.inspection_rows import Relation
from tasks.clients.statements import Statements, escaped
from tasks.errors import NotAllowed

MOST_CORRUPTIONS = 5


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key and the statement that counts the rows that break it."""

    name: str
    validated: bool
    statement: str


class Structure(Statements):
    """The part of a session that tells whether a database is sound."""

    def foreign_keys(self) -> list[ForeignKey]:
        """Every foreign key."""
        return [
            ForeignKey(
                row.name,
                row.validated,
                sql.ORPHANS.format(
                    child=escaped(row.child), parent=escaped(row.parent), given=escaped(row.given),
                    matches=escaped(row.matches),
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

        from tasks.clients.database_errors import translate

        statement = sql.CHECK_INDEX if relation.is_index else sql.CHECK_HEAP
        made = text(statement.format(schema=schema, most=MOST_CORRUPTIONS))
        try:
            rows = self._connection.execute(made, {"oid": relation.oid}).all()
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None) or ""
            if not state.startswith("XX"):
                raise translate(error, f"checking {relation.name}", self._where, deadlines.WHOLE_TABLE) from error
            return Corruption(relation=relation.name, said=" ".join(str(error.orig).split())[:300])
        said = "; ".join(str(row[0]) for row in rows if row[0])
        return Corruption(relation=relation.name, said=said[:300]) if said else None
