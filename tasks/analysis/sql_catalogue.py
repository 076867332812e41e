"""What is known of a schema from the migrations themselves: what they just made, and which names are unique.

Safety property: what is not known stays unknown; nothing is guessed from a name but what PostgreSQL itself names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NewColumn:
    """A column that the migrations added: whether a row must have a value in it, and whether it gets one by itself."""

    required: bool
    filled: bool


@dataclass
class Catalogue:
    """Names, as the statements are read one after the other."""

    new_tables: set[str] = field(default_factory=set)
    new_columns: dict[tuple[str, str], NewColumn] = field(default_factory=dict)
    index_is_unique: dict[str, bool] = field(default_factory=dict)
    constraint_kinds: dict[str, str] = field(default_factory=dict)

    def settle(self) -> None:
        """What was made until now counts as old from here on."""
        self.new_tables.clear()
        self.new_columns.clear()

    def is_new(self, table: str, column: str = "") -> bool:
        """Whether no running code knows this table, or this column of it."""
        return table in self.new_tables or (table, column) in self.new_columns

    def stays_null(self, table: str, columns: Iterable[str]) -> bool:
        """Whether code that does not know these columns leaves NULL in one of them, which satisfies any constraint."""
        found = [self.new_columns.get((table, column)) for column in columns]
        return any(new is not None and not new.filled and not new.required for new in found)

    def rename_column(self, table: str, old: str, new: str) -> None:
        """A column that is new keeps being new under its new name."""
        known = self.new_columns.pop((table, old), None)
        if known is not None:
            self.new_columns[table, new] = known

    def rename_table(self, old: str, new: str) -> None:
        """A table that is new, or has new columns, keeps them under its new name."""
        self.new_columns = {
            (new if table == old else table, column): known for (table, column), known in self.new_columns.items()
        }
        if old in self.new_tables:
            self.new_tables = self.new_tables - {old} | {new}

    def add_constraint(self, constraint: Any) -> None:
        """Remember what a named constraint is."""
        if constraint.conname:
            self.constraint_kinds[constraint.conname] = constraint.contype.name

    def constraint_only_refuses(self, name: str) -> bool:
        """Whether the constraint only refuses rows, so that no upsert can rely on it.

        A constraint without a name is named by PostgreSQL: ``TABLE_COLUMN_fkey``, ``TABLE_COLUMN_check``.
        """
        kind = self.constraint_kinds.get(name)
        if kind is None:
            return name.endswith(("_fkey", "_check"))
        return kind in ("CONSTR_FOREIGN", "CONSTR_CHECK", "CONSTR_NOTNULL")
