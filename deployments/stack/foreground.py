"""The runs that a person started with ``caretaker run``: which process each has, for whoever finds it dead.

Prefect knows no process of theirs, so a killed one would be "Running" for good. Safety property: the file is there
before the flow's first step, and names the process so that a later one of the same id is not taken for it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from deployments.stack.children import Identity
from deployments.stack.folder import Folder, replace


def remember(folder: Folder, run: UUID) -> None:
    """Write down that this process runs a flow run."""
    identity = Identity.of(os.getpid())
    path = _file(folder, run)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    replace(path, json.dumps(vars(identity) if identity else {}))


def forget(folder: Folder, run: UUID) -> None:
    """The run has told its end, or somebody else has told it."""
    _file(folder, run).unlink(missing_ok=True)


def dead(folder: Folder) -> list[UUID]:
    """The runs whose process is gone."""
    return [UUID(path.stem) for path in (folder.root / "runs").glob("*.json") if not _alive(path)]


def _alive(path: Path) -> bool:
    with suppress(FileNotFoundError):
        record: dict[str, Any] = json.loads(path.read_text())
        identity = Identity.recorded(record)
        return bool(identity and identity.alive)
    return True  # it ended while we looked, and was forgotten


def _file(folder: Folder, run: UUID) -> Path:
    return folder.root / "runs" / f"{run}.json"
