"""Buckets. A bucket belongs to the project that created it; its name is the whole cloud's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from localcloud.pages import page
from localcloud.storage import errors, fields
from localcloud.storage.conditions import Conditions
from localcloud.store import Store

_PAGE = 1000
_MULTI_REGIONS = ("US", "EU", "ASIA")


class Buckets:
    """Buckets by name, as JSON resources without links."""

    def __init__(self, store: Store) -> None:
        self._transaction = store.transaction
        self._buckets = store.documents("storage.buckets")
        self._objects = store.documents("storage.objects")

    def get(self, name: str, conditions: Conditions | None = None) -> dict[str, Any]:
        """Raises NotFound."""
        found = self._buckets.get(name)
        if found is None:
            raise errors.no_bucket()
        (conditions or Conditions()).check(found, reading=True)
        return found

    def owner(self, name: str) -> str:
        """The project of a bucket, empty when there is no such bucket."""
        found = self._buckets.get(name)
        return str(found["_project"]) if found else ""

    def insert(self, project: str, given: Mapping[str, Any]) -> dict[str, Any]:
        if not project:
            raise errors.invalid("Required parameter: project")
        name = fields.check_bucket_name(str(given.get("name", "")))
        bucket = _new(project, name, fields.of_bucket(given))
        with self._transaction():
            if (taken := self._buckets.get(name)) is not None:
                raise _taken(mine=taken["_project"] == project)
            self._buckets.put(name, bucket)
        return bucket

    def list(self, project: str, prefix: str, size: int, token: str) -> tuple[list[dict[str, Any]], str]:
        """A page of a project's buckets, in the order of their names."""
        if not project:
            raise errors.invalid("Required parameter: project")
        found = [bucket for _, bucket in self._buckets.list(prefix) if bucket["_project"] == project]
        return page(found, size, token, default=_PAGE, most=_PAGE)

    def patch(self, name: str, given: Mapping[str, Any], conditions: Conditions) -> dict[str, Any]:
        changes = fields.of_bucket(given)
        with self._transaction():
            old = self.get(name)
            conditions.check(old)
            if changes.get("location", old["location"]).upper() != old["location"]:
                raise errors.invalid("The location of a bucket cannot be changed.")
            bucket = _touched(fields.merged(old, changes | {"location": old["location"]}))
            self._buckets.put(name, bucket)
        return bucket

    def delete(self, name: str, conditions: Conditions) -> None:
        with self._transaction():
            conditions.check(self.get(name))
            if self._objects.list(f"{name}/"):
                raise errors.Conflict("The bucket you tried to delete is not empty.")
            self._buckets.delete(name)


def _new(project: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    now = timestamp()
    location = str(given.get("location") or "US").upper()
    return {"storageClass": "STANDARD", "iamConfiguration": {}, **given} | {
        "_project": project,
        "kind": "storage#bucket",
        "id": name,
        "name": name,
        "location": location,
        "locationType": "multi-region" if location in _MULTI_REGIONS else "region",
        "metageneration": "1",
        "etag": "1",
        "timeCreated": now,
        "updated": now,
    }


def _touched(bucket: dict[str, Any]) -> dict[str, Any]:
    metageneration = str(int(bucket["metageneration"]) + 1)
    return bucket | {"metageneration": metageneration, "etag": metageneration, "updated": timestamp()}


def _taken(*, mine: bool) -> errors.Conflict:
    if mine:
        return errors.Conflict("Your previous request to create the named bucket succeeded and you already own it.")
    return errors.Conflict(
        "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
        "Please select a different name and try again."
    )


def timestamp() -> str:
    """Now, as the JSON API writes times."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
