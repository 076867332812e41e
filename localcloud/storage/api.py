"""The calls of the JSON API that carry no media: their arguments read, their answers written.

Paths and parameters are those of https://cloud.google.com/storage/docs/json_api/v1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from localcloud.storage import errors
from localcloud.storage.conditions import Conditions, number
from localcloud.storage.listing import page
from localcloud.storage.objects import Objects, Source

Answer = dict[str, Any] | None


@dataclass(frozen=True)
class Ask:
    """One call: the arguments in its path, its query, its JSON body, and the URL by which the server was reached."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]
    base: str

    @property
    def conditions(self) -> Conditions:
        return Conditions.read(self.query)

    @property
    def generation(self) -> int | None:
        return number(self.query, "generation")

    @property
    def object(self) -> tuple[str, str, int | None]:
        """Bucket, name and generation."""
        return self.path["bucket"], self.path["object"], self.generation


class Api:
    """Each method answers one call with its JSON, or None for an empty answer."""

    def __init__(self, objects: Objects) -> None:
        self._buckets, self._objects = objects.buckets, objects

    def insert_bucket(self, ask: Ask) -> Answer:
        return bucket_document(self._buckets.insert(ask.query.get("project", ""), ask.body), ask.base)

    def get_bucket(self, ask: Ask) -> Answer:
        return bucket_document(self._buckets.get(ask.path["bucket"], ask.conditions), ask.base)

    def list_buckets(self, ask: Ask) -> Answer:
        found, token = self._buckets.list(
            ask.query.get("project", ""),
            ask.query.get("prefix", ""),
            number(ask.query, "maxResults") or 0,
            ask.query.get("pageToken", ""),
        )
        return _list("storage#buckets", token, items=[bucket_document(bucket, ask.base) for bucket in found])

    def patch_bucket(self, ask: Ask) -> Answer:
        return bucket_document(self._buckets.patch(ask.path["bucket"], ask.body, ask.conditions), ask.base)

    def delete_bucket(self, ask: Ask) -> Answer:
        self._buckets.delete(ask.path["bucket"], ask.conditions)
        return None

    def list_objects(self, ask: Ask) -> Answer:
        found = page(self._objects.all(ask.path["bucket"], ask.query.get("prefix", "")), ask.query)
        items = [object_document(resource, ask.base) for resource in found.items]
        return _list("storage#objects", found.token, items=items, prefixes=found.prefixes)

    def get_object(self, ask: Ask) -> Answer:
        return object_document(self._objects.get(*ask.object, ask.conditions), ask.base)

    def patch_object(self, ask: Ask) -> Answer:
        return object_document(self._objects.patch(*ask.object, ask.body, ask.conditions), ask.base)

    def update_object(self, ask: Ask) -> Answer:
        return object_document(self._objects.patch(*ask.object, ask.body, ask.conditions, whole=True), ask.base)

    def delete_object(self, ask: Ask) -> Answer:
        self._objects.delete(*ask.object, ask.conditions)
        return None

    def copy_object(self, ask: Ask) -> Answer:
        source = Source(
            ask.path["bucket"],
            ask.path["object"],
            number(ask.query, "sourceGeneration"),
            Conditions.read(ask.query, "ifSource"),
        )
        copied = self._objects.copy(source, ask.path["to_bucket"], ask.path["to_object"], ask.body, ask.conditions)
        return object_document(copied, ask.base)

    def rewrite_object(self, ask: Ask) -> Answer:
        """A rewrite is over in one call: there is no second token to come back with."""
        copied = self.copy_object(ask)
        assert copied is not None
        size = copied["size"]
        return {
            "kind": "storage#rewriteResponse", "totalBytesRewritten": size, "objectSize": size, "done": True,
            "resource": copied,
        }  # fmt: skip

    def compose_object(self, ask: Ask) -> Answer:
        bucket, name, _ = ask.object
        if ask.body.get("deleteSourceObjects"):
            raise errors.not_implemented("Objects.Compose with deleteSourceObjects")
        sources = [_component(bucket, part) for part in ask.body.get("sourceObjects", [])]
        given = ask.body.get("destination", {})
        return object_document(self._objects.compose(bucket, name, given, sources, ask.conditions), ask.base)


Work = Callable[[Api, Ask], Answer]


def bucket_document(bucket: Mapping[str, Any], base: str) -> dict[str, Any]:
    """A bucket as it is told: with its link, without what is ours alone."""
    return _told(bucket) | {"selfLink": f"{base}/storage/v1/b/{bucket['name']}"}


def object_document(resource: Mapping[str, Any], base: str) -> dict[str, Any]:
    """An object as it is told: with its links, without what is ours alone."""
    path = f"storage/v1/b/{resource['bucket']}/o/{quote(resource['name'], safe='')}"
    return _told(resource) | {
        "selfLink": f"{base}/{path}",
        "mediaLink": f"{base}/download/{path}?generation={resource['generation']}&alt=media",
    }


def _told(resource: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if not key.startswith("_")}


def _list(kind: str, token: str, **lists: list[Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"kind": kind} | {name: found for name, found in lists.items() if found}
    return answer | ({"nextPageToken": token} if token else {})


def _component(bucket: str, part: Mapping[str, Any]) -> Source:
    wanted = {key: str(value) for key, value in part.get("objectPreconditions", {}).items()}
    generation = {"generation": str(part.get("generation") or "")}
    return Source(bucket, str(part["name"]), number(generation, "generation"), Conditions.read(wanted))
