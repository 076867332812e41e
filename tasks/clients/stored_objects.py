"""What Cloud Storage knows of single objects: whether they are there, how large they are, and their checksums.

Safety property: it reads metadata only. "Not allowed" is never "not there".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from tasks.clients.google import UNRETRIED, Google
from tasks.clients.storage import VIEWER
from tasks.models import Frozen

AT_ONCE = 8


class ObjectFacts(Frozen):
    """An object's size in bytes, and its MD5 and CRC32C in hexadecimal."""

    size: int
    md5: str
    crc32c: str


class StoredObjects:
    """The objects of one bucket."""

    def __init__(self, google: Google, bucket: str) -> None:
        self._google, self.bucket = google, bucket

    def facts(self, name: str) -> ObjectFacts | None:
        """What is known of an object; None where there is none."""
        with self._google.doing(f"looking at gs://{self.bucket}/{name}", VIEWER):
            found = self._google.storage.bucket(self.bucket).get_blob(name, **UNRETRIED)
        if found is None:
            return None
        return ObjectFacts(size=found.size or 0, md5=hexadecimal(found.md5_hash), crc32c=hexadecimal(found.crc32c))

    def all_facts(self, names: Iterable[str]) -> dict[str, ObjectFacts | None]:
        """The same of several, some at once."""
        wanted = list(names)
        with ThreadPoolExecutor(AT_ONCE, "objects") as pool:
            return dict(zip(wanted, pool.map(self.facts, wanted), strict=True))


def hexadecimal(checksum: str | None) -> str:
    """A checksum in hexadecimal, whether it was told so or in base64; lower case."""
    text = (checksum or "").strip()
    if len(text) in (8, 32) and all(letter in "0123456789abcdefABCDEF" for letter in text) and not text.endswith("="):
        return text.lower()
    try:
        return base64.b64decode(text, validate=True).hex()
    except (binascii.Error, ValueError):
        return text.lower()
