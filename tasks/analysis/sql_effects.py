"""What the statements of a migration do to code that was written for the schema before it, and to the data.

Statements are read by PostgreSQL's own parser. Safety property: a statement that is not understood is an effect that
says so, never the absence of one.

"Before it" leaves out what the same migrations made: a column that was added a statement ago holds nothing that could
be lost, and no running code knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pglast import ast, enums, parse_sql
from pglast.parser import ParseError, split
from pglast.visitors import Visitor

from tasks.analysis.sql_catalogue import Catalogue, NewColumn

#: Words of code that lets PostgreSQL find a constraint by its columns, or by its name.
_UPSERT = ("conflict", "on_conflict_do_update", "on_conflict_do_nothing", "on_conflict")
_SERIAL = {"serial", "bigserial", "smallserial", "serial4", "serial8", "serial2"}
#: ALTER TYPE converts by assignment casts, which refuse what does not fit, but round and cut numbers and times.
_LOSSLESS_TYPES = {"text", "varchar"}
_HARMLESS_FUNCTIONS = {"set_config", "setval", "pg_advisory_xact_lock", "now", "count", "max", "min", "coalesce"}
#: Statements that change neither what running code sees nor what is stored.
_HARMLESS = (
    "TransactionStmt", "VariableSetStmt", "VariableShowStmt", "LockStmt", "CommentStmt", "VacuumStmt", "GrantStmt",
    "CreateExtensionStmt", "CreateSeqStmt", "CreateEnumStmt", "CompositeTypeStmt", "CreateDomainStmt",
    "CreateSchemaStmt", "CreateStatsStmt", "InsertStmt", "ReindexStmt", "ConstraintsSetStmt", "ViewStmt",
    "RefreshMatViewStmt", "AlterDefaultPrivilegesStmt",
)
_HARMLESS_COMMANDS = (
    "AT_DropNotNull", "AT_ValidateConstraint", "AT_SetStatistics", "AT_SetStorage", "AT_SetCompression",
    "AT_SetRelOptions", "AT_ResetRelOptions", "AT_ReplicaIdentity", "AT_ClusterOn", "AT_DropCluster", "AT_SetLogged",
    "AT_SetUnLogged", "AT_SetOptions", "AT_ResetOptions", "AT_SetTableSpace", "AT_DisableRowSecurity",
    "AT_NoForceRowSecurity", "AT_AttachPartition",
)


@dataclass(frozen=True)
class Effect:
    """One thing that a migration does.

    ``breaks`` says what stops working in code that uses one of the names in ``mentions``. ``loses`` says which data is
    gone. ``unknown`` says why neither can be told.
    """

    subject: str
    breaks: str = ""
    mentions: tuple[str, ...] = ()
    loses: str = ""
    unknown: str = ""


class EffectReader:
    """Reads the statements of consecutive migrations, remembering what they made."""

    def __init__(self) -> None:
        self._known = Catalogue()
        self._rebuilt: frozenset[str] = frozenset()

    def learn(self, sql: str) -> None:
        """Read a script that was applied before: its names are known, and nothing of it is new."""
        self.read(sql)
        self._known.settle()

    def read(self, sql: str) -> tuple[Effect, ...]:
        """The effects of a script, in order."""
        try:
            statements = [statement for text in split(sql, with_parser=False) for statement in _parsed(text)]
        except ParseError as error:
            return (Effect("its SQL", unknown=f"it cannot be parsed: {error}"),)
        self._rebuilt = frozenset(str(node.idxname) for node, _ in statements if isinstance(node, ast.IndexStmt))
        return tuple(effect for node, text in statements for effect in self._read(node, text))

    def _read(self, node: Any, text: str) -> Iterator[Effect]:
        if isinstance(node, ParseError):
            yield Effect(_start(text), unknown=f"it cannot be parsed: {node}")
            return
        yield from self._common_table_expressions(node, text)
        kind = type(node).__name__
        reader = _READERS.get(kind)
        if reader is not None:
            yield from reader(self, node, text)
        elif kind not in _HARMLESS or (kind == "GrantStmt" and not node.is_grant):
            yield Effect(_start(text), unknown=f"{kind} cannot be judged")

    def _common_table_expressions(self, node: Any, text: str) -> Iterator[Effect]:
        clause = getattr(node, "withClause", None)
        for expression in clause.ctes if clause else ():
            yield from self._read(expression.ctequery, text)

    # --- tables ------------------------------------------------------------------------------------------------------

    def _create_table(self, node: Any, text: str) -> Iterator[Effect]:
        self._known.new_tables.add(node.relation.relname)
        for element in node.tableElts or ():
            for constraint in (element,) if isinstance(element, ast.Constraint) else element.constraints or ():
                self._known.add_constraint(constraint)
        yield from ()

    def _create_table_as(self, node: Any, text: str) -> Iterator[Effect]:
        self._known.new_tables.add(node.into.rel.relname)
        yield from ()

    def _alter_table(self, node: Any, text: str) -> Iterator[Effect]:
        table = node.relation.relname
        if node.objtype == enums.ObjectType.OBJECT_INDEX or self._known.is_new(table):
            return
        if node.objtype != enums.ObjectType.OBJECT_TABLE:
            yield Effect(table, unknown=f"{_start(text)}: only tables are judged")
            return
        for command in node.cmds:
            yield from self._command(table, command)

    def _command(self, table: str, command: Any) -> Iterator[Effect]:
        name = enums.AlterTableType(command.subtype).name
        reader = _COMMANDS.get(name)
        if reader is not None:
            yield from reader(self, table, command)
        elif name not in _HARMLESS_COMMANDS:
            yield Effect(table, unknown=f"ALTER TABLE {name.removeprefix('AT_')} cannot be judged")

    def _add_column(self, table: str, command: Any) -> Iterator[Effect]:
        column = command.def_
        kinds = {constraint.contype.name for constraint in column.constraints or ()}
        filled = bool(kinds & {"CONSTR_DEFAULT", "CONSTR_IDENTITY", "CONSTR_GENERATED"}) or _type(column) in _SERIAL
        new = NewColumn(required=bool(kinds & {"CONSTR_NOTNULL", "CONSTR_PRIMARY"}), filled=filled)
        yield from self._changed(table, column.colname, new)
        if "CONSTR_UNIQUE" in kinds and "CONSTR_DEFAULT" in kinds:
            yield Effect(f"{table}.{column.colname}", "a second row with the default is refused", (table,))

    def _changed(self, table: str, column: str, new: NewColumn) -> Iterator[Effect]:
        """A column that the old code does not know must be able to do without it."""
        self._known.new_columns[table, column] = new
        if new.required and not new.filled:
            yield Effect(f"{table}.{column}", "rows written without this new column are refused", (table,))

    def _drop_column(self, table: str, command: Any) -> Iterator[Effect]:
        if self._known.new_columns.pop((table, command.name), None) is None:
            subject = f"{table}.{command.name}"
            yield Effect(subject, "the column is dropped", (command.name,), f"column {subject} and all in it")

    def _set_not_null(self, table: str, command: Any) -> Iterator[Effect]:
        new = self._known.new_columns.get((table, command.name))
        if new is not None:
            yield from self._changed(table, command.name, replace(new, required=True))
        else:
            yield Effect(f"{table}.{command.name}", "rows with NULL in this column are refused", (table,))

    def _column_default(self, table: str, command: Any) -> Iterator[Effect]:
        new = self._known.new_columns.get((table, command.name))
        if new is not None:
            yield from self._changed(table, command.name, replace(new, filled=command.def_ is not None))
        elif command.def_ is None:
            yield from self._lost_default(table, command)

    def _lost_default(self, table: str, command: Any) -> Iterator[Effect]:
        yield Effect(f"{table}.{command.name}", "rows written without this column get no value any more", (table,))

    def _always_generated(self, table: str, command: Any) -> Iterator[Effect]:
        if not self._known.is_new(table, command.name):
            yield Effect(f"{table}.{command.name}", "a value written to this generated column may be refused", (table,))

    def _alter_type(self, table: str, command: Any) -> Iterator[Effect]:
        if self._known.is_new(table, command.name):
            return
        subject, new_type = f"{table}.{command.name}", _type(command.def_)
        exact = new_type in _LOSSLESS_TYPES and command.def_.raw_default is None
        loses = "" if exact else f"what of {subject} does not fit into {new_type}"
        yield Effect(subject, f"the column's type becomes {new_type}", (command.name,), loses)

    def _add_constraint(self, table: str, command: Any) -> Iterator[Effect]:
        constraint = command.def_
        self._known.add_constraint(constraint)
        columns = [key.sval for key in (constraint.keys or constraint.fk_attrs or ())]
        if columns and self._known.stays_null(table, columns):
            return
        kind = constraint.contype.name.removeprefix("CONSTR_").lower()
        subject = f"{table}.{constraint.conname}" if constraint.conname else table
        yield Effect(subject, f"rows that violate the new {kind} constraint are refused", (table,))

    def _drop_constraint(self, table: str, command: Any) -> Iterator[Effect]:
        if not self._known.constraint_only_refuses(command.name):
            subject = f"{table}.{command.name}"
            yield Effect(subject, "an upsert that relies on the dropped constraint fails", (command.name, *_UPSERT))

    def _row_security(self, table: str, command: Any) -> Iterator[Effect]:
        yield Effect(table, "row security hides rows from code that saw them", (table,))

    def _detach_partition(self, table: str, command: Any) -> Iterator[Effect]:
        yield Effect(table, "the rows of the detached partition are no longer in the table", (table,))

    # --- other objects -----------------------------------------------------------------------------------------------

    def _drop(self, node: Any, text: str) -> Iterator[Effect]:
        kind = enums.ObjectType(node.removeType).name.removeprefix("OBJECT_").lower()
        for item in node.objects:
            name = _last_name(item)
            if kind == "index":
                yield from self._drop_index(name)
            elif kind == "table":
                yield from self._drop_table(name)
            elif kind in ("view", "matview", "sequence", "type", "domain", "function", "procedure"):
                yield Effect(name, f"the {kind} is dropped", (name,))
            else:
                yield Effect(name, unknown=f"DROP {kind.upper()} cannot be judged")
            if node.behavior == enums.DropBehavior.DROP_CASCADE:
                yield Effect(name, unknown="CASCADE drops whatever depends on it")

    def _drop_index(self, name: str) -> Iterator[Effect]:
        """An upsert finds its rows by a unique index. One that the same script builds anew is no loss."""
        if name not in self._rebuilt and self._known.index_is_unique.get(name, True):
            yield Effect(name, "an upsert that relies on the dropped index, if it was unique, fails", _UPSERT)

    def _drop_table(self, name: str) -> Iterator[Effect]:
        if self._known.is_new(name):
            self._known.new_tables.discard(name)
            return
        yield Effect(name, "the table is dropped", (name,), f"table {name} and all its rows")

    def _rename(self, node: Any, text: str) -> Iterator[Effect]:
        kind = enums.ObjectType(node.renameType).name.removeprefix("OBJECT_").lower()
        table = node.relation.relname if node.relation else ""
        if kind == "column":
            yield from self._rename_column(table, node.subname, node.newname)
        elif kind in ("table", "view", "matview", "sequence"):
            yield from self._rename_table(kind, table, node.newname)
        elif kind == "tabconstraint":
            yield Effect(f"{table}.{node.subname}", f"the constraint becomes {node.newname}", (node.subname,))
        elif kind != "index":
            yield Effect(_start(text), unknown=f"renaming a {kind} cannot be judged")

    def _rename_column(self, table: str, old: str, new: str) -> Iterator[Effect]:
        if not self._known.is_new(table) and not self._known.is_new(table, old):
            yield Effect(f"{table}.{old}", f"the column is called {new} from now on", (old,))
        self._known.rename_column(table, old, new)

    def _rename_table(self, kind: str, old: str, new: str) -> Iterator[Effect]:
        if not self._known.is_new(old):
            yield Effect(old, f"the {kind} is called {new} from now on", (old,))
        self._known.rename_table(old, new)

    def _index(self, node: Any, text: str) -> Iterator[Effect]:
        table = node.relation.relname
        self._known.index_is_unique[node.idxname] = bool(node.unique)
        columns = [item.name for item in node.indexParams if item.name]
        if node.unique and not self._known.is_new(table) and not self._known.stays_null(table, columns):
            yield Effect(f"{table}.{node.idxname or 'index'}", "rows that are not unique are refused", (table,))

    def _alter_enum(self, node: Any, text: str) -> Iterator[Effect]:
        name = node.typeName[-1].sval
        if node.oldVal:
            yield Effect(name, f"the value {node.oldVal} is called {node.newVal} from now on", (node.oldVal, name))
        else:
            yield Effect(name, f"code that reads the new value {node.newVal} may not know it", (name,))

    def _move(self, node: Any, text: str) -> Iterator[Effect]:
        name = node.relation.relname if node.relation else _start(text)
        yield Effect(name, f"it moves to schema {node.newschema}", (name,))

    # --- rows --------------------------------------------------------------------------------------------------------

    def _update(self, node: Any, text: str) -> Iterator[Effect]:
        table = node.relation.relname
        for target in node.targetList:
            column = f"{table}.{target.name}"
            if not self._known.is_new(table) and not self._known.is_new(table, target.name):
                yield Effect(column, loses=f"what stood in {column}: UPDATE overwrites it")

    def _delete(self, node: Any, text: str) -> Iterator[Effect]:
        if not self._known.is_new(node.relation.relname):
            yield Effect(node.relation.relname, loses=f"rows of {node.relation.relname}: DELETE removes them")

    def _truncate(self, node: Any, text: str) -> Iterator[Effect]:
        for relation in node.relations:
            if not self._known.is_new(relation.relname):
                yield Effect(relation.relname, loses=f"all rows of {relation.relname}: TRUNCATE removes them")

    def _select(self, node: Any, text: str) -> Iterator[Effect]:
        calls = _FunctionNames()
        calls(node)
        strange = sorted(calls.names - _HARMLESS_FUNCTIONS)
        if strange:
            yield Effect(_start(text), unknown=f"it calls {', '.join(strange)}, which may do anything")

    def _do(self, node: Any, text: str) -> Iterator[Effect]:
        yield Effect(_start(text), unknown="a DO block may do anything")


class _FunctionNames(Visitor):
    """Collects the names of the functions that a statement calls."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit_FuncCall(self, ancestors: Any, node: Any) -> None:
        self.names.add(node.funcname[-1].sval)


_READERS: dict[str, Callable[[EffectReader, Any, str], Iterator[Effect]]] = {
    "CreateStmt": EffectReader._create_table,
    "CreateTableAsStmt": EffectReader._create_table_as,
    "AlterTableStmt": EffectReader._alter_table,
    "DropStmt": EffectReader._drop,
    "RenameStmt": EffectReader._rename,
    "IndexStmt": EffectReader._index,
    "AlterEnumStmt": EffectReader._alter_enum,
    "AlterObjectSchemaStmt": EffectReader._move,
    "UpdateStmt": EffectReader._update,
    "DeleteStmt": EffectReader._delete,
    "TruncateStmt": EffectReader._truncate,
    "SelectStmt": EffectReader._select,
    "DoStmt": EffectReader._do,
}
_COMMANDS: dict[str, Callable[[EffectReader, str, Any], Iterator[Effect]]] = {
    "AT_AddColumn": EffectReader._add_column,
    "AT_DropColumn": EffectReader._drop_column,
    "AT_SetNotNull": EffectReader._set_not_null,
    "AT_ColumnDefault": EffectReader._column_default,
    "AT_DropIdentity": EffectReader._lost_default,
    "AT_AddIdentity": EffectReader._always_generated,
    "AT_SetIdentity": EffectReader._always_generated,
    "AT_AlterColumnType": EffectReader._alter_type,
    "AT_AddConstraint": EffectReader._add_constraint,
    "AT_DropConstraint": EffectReader._drop_constraint,
    "AT_EnableRowSecurity": EffectReader._row_security,
    "AT_ForceRowSecurity": EffectReader._row_security,
    "AT_DetachPartition": EffectReader._detach_partition,
}


def _parsed(text: str) -> list[tuple[Any, str]]:
    """The statements in a text with it; what PostgreSQL would refuse is given as the error."""
    try:
        return [(raw.stmt, text) for raw in parse_sql(text)]
    except ParseError as error:
        return [(error, text)]


def _type(column: Any) -> str:
    return str(column.typeName.names[-1].sval)


def _last_name(item: Any) -> str:
    """The last part of a possibly qualified name, in the forms in which the parser gives it."""
    if isinstance(item, ast.TypeName):
        item = item.names
    elif isinstance(item, ast.ObjectWithArgs):
        item = item.objname
    return str(item[-1].sval) if isinstance(item, tuple) else str(item.sval)


def _start(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 60 else f"{words[:57]}..."
