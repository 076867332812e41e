"""The filters of ListSecrets and ListSecretVersions (https://cloud.google.com/secret-manager/docs/filtering).

Read here: ``name``, ``state``, ``labels``, ``annotations`` and ``create_time``, joined by AND, OR and NOT. A field or
an operator that is not read is an InvalidArgument: a filter is never ignored.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

from google.api_core import exceptions
from google.cloud.secretmanager_v1 import types

from localcloud.filters import And, Comparison, Node, Not, Or, Search, parse

Resource = TypeVar("Resource", types.Secret, types.SecretVersion)
_ORDERED: dict[str, Callable[[datetime, datetime], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def select(resources: Iterable[Resource], text: str) -> list[Resource]:
    """The resources that a filter lets through. Raises InvalidArgument."""
    node = parse(text)
    if node is None:
        return list(resources)
    _refuse_unknown(node)
    return [resource for resource in resources if _holds(node, resource)]


def _holds(node: Node, resource: Resource) -> bool:
    if isinstance(node, And):
        return all(_holds(part, resource) for part in node.parts)
    if isinstance(node, Or):
        return any(_holds(part, resource) for part in node.parts)
    if isinstance(node, Not):
        return not _holds(node.part, resource)
    if isinstance(node, Search):
        return node.value.text.lower() in resource.name.lower()
    assert isinstance(node, Comparison)
    return _compare(node, resource)


def _compare(node: Comparison, resource: Resource) -> bool:
    field, wanted = node.path[0], node.value.text
    if field == "create_time":
        return _ORDERED[node.operator](resource.create_time, _time(wanted))
    if field in ("labels", "annotations"):
        return _in_map(node, dict(getattr(resource, field, {})))
    found = resource.state.name if field == "state" and isinstance(resource, types.SecretVersion) else resource.name
    return _text(node.operator, found, wanted)


def _in_map(node: Comparison, pairs: dict[str, str]) -> bool:
    """``labels:key``, ``labels.key:*`` and ``labels.key=value``."""
    if len(node.path) == 1:
        return node.operator == ":" and node.value.text in pairs
    found = pairs.get(".".join(node.path[1:]))
    if node.value.text == "*" and not node.value.quoted and node.operator == ":":
        return found is not None
    if found is None:
        return node.operator == "!="
    return _text(node.operator, found, node.value.text)


def _text(sign: str, found: str, wanted: str) -> bool:
    if sign == ":":
        return wanted.lower() in found.lower()
    return (found == wanted) == (sign == "=")


def _refuse_unknown(node: Node) -> None:
    if isinstance(node, And | Or):
        for part in node.parts:
            _refuse_unknown(part)
    elif isinstance(node, Not):
        _refuse_unknown(node.part)
    elif isinstance(node, Comparison):
        _refuse_unknown_comparison(node)
    elif not isinstance(node, Search):
        raise exceptions.InvalidArgument(f"The filter's function {node.name} is not supported.")


def _refuse_unknown_comparison(node: Comparison) -> None:
    field, path = node.path[0], ".".join(node.path)
    if field not in ("name", "state", "labels", "annotations", "create_time"):
        raise exceptions.InvalidArgument(f"The filter's field {path} is not supported.")
    if len(node.path) > 1 and field not in ("labels", "annotations"):
        raise exceptions.InvalidArgument(f"The filter's field {path} is not supported.")
    if node.operator not in (_ORDERED if field == "create_time" else ("=", "!=", ":")):
        raise exceptions.InvalidArgument(f"The filter's operator {node.operator} is not supported for {path}.")
    if field == "create_time":
        _time(node.value.text)


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise exceptions.InvalidArgument(f"The filter's time {text!r} is not valid.") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)
