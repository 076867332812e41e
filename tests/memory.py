"""Where the tests' folders lie."""

from __future__ import annotations

import os
import shutil
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
