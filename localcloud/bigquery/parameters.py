"""Query parameters, as a request holds them: their types and their values.

Named ones, of a scalar type or an array of one. Anything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from localcloud.bigquery import errors
from localcloud.bigquery.types import scalar_type


@dataclass(frozen=True)
class Parameter:
    """A value in text, and the DuckDB type that it is cast to."""

    type: str
    value: str | list[str] | None


def read(mode: str, given: Sequence[Mapping[str, Any]]) -> dict[str, Parameter]:
    """The parameters by name. Raises InvalidArgument, MethodNotImplemented."""
    if not given:
        return {}
    if mode.upper() != "NAMED" or not all(one.get("name") for one in given):
        raise errors.not_implemented("positional query parameters")
    return {str(one["name"]): _parameter(one) for one in given}


def _parameter(one: Mapping[str, Any]) -> Parameter:
    kind, value = one["parameterType"], one.get("parameterValue") or {}
    name = str(kind["type"])
    if name == "ARRAY":
        inner = scalar_type(str(kind["arrayType"]["type"]))
        return Parameter(f"{inner}[]", [str(item["value"]) for item in value.get("arrayValues") or []])
    told = value.get("value")
    return Parameter(scalar_type(name), None if told is None else str(told))
