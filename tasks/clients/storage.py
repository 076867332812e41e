"""One bucket of Cloud Storage.

Safety property: an object that is named by its content is written only where there is none (``put_if_absent``), so two
runs that upload the same thing cannot spoil each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tasks.clients import deadlines
from tasks.clients.google import UNRETRIED, Google
from tasks.errors import Conflict, Missing, TransientError

VIEWER = "roles/storage.objectViewer"
USER = "roles/storage.objectUser"
ADMIN = "roles/storage.admin"
_TRANSFER: dict[str, Any] = {"retry": None, "timeout": deadlines.TRANSFER.total_seconds()}


class Bucket:
    """The objects of one bucket."""

    def __init__(self, google: Google, name: str) -> None:
        self._google, self.name = google, name

    def ensure(self, labels: Mapping[str, str] | None = None) -> bool:
        """Create the bucket, private and uniform, where there is none; say whether it was created now."""
        if self._is_there():
            return False
        try:
            with self._google.doing(f"creating bucket {self.name}", ADMIN):
                bucket = self._google.storage.bucket(self.name)
                bucket.labels = dict(labels or {})
                bucket.iam_configuration.uniform_bucket_level_access_enabled = True
                bucket.iam_configuration.public_access_prevention = "enforced"
                bucket.create(location=self._google.region, project=self._google.project, **UNRETRIED)
        except Conflict:
            if self._is_there():
                return False
            raise
        return True

    def put_if_absent(self, name: str, source: Path | bytes, content_type: str = "application/octet-stream") -> bool:
        """Write an object where there is none; say whether it was written now."""
        try:
            self.put(name, source, content_type, if_generation=0)
        except Conflict:
            return False
        return True

    def put(
        self, name: str, source: Path | bytes, content_type: str = "application/octet-stream",
        if_generation: int | None = None,
    ) -> int:
        """Write an object and return its generation. ``if_generation``: only over that one, 0 for "there is none".

        Raises Conflict when it is another one.
        """
        with self._google.doing(f"writing gs://{self.name}/{name}", USER):
            blob = self._blob(name)
            options = {"content_type": content_type, "if_generation_match": if_generation, **_TRANSFER}
            if isinstance(source, Path):
                blob.upload_from_filename(str(source), **options)
            else:
                blob.upload_from_string(source, **options)
            return int(blob.generation or 0)

    def replace(self, name: str, data: bytes, content_type: str, generation: int) -> int:
        """Write an object over the generation given, 0 for "there is none"; safe to repeat. Its new generation.

        Raises Conflict when another one is there, unless it holds these very bytes: then an answer was lost.
        """
        try:
            return self.put(name, data, content_type, generation)
        except (Conflict, TransientError):
            found = self.find(name)
            if found is None or found[0] != data:
                raise
            return found[1]

    def converge(self, name: str, data: bytes, content_type: str) -> bool:
        """Make an object hold these bytes; say whether it had to be written. Safe to repeat and to do from two runs."""
        found = self.find(name)
        if found is not None and found[0] == data:
            return False
        self.replace(name, data, content_type, found[1] if found else 0)
        return True

    def get(self, name: str) -> bytes:
        """Read an object. Raises Missing."""
        with self._google.doing(f"reading gs://{self.name}/{name}", VIEWER):
            return bytes(self._blob(name).download_as_bytes(**_TRANSFER))

    def find(self, name: str) -> tuple[bytes, int] | None:
        """An object's bytes and the generation that they are of; None where there is no such object."""
        try:
            with self._google.doing(f"reading gs://{self.name}/{name}", VIEWER):
                blob = self._blob(name)
                blob.reload(**UNRETRIED)
                generation = int(blob.generation)
                return bytes(blob.download_as_bytes(if_generation_match=generation, **_TRANSFER)), generation
        except Missing:
            return None

    def exists(self, name: str) -> bool:
        """Whether an object is there."""
        with self._google.doing(f"looking for gs://{self.name}/{name}", VIEWER):
            return bool(self._blob(name).exists(**UNRETRIED))

    def list(self, prefix: str = "") -> list[str]:
        """The names that begin with a prefix, to the last page, in order. Raises Missing without the bucket."""
        with self._google.doing(f"listing gs://{self.name}/{prefix}", VIEWER):
            found = self._google.storage.list_blobs(self.name, prefix=prefix, **UNRETRIED)
            return sorted(blob.name for blob in found)

    def link(self, name: str) -> str:
        """Where a person who may read the bucket opens an object in a browser."""
        if not self._google.local:
            return f"https://storage.cloud.google.com/{self.name}/{quote(name)}"
        return f"{self._google.storage_endpoint}/storage/v1/b/{self.name}/o/{quote(name, safe='')}?alt=media"

    def delete(self, name: str) -> None:
        """Delete an object. Deleting what is gone succeeds."""
        try:
            with self._google.doing(f"deleting gs://{self.name}/{name}", USER):
                self._blob(name).delete(**UNRETRIED)
        except Missing:
            return

    def _is_there(self) -> bool:
        try:
            with self._google.doing(f"looking for bucket {self.name}", ADMIN):
                self._google.storage.get_bucket(self.name, **UNRETRIED)
        except Missing:
            return False
        return True

    def _blob(self, name: str) -> Any:
        return self._google.storage.bucket(self.name).blob(name)
