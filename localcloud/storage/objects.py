"""Objects: one live generation per name.

Safety property: an object's record changes in one transaction, in which its preconditions are judged; the bytes that it
names are durable before, and those that it named before are removed after. A generation is never given twice.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from google.api_core import exceptions

from localcloud.storage import errors, fields
from localcloud.storage.blobs import Blobs, Content
from localcloud.storage.buckets import Buckets, timestamp
from localcloud.storage.checksums import Checksums
from localcloud.storage.conditions import Conditions
from localcloud.store import Store

MOST_SOURCES = 32
Resource = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """An object that a copy or a composition reads."""

    bucket: str
    name: str
    generation: int | None
    conditions: Conditions


class Objects:
    """Objects by bucket and name, as JSON resources without links."""

    def __init__(self, store: Store, buckets: Buckets, blobs: Blobs) -> None:
        self.buckets = buckets
        self._blobs = blobs
        self._transaction = store.transaction
        self._objects = store.documents("storage.objects")
        self._clock = store.documents("storage.clock")

    def get(self, bucket: str, name: str, generation: int | None, conditions: Conditions | None = None) -> Resource:
        """Raises NotFound, ConditionNotMet or NotModified."""
        found = self._live(bucket, name, generation)
        (conditions or Conditions()).check(found, reading=True)
        return found

    def open(self, bucket: str, name: str, generation: int | None, conditions: Conditions) -> tuple[Resource, BinaryIO]:
        """An object and its bytes, of the same generation."""
        with self._transaction():
            found = self.get(bucket, name, generation, conditions)
            return found, self._blobs.open(found["_content"])

    def all(self, bucket: str, prefix: str) -> list[Resource]:
        """The objects whose names begin with the prefix, in the order of their names in UTF-8."""
        self.buckets.get(bucket)
        return [found for _, found in self._objects.list(f"{bucket}/{prefix}")]

    def check_insert(self, bucket: str, name: str, conditions: Conditions) -> None:
        """Raise what an insert would raise now, before the bytes are received."""
        self.buckets.get(bucket)
        fields.check_object_name(name)
        conditions.check(self._objects.get(f"{bucket}/{name}"))

    def insert(
        self,
        bucket: str,
        name: str,
        given: Mapping[str, Any],
        content: Content,
        conditions: Conditions,
        checksums: Checksums,
        record: Callable[[Resource], None] = lambda _: None,
    ) -> Resource:
        """Make a content the live generation, and ``record`` it in the same transaction.

        The content is removed when a checksum, a precondition or the metadata is refused.
        """

        def described() -> Resource:
            checksums.check(content)
            chosen = {"contentType": "application/octet-stream"} | fields.of_object(given)
            return chosen | {"md5Hash": content.md5}

        return self._replace(bucket, name, content, conditions, described, record)

    def patch(
        self,
        bucket: str,
        name: str,
        generation: int | None,
        given: Mapping[str, Any],
        conditions: Conditions,
        *,
        whole: bool = False,
    ) -> Resource:
        """Change an object's metadata: merged into the old, or in its place."""
        changes = fields.of_object(given)
        with self._transaction():
            old = self._live(bucket, name, generation)
            conditions.check(old)
            dropped = fields.settable(old) if whole else {}
            kept = {field: value for field, value in old.items() if field not in dropped}
            new = {"storageClass": "STANDARD"} | fields.merged(kept, changes)
            new |= {"metageneration": str(int(old["metageneration"]) + 1), "updated": timestamp()}
            new = _with_etag(new)
            self._objects.put(f"{bucket}/{name}", new)
        return new

    def delete(self, bucket: str, name: str, generation: int | None, conditions: Conditions) -> None:
        with self._transaction():
            old = self._live(bucket, name, generation)
            conditions.check(old)
            self._objects.delete(f"{bucket}/{name}")
        self._blobs.remove(old["_content"])

    def copy(
        self, source: Source, bucket: str, name: str, given: Mapping[str, Any], conditions: Conditions
    ) -> Resource:
        """Copy an object; its metadata comes along unless other metadata is given."""
        chosen = fields.of_object(given)
        read = self._source(source)
        content = self._copied([read])
        described = {key: read[key] for key in ("md5Hash", "componentCount") if key in read}
        return self._replace(
            bucket, name, content, conditions, lambda: (chosen or fields.settable(read)) | described
        )

    def compose(
        self, bucket: str, name: str, given: Mapping[str, Any], sources: Sequence[Source], conditions: Conditions
    ) -> Resource:
        """Join up to 32 objects. The result has no MD5, as on Google."""
        if not 1 <= len(sources) <= MOST_SOURCES:
            raise errors.invalid(f"1 to {MOST_SOURCES} source components can be composed, not {len(sources)}.")
        chosen = fields.of_object(given)
        read = [self._source(source) for source in sources]
        count = sum(int(source.get("componentCount", 1)) for source in read)
        content = self._copied(read)
        return self._replace(bucket, name, content, conditions, lambda: chosen | {"componentCount": count})

    def remove_leftovers(self) -> None:
        """Remove the contents that a killed process left without a record."""
        self._blobs.remove_all_but({found["_content"] for _, found in self._objects.list()})

    def _source(self, source: Source) -> Resource:
        found = self._live(source.bucket, source.name, source.generation)
        source.conditions.check(found)
        return found

    def _copied(self, sources: Sequence[Resource]) -> Content:
        """The bytes of the sources as one new content. Raises NotFound when one was deleted meanwhile."""
        try:
            return self._blobs.copy(self._blobs.read(source["_content"] for source in sources))
        except FileNotFoundError as error:
            raise errors.no_object(sources[0]["bucket"], sources[0]["name"]) from error

    def _replace(
        self,
        bucket: str,
        name: str,
        content: Content,
        conditions: Conditions,
        describe: Callable[[], Resource],
        record: Callable[[Resource], None] = lambda _: None,
    ) -> Resource:
        key = f"{bucket}/{name}"
        try:
            with self._transaction():
                fields.check_object_name(name)
                self.buckets.get(bucket)
                old = self._objects.get(key)
                conditions.check(old)
                new = _new(bucket, name, self._next_generation(), content, describe())
                self._objects.put(key, new)
                record(new)
        except exceptions.GoogleAPICallError:
            self._blobs.remove(content.id)
            raise
        if old is not None:
            self._blobs.remove(old["_content"])
        return new

    def _live(self, bucket: str, name: str, generation: int | None) -> Resource:
        self.buckets.get(bucket)
        found = self._objects.get(f"{bucket}/{name}")
        if found is None or generation not in (None, int(found["generation"])):
            raise errors.no_object(bucket, name if generation is None else f"{name}#{generation}")
        return found

    def _next_generation(self) -> int:
        """The time in microseconds, as on Google; greater than any before, whatever the clock did."""
        last = (self._clock.get("generation") or {"last": 0})["last"]
        generation = max(time.time_ns() // 1000, int(last) + 1)
        self._clock.put("generation", {"last": generation})
        return generation


def _new(bucket: str, name: str, generation: int, content: Content, described: Resource) -> Resource:
    now = timestamp()
    return _with_etag({"storageClass": "STANDARD", **described} | {
        "_content": content.id,
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{generation}",
        "bucket": bucket,
        "name": name,
        "generation": str(generation),
        "metageneration": "1",
        "size": str(content.size),
        "crc32c": content.crc32c,
        "timeCreated": now,
        "updated": now,
        "timeStorageClassUpdated": now,
        "timeFinalized": now,
    })  # fmt: skip


def _with_etag(resource: Resource) -> Resource:
    text = f"{resource['generation']}/{resource['metageneration']}"
    return resource | {"etag": base64.b64encode(text.encode()).decode()}
