"""Reads JSON that a stranger may have written.

Safety property: what two readers could understand differently is refused (a key twice, ``NaN``, bytes that are not
UTF-8), and so is what costs more than its size: deep nesting, numbers of thousands of digits.
"""

from __future__ import annotations

import json
from typing import Any

MOST_DIGITS = 40


class NotJson(Exception):
    """The body is no JSON object that would be taken. The message holds nothing of it."""


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises NotJson."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise NotJson("the body is not UTF-8") from None
    try:
        found = json.loads(
            text, object_pairs_hook=_unique, parse_int=_number(int), parse_float=_number(float), parse_constant=_refuse
        )
    except (ValueError, RecursionError):  # json stops at the interpreter's own limit of nesting
        raise NotJson("the body is not JSON") from None
    if not isinstance(found, dict):
        raise NotJson("the body is no JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _number(kind: type[int] | type[float]) -> Any:
    def read(text: str) -> int | float:
        if len(text) > MOST_DIGITS:
            raise ValueError("a number is too long")
        return kind(text)

    return read


def _refuse(_: str) -> Any:
    raise ValueError("NaN and Infinity are no JSON")
