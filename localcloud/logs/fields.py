"""The fields of a log entry as the query language names them, found through the message's own description.

A field that LogEntry does not define is an InvalidArgument. One that it defines and an entry lacks has its default
value; a missing label or payload field has no value at all, so that no comparison with it holds.
https://cloud.google.com/logging/docs/view/logging-query-language#missing-fields
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions
from google.cloud.logging_v2.types import LogEntry
from google.protobuf.descriptor import FieldDescriptor as F

_NANOS = 1_000_000_000
_INTEGERS = (F.TYPE_INT32, F.TYPE_INT64, F.TYPE_UINT32, F.TYPE_UINT64)
_SPECIAL = {"google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration"}
_STRUCT = "google.protobuf.Struct"

Values = Callable[[Any], list[Any]]


@dataclass(frozen=True)
class Field:
    """What to compare. ``kind`` is string, severity, integer, bool, timestamp, duration, payload or container.

    ``values`` gives what an entry has there: times in nanoseconds, payload values as Python has them.
    """

    kind: str
    values: Values


def resolve(path: tuple[str, ...]) -> Field:
    """Find a field by its path, in JSON's or protobuf's spelling. Raises InvalidArgument."""
    return _in_message(LogEntry.pb().DESCRIPTOR, list(path), lambda entry: [entry], path)


def leaves(message: Any) -> Iterator[str]:
    """Every value in a message as text, times apart: what a search without a field looks through."""
    for field, value in message.ListFields():
        if field.message_type is None:
            for item in value if field.is_repeated else [value]:
                yield field.enum_type.values_by_number[item].name if field.enum_type else str(item)
        elif field.message_type.GetOptions().map_entry:
            yield from value.values()
        elif field.message_type.full_name == _STRUCT:
            yield from payload_texts(value)
        elif field.message_type.full_name not in _SPECIAL:
            for item in value if field.is_repeated else [value]:
                yield from leaves(item)


def payload_texts(value: Any) -> Iterator[str]:
    """Every value in a Struct, ListValue or Value as text."""
    for scalar in _scalars(value):
        yield _text(scalar)


def _in_message(descriptor: Any, path: list[str], parents: Values, whole: tuple[str, ...]) -> Field:
    field = next((f for f in descriptor.fields if path[0] in (f.name, f.json_name)), None)
    if field is None or (field.message_type and field.message_type.full_name == "google.protobuf.Any"):
        raise _unknown(whole)
    if field.message_type is None:
        if len(path) > 1:
            raise _unknown(whole)
        return Field(_kind(field), _children(field, parents))
    return _in_field(field, path[1:], parents, whole)


def _in_field(field: Any, rest: list[str], parents: Values, whole: tuple[str, ...]) -> Field:
    kind = field.message_type.full_name
    if kind in _SPECIAL and not rest:
        return Field(_SPECIAL[kind], lambda entry: [
            getattr(p, field.name).seconds * _NANOS + getattr(p, field.name).nanos for p in parents(entry)])
    if not rest:
        return Field("container", lambda entry: [p for p in parents(entry) if _has(p, field)])
    if field.message_type.GetOptions().map_entry:
        key = ".".join(rest)
        return Field("string", lambda entry: [
            getattr(p, field.name)[key] for p in parents(entry) if key in getattr(p, field.name)])
    if kind == _STRUCT:
        return Field("payload", lambda entry: [
            v for p in parents(entry) if p.HasField(field.name) for v in _at(getattr(p, field.name), rest)])
    return _in_message(field.message_type, rest, _children(field, parents), whole)


def _children(field: Any, parents: Values) -> Values:
    if field.is_repeated:
        return lambda entry: [item for p in parents(entry) for item in getattr(p, field.name)]
    return lambda entry: [getattr(p, field.name) for p in parents(entry)]


def _has(parent: Any, field: Any) -> bool:
    return bool(getattr(parent, field.name)) if field.is_repeated else parent.HasField(field.name)


def _kind(field: Any) -> str:
    if field.enum_type is not None:
        return "severity"
    if field.type == F.TYPE_BOOL:
        return "bool"
    return "integer" if field.type in _INTEGERS else "string"


def _at(struct: Any, path: list[str]) -> list[Any]:
    """The values at a path of a Struct; a list on the way stands for each of its items."""
    nodes = [struct]
    for key in path:
        nodes = [child for node in nodes for child in _child(node, key)]
    return [item for node in nodes for item in _items(node)]


def _child(node: Any, key: str) -> list[Any]:
    if node.DESCRIPTOR.full_name == _STRUCT:
        return [node.fields[key]] if key in node.fields else []
    kind = node.WhichOneof("kind")
    if kind == "struct_value":
        return _child(node.struct_value, key)
    if kind == "list_value":
        return [child for item in node.list_value.values for child in _child(item, key)]
    return []


def _items(value: Any) -> list[Any]:
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return [item for inner in value.list_value.values for item in _items(inner)]
    if kind == "struct_value":
        return [value.struct_value]
    return [None if kind == "null_value" else getattr(value, kind or "string_value")]


def _scalars(value: Any) -> Iterator[Any]:
    if value.DESCRIPTOR.full_name == _STRUCT:
        for inner in value.fields.values():
            yield from _scalars(inner)
        return
    for item in _items(value):
        if hasattr(item, "DESCRIPTOR"):
            yield from _scalars(item)
        else:
            yield item


def _text(scalar: Any) -> str:
    if isinstance(scalar, bool):
        return "true" if scalar else "false"
    if isinstance(scalar, float) and scalar.is_integer():
        return str(int(scalar))
    return "null" if scalar is None else str(scalar)


def _unknown(path: tuple[str, ...]) -> exceptions.InvalidArgument:
    return exceptions.InvalidArgument(f"Field not found: '{'.'.join(path)}'.")
