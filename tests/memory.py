"""Where the tests' folders lie."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOM_BYTES = 8 << 30


def in_memory_if_there_is_room() -> str:
    """``/dev/shm`` where programs may run from it and much is free, else ``/tmp``.

    Clusters, backups and environments have a thousand files each, and some disks take milliseconds to remove one.
    """
    memory = Path("/dev/shm")
    if not memory.is_dir() or os.statvfs(memory).f_flag & os.ST_NOEXEC:
        return "/tmp"
    free = min(shutil.disk_usage(memory).free, psutil.virtual_memory().available)
    return str(memory) if free > ROOM_BYTES else "/tmp"


@contextmanager
def temporary_folder(where: str = "/tmp") -> Iterator[Path]:
    """A folder for as long as the block runs, which other users may pass: PostgreSQL runs as one of its own."""
    folder = Path(tempfile.mkdtemp(prefix="ck-", dir=where))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
