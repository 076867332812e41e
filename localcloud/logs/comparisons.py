"""One comparison of the query language: how each kind of field is compared with a literal.

Text is compared without regard to case, except by regular expressions, as Logging documents.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from google.api_core import exceptions
from google.logging.type.log_severity_pb2 import LogSeverity

from localcloud import filters
from localcloud.logs import fields

Test = Callable[[Any], bool]
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d:\d\d(?P<fraction>\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)?)?")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(-?\d+(?:\.\d+)?)(h|ms|us|ns|m|s)")
_NOT_RE2 = re.compile(r"\(\?(?:=|!|<=|<!|>)|(?<!\\)(?:\\\\)*\\[1-9]")


def compare(node: filters.Comparison) -> Test:
    """Turn a comparison into a predicate on entries. Raises InvalidArgument for what cannot be compared."""
    field = fields.resolve(node.path)
    if node.operator == ":" and node.value == filters.Value("*"):
        return _presence(field)
    test = _TESTS[field.kind](node)
    return lambda entry: any(test(value) for value in field.values(entry))


def _presence(field: fields.Field) -> Test:
    if field.kind in ("container", "payload"):
        return lambda entry: bool(field.values(entry))
    return lambda entry: any(bool(value) for value in field.values(entry))


def nanoseconds(text: str) -> int:
    """A time in RFC 3339 or a date, as nanoseconds since the epoch."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise exceptions.InvalidArgument(f"'{text}' is not a timestamp in RFC 3339 format.")
    fraction = found["fraction"] or ""
    try:
        moment = datetime.fromisoformat(text.upper().replace(fraction, "", 1) if fraction else text.upper())
    except ValueError as error:
        raise exceptions.InvalidArgument(f"'{text}' is not a timestamp: {error}.") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + int(fraction[1:].ljust(9, "0") or 0)


def severity(text: str) -> int:
    """The number of a severity, given by name or number."""
    if text.isdigit():
        return int(text)
    if text.upper() not in LogSeverity.DESCRIPTOR.values_by_name:
        raise exceptions.InvalidArgument(f"'{text}' is not a severity.")
    return int(LogSeverity.Value(text.upper()))


def _duration(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise exceptions.InvalidArgument(f"'{text}' is not a duration such as 3.5s or 200ms.")
    return round(float(found[1]) * _UNITS[found[2]] * 1_000_000_000)


def _integer(text: str) -> float:
    number = _number(text)
    if number is None:
        raise exceptions.InvalidArgument(f"'{text}' is not a number.")
    return number


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise exceptions.InvalidArgument(f"'{text}' is neither true nor false.")
    return text.lower() == "true"


def _of(literal: Callable[[str], Any]) -> Callable[[filters.Comparison], Test]:
    """How a kind with an order of its own is compared: its literal is read once."""

    def make(node: filters.Comparison) -> Test:
        sign = "=" if node.operator == ":" else node.operator
        if sign not in _ORDER:
            raise _not_for(node)
        wanted, holds = literal(node.value.text), _ORDER[sign]
        return lambda value: holds(value, wanted)

    return make


def _string(node: filters.Comparison) -> Test:
    if node.operator in ("=~", "!~"):
        pattern, wanted_found = _pattern(node.value.text), node.operator == "=~"
        return lambda value: (pattern.search(value) is not None) is wanted_found
    wanted = node.value.text.casefold()
    if node.operator == ":":
        return lambda value: wanted in value.casefold()
    holds = _ORDER[node.operator]
    return lambda value: holds(value.casefold(), wanted)


def _payload(node: filters.Comparison) -> Test:
    """A payload field has the type that its entry gave it: numbers compare as numbers, text as text."""
    text, number = _string(node), _number(node.value.text)
    is_null = node.value == filters.Value("NULL_VALUE")

    def test(value: Any) -> bool:
        if isinstance(value, str):
            return text(value)
        if value is None:
            return is_null and node.operator == "="
        if isinstance(value, bool):
            return text("true" if value else "false")
        if isinstance(value, float):
            sign = "=" if node.operator == ":" else node.operator
            return number is not None and sign in _ORDER and _ORDER[sign](value, number)
        return node.operator == ":" and any(text(leaf) for leaf in fields.payload_texts(value))

    return test


def _container(node: filters.Comparison) -> Test:
    """``httpRequest:x`` or ``labels:x``: some value in it has the text, or it is the key of a label."""
    if node.operator != ":":
        raise _not_for(node)
    wanted, name = node.value.text.casefold(), node.path[-1]

    def test(parent: Any) -> bool:
        field = next(f for f in parent.DESCRIPTOR.fields if name in (f.name, f.json_name))
        inner = getattr(parent, field.name)
        if hasattr(inner, "DESCRIPTOR"):
            texts = fields.payload_texts(inner) if inner.DESCRIPTOR.name == "Struct" else fields.leaves(inner)
            return any(wanted in text.casefold() for text in texts)
        return any(wanted == key.casefold() or wanted in inner[key].casefold() for key in inner)

    return test


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _pattern(text: str) -> re.Pattern[str]:
    if _NOT_RE2.search(text):
        why = "RE2 has no lookaround and no backreference"
        raise exceptions.InvalidArgument(f"Regular expression '{text}' cannot be read: {why}.")
    try:
        return re.compile(text)
    except re.error as error:
        raise exceptions.InvalidArgument(f"Regular expression '{text}' cannot be read: {error}.") from error


def _not_for(node: filters.Comparison) -> exceptions.InvalidArgument:
    return exceptions.InvalidArgument(f"Operator '{node.operator}' cannot be used with field '{'.'.join(node.path)}'.")


_TESTS: dict[str, Callable[[filters.Comparison], Test]] = {
    "string": _string,
    "severity": _of(severity),
    "integer": _of(_integer),
    "bool": _of(_bool),
    "timestamp": _of(nanoseconds),
    "duration": _of(_duration),
    "payload": _payload,
    "container": _container,
}
