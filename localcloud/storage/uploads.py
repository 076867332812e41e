"""Resumable uploads (https://cloud.google.com/storage/docs/performing-resumable-uploads).

Safety property: what a chunk's answer acknowledged is on disk; after a crash the session goes on from there. A session
that was finished answers with the same object again.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from google.api_core import exceptions

from localcloud.storage import errors, fields
from localcloud.storage.blobs import CHUNK_BYTES, Blobs
from localcloud.storage.checksums import Checksums
from localcloud.storage.conditions import Conditions
from localcloud.storage.objects import Objects, Resource
from localcloud.store import Store

QUANTUM_BYTES = 256 * 1024
_LIFE_SECONDS = 7 * 24 * 3600
_RANGE = re.compile(r"bytes (?:(?P<first>\d+)-(?P<last>\d+)|\*)/(?P<total>\d+|\*)")


@dataclass(frozen=True)
class Span:
    """A ``Content-Range`` of a chunk: its first byte, how many, and the total size where it is known."""

    first: int
    length: int
    total: int | None

    @classmethod
    def read(cls, header: str, length: int) -> Span | None:
        """None for ``bytes */…``, a question after the state. Without a header the body is the whole."""
        if not header:
            return cls(0, length, length)
        found = _RANGE.fullmatch(header)
        if found is None:
            raise errors.invalid(f"Failed to parse Content-Range header: '{header}'")
        total = None if found["total"] == "*" else int(found["total"])
        if found["first"] is None:
            return None
        first, last = int(found["first"]), int(found["last"])
        if last - first + 1 != length:
            raise errors.invalid(f"The body has {length} bytes, Content-Range says '{header}'.")
        return cls(first, length, total)


@dataclass(frozen=True)
class Session:
    """An upload that was begun. ``received`` bytes of it are on disk; ``finished`` is the object that it became."""

    id: str
    bucket: str
    name: str
    given: dict[str, Any]
    conditions: dict[str, int | None]
    begun: float
    received: int = 0
    finished: dict[str, Any] | None = None


class Uploads:
    """Sessions by id, with one growing file each."""

    def __init__(self, store: Store, objects: Objects, blobs: Blobs, folder: Path) -> None:
        self._objects, self.blobs, self._folder = objects, blobs, folder
        self._sessions = store.documents("storage.uploads")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, bucket: str, name: str, given: Mapping[str, Any], conditions: Conditions) -> Session:
        """Raises what the insert would raise now."""
        self._objects.check_insert(bucket, name, conditions)
        fields.of_object(given)
        session = Session(uuid.uuid4().hex, bucket, name, dict(given), asdict(conditions), time.time())
        self._path(session).touch(mode=0o600)
        self._save(session)
        return session

    def get(self, session_id: str) -> Session:
        """Raises NotFound."""
        found = self._sessions.get(session_id)
        if found is None:
            raise exceptions.NotFound(f"No such upload: {session_id}")
        return Session(**found)

    def add(self, session: Session, span: Span, chunk: Path) -> Session:
        """Append the part of a chunk that is new, durably. A chunk that leaves a gap, or an odd one, is refused."""
        if span.first > session.received:
            raise errors.invalid(f"The chunk begins at {span.first}, but {session.received} bytes are here.")
        end = span.first + span.length
        if end != span.total and end % QUANTUM_BYTES:
            raise errors.invalid(f"A chunk that is not the last must end on a multiple of {QUANTUM_BYTES} bytes.")
        if end > session.received:
            self._append(session, chunk, session.received - span.first)
            session = Session(**(asdict(session) | {"received": end}))
            self._save(session)
        return session

    def finish(self, session: Session, checksums: Checksums) -> Resource:
        """Make what was received an object, in the same transaction in which the session is finished."""
        content = self.blobs.copy(_chunks(self._path(session), session.received))

        def record(finished: Resource) -> None:
            self._save(Session(**(asdict(session) | {"finished": finished})))

        finished = self._objects.insert(
            session.bucket, session.name, session.given, content, Conditions(**session.conditions), checksums, record
        )
        self._path(session).unlink(missing_ok=True)
        return finished

    def cancel(self, session: Session) -> None:
        self._sessions.delete(session.id)
        self._path(session).unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Remove the sessions that are older than a week, as Google does, and files without a session."""
        for session_id, found in self._sessions.list():
            if found["begun"] < time.time() - _LIFE_SECONDS:
                self._sessions.delete(session_id)
        for left in self._folder.iterdir():
            if self._sessions.get(left.name) is None:
                left.unlink()

    def _append(self, session: Session, chunk: Path, skip: int) -> None:
        # What lies beyond the recorded size was written by a chunk that was never acknowledged.
        with self._path(session).open("r+b") as file, chunk.open("rb") as new:
            file.truncate(session.received)
            file.seek(session.received)
            new.seek(skip)
            while data := new.read(CHUNK_BYTES):
                file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _path(self, session: Session) -> Path:
        return self._folder / session.id

    def _save(self, session: Session) -> None:
        self._sessions.put(session.id, asdict(session))


def _chunks(path: Path, size: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        while size and (data := file.read(min(CHUNK_BYTES, size))):
            size -= len(data)
            yield data
