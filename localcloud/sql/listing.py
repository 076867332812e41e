"""The filter of an instance list: the part that the tasks use; anything else is refused, never ignored.

Syntax: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/instances/list
"""

from __future__ import annotations

import re

from google.api_core import exceptions
from google.cloud.sqladmin_v1 import types

_TERM = re.compile(r'(?P<field>[\w.-]+):(?P<value>"[^"]*"|\S+)')


def matches(instance: types.DatabaseInstance, text: str) -> bool:
    """Whether an instance passes ``field:value`` terms joined by AND (or a space). Raises InvalidArgument."""
    terms = [term for term in re.split(r"\s+AND\s+|\s+", text.strip()) if term]
    return all(_passes(instance, term) for term in terms)


def _passes(instance: types.DatabaseInstance, term: str) -> bool:
    found = _TERM.fullmatch(term)
    if found is None:
        raise exceptions.InvalidArgument(f"Invalid request: Invalid filter term ({term}); field:value is known.")
    field, value = found["field"], found["value"].strip('"')
    label = field.removeprefix("settings.userLabels.")
    if label != field:
        labels = instance.settings.user_labels
        return label in labels and value in ("*", labels[label])
    known = {"name": instance.name, "region": instance.region, "state": instance.state.name}
    if field not in known:
        raise exceptions.InvalidArgument(f"Invalid request: the local cloud does not filter instances by {field}.")
    return bool(known[field] == value)
