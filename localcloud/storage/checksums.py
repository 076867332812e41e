"""The checksums that an uploader gave: an upload that does not match them is refused, and nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.storage import errors
from localcloud.storage.blobs import Content


@dataclass(frozen=True)
class Checksums:
    """MD5 and CRC32C in base64, empty where none was given."""

    md5: str = ""
    crc32c: str = ""

    @classmethod
    def read(cls, given: Mapping[str, Any], header: str = "") -> Checksums:
        """From an object's metadata and the header ``x-goog-hash`` (``crc32c=…,md5=…``)."""
        found = dict(part.strip().split("=", 1) for part in header.split(",") if "=" in part)
        return cls(
            str(given.get("md5Hash") or found.get("md5", "")), str(given.get("crc32c") or found.get("crc32c", ""))
        )

    def check(self, content: Content) -> None:
        """Raises InvalidArgument."""
        pairs = (("MD5 hash", self.md5, content.md5), ("CRC32C", self.crc32c, content.crc32c))
        for name, wanted, found in pairs:
            if wanted and wanted != found:
                raise errors.invalid(f'Provided {name} "{wanted}" doesn\'t match calculated {name} "{found}".')
