"""BigQuery's SQL into DuckDB's, with sqlglot.

Safety property: only what is on the list below is translated; anything else is refused by its name, so that no
function silently means something else here than on Google. Tables are replaced by the names under which the engine
keeps them: a query reaches no other, and DuckDB itself may open no file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp

from localcloud.bigquery import errors
from localcloud.bigquery.parameters import Parameter

_STRUCTURE = (
    exp.Select, exp.From, exp.Join, exp.Where, exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Offset,
    exp.Alias, exp.TableAlias, exp.Table, exp.Column, exp.Dot, exp.Identifier, exp.Var, exp.Star, exp.Literal,
    exp.Null, exp.Boolean, exp.Parameter, exp.Paren, exp.Subquery, exp.CTE, exp.With, exp.Union, exp.Distinct,
    exp.Unnest, exp.Tuple, exp.DataType, exp.DataTypeParam, exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey,
    exp.RawString,
)  # fmt: skip
_OPERATORS = (
    exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.In, exp.Between,
    exp.Like, exp.Add, exp.Sub, exp.Mul, exp.Neg, exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Cast,
)  # fmt: skip
_FUNCTIONS = (
    exp.Sum, exp.Count, exp.CountIf, exp.Min, exp.Max, exp.Avg, exp.AnyValue, exp.Date, exp.Round, exp.Abs,
    exp.Greatest, exp.Least, exp.Lower, exp.Upper, exp.Length, exp.StartsWith, exp.Exists,
    exp.JSONExtract, exp.JSONExtractScalar, exp.JSONFormat, exp.ByteLength, exp.UnixMicros, exp.IntDiv, exp.Ceil,
    exp.Ln, exp.RegexpReplace,
)  # fmt: skip
_ALLOWED = frozenset((*_STRUCTURE, *_OPERATORS, *_FUNCTIONS))
_NUMERIC = exp.DataType.build("DECIMAL(38,9)", dialect="duckdb")
_CAST_TO = frozenset({
    exp.DataType.Type.DECIMAL, exp.DataType.Type.BIGINT, exp.DataType.Type.DOUBLE, exp.DataType.Type.TEXT,
    exp.DataType.Type.VARCHAR, exp.DataType.Type.DATE, exp.DataType.Type.BOOLEAN, exp.DataType.Type.TIMESTAMPTZ,
})  # fmt: skip


@dataclass(frozen=True)
class Name:
    """A table as a query names it."""

    project: str
    dataset: str
    table: str


@dataclass(frozen=True)
class Kept:
    """A table as the engine keeps it: the table's name inside, and its top-level columns."""

    inside: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Translated:
    """DuckDB's SQL, the values to bind, and which columns of which table it reads."""

    sql: str
    values: dict[str, Any]
    reads: tuple[tuple[Name, tuple[str, ...]], ...]


def translate(
    text: str, project: str, dataset: str, parameters: dict[str, Parameter], find: Callable[[Name], Kept]
) -> Translated:
    """Translate one SELECT. ``find`` looks a table up, and raises NotFound.

    Raises QueryError for what is no SQL, MethodNotImplemented for what is not on the list.
    """
    query = _parsed(text)
    _check(query)
    used = _bind_parameters(query, parameters)
    reads = _bind_tables(query, project, dataset, find)
    _name_columns(query)
    for kind in list(query.find_all(exp.DataType)):
        if kind.this == exp.DataType.Type.DECIMAL and not kind.expressions:
            kind.replace(_NUMERIC.copy())
    for division in query.find_all(exp.IntDiv):  # DIV(a - b, c) would become a - b // c
        for side in ("this", "expression"):
            division.set(side, exp.Paren(this=division.args[side]))
    for length in list(query.find_all(exp.ByteLength)):  # DuckDB's OCTET_LENGTH takes no text
        length.replace(exp.Anonymous(this="STRLEN", expressions=[length.this.copy()]))
    for subquery in list(query.find_all(exp.Subquery)):
        _as_list_function(subquery)
    sql = query.sql(dialect="duckdb", unsupported_level=sqlglot.ErrorLevel.RAISE)
    return Translated(sql, {name: parameters[name].value for name in used}, reads)


def _parsed(text: str) -> exp.Query:
    try:
        found = [one for one in sqlglot.parse(text, dialect="bigquery") if one is not None]
    except (sqlglot.ParseError, sqlglot.TokenError) as error:
        raise errors.invalid_query(f"Syntax error: {_first_line(str(error))}") from error
    if len(found) != 1:
        raise errors.not_implemented("scripts of several statements")
    if not isinstance(found[0], exp.Select | exp.SetOperation):
        raise errors.not_implemented(f"the statement {found[0].key.upper()}; SELECT alone is served")
    return found[0]


def _check(query: exp.Query) -> None:
    for node in query.walk():
        if isinstance(node, exp.Anonymous):
            raise errors.not_implemented(f"the function {str(node.this).upper()}")
        if type(node) not in _ALLOWED:
            raise errors.not_implemented(f"{type(node).__name__} in a query ({node.sql(dialect='bigquery')[:80]})")
    for cast in query.find_all(exp.Cast):
        if cast.to.this not in _CAST_TO:
            raise errors.not_implemented(f"CAST to {cast.to.sql(dialect='bigquery')}")


def _bind_parameters(query: exp.Query, parameters: dict[str, Parameter]) -> set[str]:
    """Cast each use of a parameter to its type; DuckDB would guess it from the place otherwise."""
    used = set()
    for node in list(query.find_all(exp.Parameter)):
        name = node.name
        if name not in parameters:
            raise errors.invalid_query(f"Query parameter '{name}' not found")
        kind = exp.DataType.build(parameters[name].type, dialect="duckdb")
        node.replace(exp.Cast(this=node.copy(), to=kind))
        used.add(name)
    return used


def _bind_tables(
    query: exp.Query, project: str, dataset: str, find: Callable[[Name], Kept]
) -> tuple[tuple[Name, tuple[str, ...]], ...]:
    reads = []
    views = {view.alias for view in query.find_all(exp.CTE)}
    for table in list(query.find_all(exp.Table)):
        if table.name in views and not table.db:
            continue
        name = _name(table, project, dataset)
        kept = find(name)
        reads.append((name, _columns(query, kept)))
        inside = exp.Table(this=exp.to_identifier(kept.inside, quoted=True), db=exp.to_identifier("tables"))
        inside.set("alias", exp.TableAlias(this=exp.to_identifier(table.alias or table.name, quoted=True)))
        inside.set("joins", table.args.get("joins"))
        table.replace(inside)
    return tuple(reads)


def _name(table: exp.Table, project: str, dataset: str) -> Name:
    if "*" in table.name:
        raise errors.not_implemented("wildcard tables")
    if not table.db and not dataset:
        raise errors.invalid_query(f'Table "{table.name}" must be qualified with a dataset (e.g. dataset.table).')
    return Name(table.catalog or project, table.db or dataset, table.name)


def _columns(query: exp.Query, kept: Kept) -> tuple[str, ...]:
    """The columns of a table that are mentioned at all: BigQuery bills these whole, and we bill a record whole."""
    if any(True for _ in query.find_all(exp.Star)) and not _only_counted(query):
        return kept.columns
    named = {part.name.lower() for column in query.find_all(exp.Column) for part in column.parts}
    return tuple(column for column in kept.columns if column.lower() in named)


def _only_counted(query: exp.Query) -> bool:
    return all(isinstance(star.parent, exp.Count) for star in query.find_all(exp.Star))


def _name_columns(query: exp.Query) -> None:
    """Give a column without a name BigQuery's (``f0_``), and refuse the same name twice."""
    names, unnamed = [], 0
    for node in list(query.selects):
        if isinstance(node, exp.Alias | exp.Column | exp.Dot | exp.Star):
            names.append(node.alias_or_name.lower())
        else:
            node.replace(exp.alias_(node.copy(), f"f{unnamed}_"))
            unnamed += 1
    twice = {name for name in names if name and name != "*" and names.count(name) > 1}
    if twice:
        raise errors.invalid_query(f"Duplicate column names in the result are not supported: {min(twice)}")


def _as_list_function(subquery: exp.Subquery) -> None:
    """``(SELECT SUM(f(x)) FROM UNNEST(list) AS x)`` as ``list_sum`` of ``list_transform``: ten times as fast.

    DuckDB would join each row with its own list. Both skip NULLs, and both are NULL for an empty list.
    """
    select = subquery.this
    if not isinstance(select, exp.Select) or len(select.selects) != 1:
        return
    only, source = select.selects[0].unalias(), select.args.get("from_") or select.args.get("from")
    clauses = {name for name, value in select.args.items() if value} - {"expressions", "from", "from_", "kind"}
    if clauses or source is None or not isinstance(source.this, exp.Unnest) or not isinstance(only, exp.Sum):
        return
    unnest = source.this
    item = next((column.name for column in unnest.args["alias"].columns), "") if unnest.args.get("alias") else ""
    if not item or len(unnest.expressions) != 1 or isinstance(only.this, exp.Distinct):
        return
    each = exp.Lambda(this=only.this.copy(), expressions=[exp.to_identifier(item)])
    listed = exp.func("LIST_TRANSFORM", unnest.expressions[0].copy(), each, dialect="duckdb")
    subquery.replace(exp.Anonymous(this="LIST_SUM", expressions=[listed]))


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0]
