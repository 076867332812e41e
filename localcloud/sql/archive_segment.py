"""Archives one segment of the write-ahead log: PostgreSQL's ``archive_command``, run in the data directory.

Safety property: it succeeds only once the segment is on disk, whole, under its own name, and it never replaces one that
is there by another; until it succeeds, PostgreSQL keeps the segment and asks again. The file ``wal.archive`` names the
archive of this data directory; without it nothing is archived. Only the standard library is imported, for speed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

MARKER = "wal.archive"


def main(home: str, segment: str) -> int:
    """Archive a segment below ``home``; 0 when it is safe there, or need not be."""
    marker = Path(MARKER)
    if not marker.exists():
        return 0
    folder = Path(home) / marker.read_text()
    folder.mkdir(parents=True, exist_ok=True)
    content, target = Path(segment).read_bytes(), folder / Path(segment).name
    if target.exists():
        # PostgreSQL asks again for what it was told when it was killed at that moment.
        return 0 if target.read_bytes() == content else 1
    _write(target.with_name(f".{target.name}.new"), content)
    target.with_name(f".{target.name}.new").rename(target)
    _sync(folder, os.O_RDONLY)
    return 0


def _write(path: Path, content: bytes) -> None:
    """Write a file down to disk. The zeros that fill up a segment closed early are a hole and take no space."""
    path.write_bytes(content.rstrip(b"\0"))
    os.truncate(path, len(content))
    _sync(path, os.O_RDWR)


def _sync(path: Path, how: int) -> None:
    descriptor = os.open(path, how)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
