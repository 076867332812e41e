"""Where the write-ahead log of an instance is archived, when point-in-time recovery is on.

An archive is a folder that belongs to one incarnation of a data directory: whenever the data are replaced (created,
restored, cloned), their history begins anew, and so does the archive. Its name stands inside the data directory, so
both change places in the same rename.

Safety property: a copied data directory never archives into the archive of what it was copied from.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import sys
from pathlib import Path

from embedded.programs import execute
from localcloud.sql import archive_segment
from localcloud.sql.archive_segment import MARKER
from localcloud.sql.names import InstanceName
from localcloud.sql.trash import Trash

#: A segment with anything in it is closed and archived after this time, even while the local cloud does not run.
TIMEOUT_SECONDS = 60
#: Segments of 4 MB: their numbers in one file of the log's addresses (see embedded.postgres.WAL_SEGMENT_MB).
SEGMENTS_PER_LOG = 1024
_START = re.compile(r"^START WAL LOCATION: .*\(file ([0-9A-F]{24})\)", re.MULTILINE)
_SEGMENT = re.compile(r"[0-9A-F]{24}")


class Archives:
    """The archives of all instances."""

    def __init__(self, folder: Path, trash: Trash) -> None:
        self._folder, self._trash = folder, trash

    def home(self, name: InstanceName) -> Path:
        """The folder of an instance's archives."""
        return self._folder / name.project / name.instance

    def settings(self, name: InstanceName) -> dict[str, str]:
        """The server's settings: they are the same whether archiving is on or off, so that neither needs a restart."""
        command = [sys.executable, "-I", "-S", archive_segment.__file__, str(self.home(name))]
        return {
            "archive_mode": "on",
            "archive_command": f"{shlex.join(command).replace('%', '%%')} %p",
            "archive_timeout": str(TIMEOUT_SECONDS),
        }

    def begin(self, data: Path, *, enabled: bool) -> None:
        """Give a data directory whose server does not run an archive of its own, or none."""
        (data / MARKER).unlink(missing_ok=True)
        if enabled:
            _write(data / MARKER, secrets.token_hex(8))

    def align(self, name: InstanceName, data: Path, *, enabled: bool) -> None:
        """Turn archiving on or off, also of a running server. What was archived goes with it."""
        if enabled and current(data) is None:
            self.begin(data, enabled=True)
        elif not enabled:
            (data / MARKER).unlink(missing_ok=True)
            self.forget(name)

    def keep_only(self, name: InstanceName, archive: str | None) -> None:
        """Remove the archives of earlier incarnations."""
        for folder in self.home(name).glob("*"):
            if folder.name != archive:
                self._trash.take(folder)

    def prune(self, name: InstanceName, archive: str, first: str) -> None:
        """Remove what is older than a segment."""
        execute("pg_archivecleanup", ["--clean-backup-history", str(self.home(name) / archive), first], {})

    def forget(self, name: InstanceName) -> None:
        """Remove all archives of an instance."""
        self._trash.take(self.home(name))


def current(data: Path) -> str | None:
    """The archive of a data directory, or of a backup's."""
    try:
        return (data / MARKER).read_text()
    except FileNotFoundError:
        return None


def archived(data: Path, segment: str) -> bool:
    """Whether the server on a data directory has a closed segment no longer waiting for its archive."""
    return not (data / "pg_wal" / "archive_status" / f"{segment}.ready").exists()


def first_segment(backup: Path) -> str | None:
    """The segment from which on a backup needs the log; None when its label cannot be read."""
    try:
        found = _START.search((backup / "backup_label").read_text(errors="replace"))
    except FileNotFoundError:
        return None
    return found.group(1) if found else None


def gap(folder: Path, first: str) -> str | None:
    """The first segment, from one on, that an archive lacks though it has a later one."""
    numbers = {_number(path.name) for path in folder.glob("*") if _SEGMENT.fullmatch(path.name)}
    begin, end = _number(first), max(numbers, default=-1)
    lost = next((number for number in range(begin, end) if number not in numbers), None)
    return None if lost is None else f"{first[:8]}{lost // SEGMENTS_PER_LOG:08X}{lost % SEGMENTS_PER_LOG:08X}"


def _number(segment: str) -> int:
    return int(segment[8:16], 16) * SEGMENTS_PER_LOG + int(segment[16:], 16)


def _write(path: Path, text: str) -> None:
    scratch = path.with_name(f"{path.name}.new")
    with scratch.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
