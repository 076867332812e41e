"""Removes data directories behind the back of the operation that is rid of them.

A data directory has a thousand files, and a file system may take a millisecond for each (ext4 with ``discard`` does).
So it is renamed away at once, which no kill can do by half, and its files are removed meanwhile; what a stop leaves is
removed at the next start.
"""

from __future__ import annotations

import secrets
import shutil
import threading
from contextlib import suppress
from pathlib import Path


class Trash:
    """A folder, on the file system of the data, from which everything disappears."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def take(self, path: Path) -> None:
        """Remove a folder. Succeeds when it is gone."""
        self._folder.mkdir(parents=True, exist_ok=True)
        gone = self._folder / secrets.token_hex(8)
        with suppress(FileNotFoundError):
            path.rename(gone)
            self._remove(gone)

    def empty(self) -> None:
        """Remove what an earlier process left."""
        for left in self._folder.glob("*"):
            self._remove(left)

    def _remove(self, path: Path) -> None:
        threading.Thread(target=shutil.rmtree, args=(path, True), name="sql-trash", daemon=True).start()
