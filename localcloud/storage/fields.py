"""Which fields of a bucket and of an object a caller may set, and how a patch changes them.

A field that promises what the local cloud does not do (versioning, lifecycle, retention, holds, keys) is refused by
name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from localcloud.storage import errors

_BUCKET = frozenset({"labels", "location", "storageClass", "iamConfiguration"})
_OBJECT = frozenset({
    "cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType", "customTime", "metadata",
    "storageClass",
})  # fmt: skip
#: What the server alone sets: a caller that sends a whole resource back sends them too, and Google ignores them.
_OUTPUT = frozenset({
    "bucket", "componentCount", "crc32c", "etag", "generation", "id", "kind", "location", "locationType", "md5Hash",
    "mediaLink", "metageneration", "name", "owner", "projectNumber", "selfLink", "size", "timeCreated",
    "timeFinalized", "timeStorageClassUpdated", "updated",
})  # fmt: skip
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_MOST_LABELS = 64
_LONGEST_OBJECT_NAME = 1024


def of_bucket(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a bucket that a caller set. Raises MethodNotImplemented for one that would not be honoured."""
    fields = _chosen(given, _BUCKET, "Bucket")
    if len(fields.get("labels") or {}) > _MOST_LABELS:
        raise errors.invalid(f"A bucket can have at most {_MOST_LABELS} labels.")
    return fields


def of_object(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an object that a caller set. Raises MethodNotImplemented for one that would not be honoured."""
    return _chosen(given, _OBJECT, "Object")


def settable(resource: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a stored object that its caller could have set."""
    return {field: value for field, value in resource.items() if field in _OBJECT}


def merged(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch: null removes, and maps are merged key by key (RFC 7396)."""
    result = dict(old)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            before = result.get(key)
            result[key] = merged(before if isinstance(before, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def check_bucket_name(name: str) -> str:
    """https://cloud.google.com/storage/docs/buckets#naming"""
    long = any(len(part) > 63 for part in name.split("."))
    if not _BUCKET_NAME.fullmatch(name) or long or name.startswith("goog") or ".." in name:
        raise errors.invalid(f"Invalid bucket name: '{name}'")
    return name


def check_object_name(name: str) -> str:
    """https://cloud.google.com/storage/docs/objects#naming"""
    if not name:
        raise errors.invalid("Required parameter: name")
    forbidden = name in (".", "..") or name.startswith(".well-known/acme-challenge/") or "\r" in name or "\n" in name
    if forbidden or len(name.encode()) > _LONGEST_OBJECT_NAME:
        raise errors.invalid(f"The specified object name is not valid: '{name}'")
    return name


def _chosen(given: Mapping[str, Any], allowed: frozenset[str], kind: str) -> dict[str, Any]:
    for field, value in given.items():
        if field not in allowed | _OUTPUT and _says_something(value):
            raise errors.not_implemented(f"{kind}.{field}")
    return {field: value for field, value in given.items() if field in allowed}


def _says_something(value: Any) -> bool:
    """Whether a value asks for anything: neither empty, nor ``{"enabled": false}`` and its like."""
    if isinstance(value, Mapping):
        return any(_says_something(inner) for inner in value.values())
    return bool(value)
