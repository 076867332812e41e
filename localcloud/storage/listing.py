"""A page of a bucket's objects (https://cloud.google.com/storage/docs/json_api/v1/objects/list).

A delimiter folds names into prefixes; objects and prefixes count alike for the size of a page. The token is the last
name or prefix that was given, so that a page neither repeats nor skips what stood there all along.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from localcloud.storage import errors
from localcloud.storage.conditions import number

_PAGE = 1000
_REFUSED = ("softDeleted", "matchGlob", "includeFoldersAsPrefixes", "includeTrailingDelimiter", "filter")


@dataclass
class Page:
    """Objects, prefixes, and the token of the next page, empty at the end."""

    items: list[dict[str, Any]] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    token: str = ""


def page(resources: list[dict[str, Any]], query: Mapping[str, str]) -> Page:
    """One page of objects that are sorted by name. Raises InvalidArgument, MethodNotImplemented."""
    for name in _REFUSED:
        if query.get(name, "false") not in ("", "false"):
            raise errors.not_implemented(f"Objects.List with {name}")
    size, last = min(number(query, "maxResults") or _PAGE, _PAGE), _last(query.get("pageToken", ""))
    found = Page()
    given = ""
    for entry, resource in _entries(resources, query):
        if last and entry <= last:
            continue
        if len(found.items) + len(found.prefixes) == size:
            found.token = base64.urlsafe_b64encode(given.encode()).decode()
            break
        given = entry
        if resource is None:
            found.prefixes.append(entry)
        else:
            found.items.append(resource)
    return found


def _entries(resources: list[dict[str, Any]], query: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Each object with its name, or the prefix that stands for it and its like, once."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    start, end = query.get("startOffset", ""), query.get("endOffset", "")
    folded = None
    for resource in resources:
        name = resource["name"]
        if name < start or (end and name >= end):
            continue
        head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
        if not cut:
            yield name, resource
        elif folded != f"{prefix}{head}{cut}":
            folded = f"{prefix}{head}{cut}"
            yield folded, None


def _last(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise errors.invalid(f"Invalid page token: '{token}'") from error
