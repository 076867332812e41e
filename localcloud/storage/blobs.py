"""The contents of objects, one immutable file each.

Safety property: a file is whole and on disk, name and all, before any record names it; it is removed only after the
record that named it is gone. After a crash there can be files without a record, never a record without its file.
"""

from __future__ import annotations

import base64
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c

CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Content:
    """One file and what its bytes amount to; digests in base64, as the JSON API writes them."""

    id: str
    size: int
    md5: str
    crc32c: str


class Blobs:
    """The folder of contents."""

    def __init__(self, folder: Path) -> None:
        self._kept, self._incoming = folder / "blobs", folder / "incoming"
        for made in (self._kept, self._incoming):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, content_id: str) -> Path:
        return self._kept / content_id

    def open(self, content_id: str) -> BinaryIO:
        """The content for reading; it stays readable when the object is deleted meanwhile."""
        return self.path(content_id).open("rb")

    def receive(self) -> Incoming:
        """Begin a new content."""
        content_id = uuid.uuid4().hex
        return Incoming(content_id, self._incoming / content_id, self._kept)

    def copy(self, chunks: Iterable[bytes]) -> Content:
        """Keep these bytes as a new content."""
        with closing(self.receive()) as incoming:
            for chunk in chunks:
                incoming.write(chunk)
            return incoming.keep()

    def read(self, content_ids: Iterable[str]) -> Iterator[bytes]:
        """The bytes of contents, one after the other."""
        for content_id in content_ids:
            with self.open(content_id) as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk

    def remove(self, content_id: str) -> None:
        self.path(content_id).unlink(missing_ok=True)

    def remove_all_but(self, named: set[str]) -> None:
        """Remove what a killed process left: contents that no record names, and those that were never finished."""
        for left in self._incoming.iterdir():
            left.unlink()
        for kept in self._kept.iterdir():
            if kept.name not in named:
                kept.unlink()


class Incoming:
    """A content that is being received. It is gone unless ``keep`` was called."""

    def __init__(self, content_id: str, path: Path, kept: Path) -> None:
        self.id, self._path, self._kept = content_id, path, kept
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._digests = Digests()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._digests.update(data)

    def keep(self) -> Content:
        """Make it durable and give it its final name."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._path.replace(self._kept / self.id)
        sync_folder(self._kept)
        return self._digests.content(self.id)

    def spooled(self) -> Path:
        """The file as it is now, to be read before ``close``."""
        self._file.flush()
        return self._path

    def close(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)


class Digests:
    """Size, MD5 and CRC32C of bytes that pass by."""

    def __init__(self) -> None:
        self._size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc32c: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]

    def update(self, data: bytes) -> None:
        self._size += len(data)
        self._md5.update(data)
        self._crc32c.update(data)

    def content(self, content_id: str) -> Content:
        return Content(content_id, self._size, _base64(self._md5.digest()), _base64(self._crc32c.digest()))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
