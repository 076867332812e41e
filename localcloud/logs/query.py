"""Logging's query language: a filter becomes SQL conditions where columns can answer it, and a predicate for the rest.

Implemented: AND, OR, NOT and ``-``, parentheses, comments, all comparison operators, ``:*``, every field of LogEntry
but protoPayload, text alone, ``log_id()``. Anything else is an InvalidArgument that names it; nothing is ignored.
https://cloud.google.com/logging/docs/view/logging-query-language
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from google.api_core import exceptions

from localcloud import filters
from localcloud.logs import fields
from localcloud.logs.comparisons import compare, nanoseconds, severity

Predicate = Callable[[Any], bool]
Condition = tuple[str, list[Any]]
_COLUMNS = {
    ("timestamp",): "ts",
    ("severity",): "severity",
    ("logName",): "log_name",
    ("log_name",): "log_name",
    ("resource", "type"): "resource_type",
    ("resource", "labels", "service_name"): "service",
    ("resource", "labels", "revision_name"): "revision",
}
_ORDERED = ("=", "!=", "<", "<=", ">", ">=")


class Query:
    """A filter, ready to run. Raises InvalidArgument when it is made from one that cannot be read."""

    def __init__(self, text: str) -> None:
        self.conditions: list[Condition] = []
        self._rest: list[Predicate] = []
        for part in filters.conjuncts(filters.parse(text)):
            predicate = filters.predicate(part, _condition)
            condition = _sql(part)
            if condition is None:
                self._rest.append(predicate)
            else:
                self.conditions.append(condition)

    def matches(self, entry: Any) -> bool:
        """Say whether an entry, a raw message that meets the conditions, meets the rest."""
        return all(predicate(entry) for predicate in self._rest)


def _condition(node: filters.Node) -> Predicate:
    match node:
        case filters.Search(value):
            text = value.text.casefold()
            return lambda entry: any(text in leaf.casefold() for leaf in fields.leaves(entry))
        case filters.Call():
            log_id = _log_id(node).casefold()
            return lambda entry: unquote(entry.log_name.partition("/logs/")[2]).casefold() == log_id
        case filters.Comparison():
            return compare(node)
    raise exceptions.InvalidArgument(f"The filter of logs does not know {filters.name_of(node)}.")


def _log_id(node: filters.Call) -> str:
    if node.name != "log_id":
        raise exceptions.InvalidArgument(f"the local cloud does not implement the function {node.name}() in a filter.")
    if len(node.arguments) != 1:
        raise exceptions.InvalidArgument("log_id() takes one argument.")
    return node.arguments[0].text


def _sql(node: filters.Node) -> Condition | None:
    """The same as SQL, or None where the columns cannot tell."""
    match node:
        case filters.And(parts):
            return _joined(parts, " AND ")
        case filters.Or(parts):
            return _joined(parts, " OR ")
        case filters.Not(part):
            inner = _sql(part)
            # A missing label is NULL, and NOT of a comparison with it holds.
            return None if inner is None else (f"NOT coalesce({inner[0]}, 0)", inner[1])
        case filters.Call():
            return "log_id = ?", [_log_id(node)]
        case filters.Comparison():
            return _column(node)
    return None


def _joined(parts: tuple[filters.Node, ...], word: str) -> Condition | None:
    conditions = [condition for part in parts if (condition := _sql(part)) is not None]
    if len(conditions) < len(parts):
        return None
    return f"({word.join(text for text, _ in conditions)})", [value for _, values in conditions for value in values]


def _column(node: filters.Comparison) -> Condition | None:
    column = _COLUMNS.get(node.path)
    if column is None or node.operator not in _ORDERED:
        return None
    if column == "ts":
        return f"ts {node.operator} ?", [nanoseconds(node.value.text)]
    if column == "severity":
        return f"severity {node.operator} ?", [severity(node.value.text)]
    # SQLite ignores the case of ASCII letters only.
    if node.operator not in ("=", "!=") or not node.value.text.isascii():
        return None
    return f"{column} {node.operator} ?", [node.value.text]
