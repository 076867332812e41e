"""What Secret Manager accepts as a secret. The limits are those in the comments of its own messages.

What the local cloud cannot honour (Pub/Sub topics, rotation reminders, customer-managed keys, tags) is refused by name:
accepting it would promise what never happens.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime, timedelta

from google.api_core import exceptions
from google.cloud.secretmanager_v1 import types

MAX_PAYLOAD_BYTES = 65_536
_UPDATABLE = frozenset(
    {"labels", "annotations", "version_aliases", "version_destroy_ttl", "expire_time", "ttl", "etag"}
)
_NOT_HONOURED = ("topics", "rotation", "customer_managed_encryption", "tags", "secret_type")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
_ANNOTATION_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_SHORTEST_DESTROY_TTL = timedelta(days=1)
_MOST_ALIASES = 50
_MOST_LABELS = 64
_MOST_ANNOTATION_BYTES = 16 * 1024


def check_secret(secret: types.Secret, now: datetime) -> None:
    """Raise InvalidArgument for what Google refuses, MethodNotImplemented for what the local cloud cannot honour."""
    for field in _NOT_HONOURED:
        if field in secret:
            raise exceptions.MethodNotImplemented(f"the local cloud does not implement Secret.{field}")
    _check_labels(secret)
    _check_annotations(secret)
    _check_aliases(secret)
    if "version_destroy_ttl" in secret and secret.version_destroy_ttl < _SHORTEST_DESTROY_TTL:
        raise exceptions.InvalidArgument("version_destroy_ttl must be at least 24 hours.")
    if secret.expire_time is not None and secret.expire_time <= now:
        raise exceptions.InvalidArgument("expire_time must be in the future.")


def check_new(secret: types.Secret) -> None:
    if not ("automatic" in secret.replication or "user_managed" in secret.replication):
        raise exceptions.InvalidArgument("Secret.replication must be specified.")
    if secret.version_aliases:
        raise exceptions.InvalidArgument("Secret.version_aliases cannot be set on a secret that has no versions.")


def check_mask(paths: Collection[str]) -> None:
    if not paths:
        raise exceptions.InvalidArgument("update_mask must be specified.")
    for path in paths:
        if path in _NOT_HONOURED:
            raise exceptions.MethodNotImplemented(f"the local cloud does not implement Secret.{path}")
        if path not in _UPDATABLE:
            raise exceptions.InvalidArgument(f"The field [{path}] of a secret cannot be updated.")


def check_payload(data: bytes) -> None:
    if not data:
        raise exceptions.InvalidArgument("Secret Payload cannot be empty.")
    if len(data) > MAX_PAYLOAD_BYTES:
        raise exceptions.InvalidArgument(f"The payload has {len(data)} bytes; at most {MAX_PAYLOAD_BYTES} are allowed.")


def _check_labels(secret: types.Secret) -> None:
    if len(secret.labels) > _MOST_LABELS:
        raise exceptions.InvalidArgument(f"A secret can have at most {_MOST_LABELS} labels.")
    for key, value in secret.labels.items():
        if not (key[:1].isalpha() and _is_label(key)) or not _is_label(value):
            raise exceptions.InvalidArgument(f"The label [{key}: {value}] is not valid.")


def _is_label(text: str) -> bool:
    """At most 63 letters, numerals, hyphens and underscores of any script, none of them in upper case."""
    allowed = all(c in "-_" or c.isalnum() for c in text)
    return allowed and len(text) <= 63 and not any(c.isupper() for c in text) and len(text.encode()) <= 128


def _check_annotations(secret: types.Secret) -> None:
    size = sum(len(key.encode()) + len(value.encode()) for key, value in secret.annotations.items())
    if size >= _MOST_ANNOTATION_BYTES:
        raise exceptions.InvalidArgument(f"The annotations have {size} bytes; fewer than 16 KiB are allowed.")
    for key in secret.annotations:
        if not _ANNOTATION_KEY.fullmatch(key):
            raise exceptions.InvalidArgument(f"The annotation key [{key}] is not valid.")


def _check_aliases(secret: types.Secret) -> None:
    if len(secret.version_aliases) > _MOST_ALIASES:
        raise exceptions.InvalidArgument(f"A secret can have at most {_MOST_ALIASES} version aliases.")
    for alias in secret.version_aliases:
        if not _ALIAS.fullmatch(alias) or alias in ("latest", "NEW"):
            raise exceptions.InvalidArgument(f"The version alias [{alias}] is not valid.")
