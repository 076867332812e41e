"""The backup runs of every instance: what is written down of them, and where their copies lie.

Safety property: a copy is whole exactly when it bears the name ``data``: one that a kill left half-made stands under
another name and is swept by the next attempt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from google.api_core import exceptions
from google.cloud.sqladmin_v1 import types
from google.cloud.sqladmin_v1.types import BackupRun
from google.cloud.sqladmin_v1.types import SqlBackupRunType as RunType

from localcloud.sql.instances import Instances
from localcloud.sql.names import InstanceName

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

Status = types.SqlBackupRunStatus


class Runs:
    """Every backup run, as a stored message and as a copied data directory."""

    def __init__(self, cloud: Cloud, instances: Instances) -> None:
        self._instances = instances
        self._folder = cloud.state / "sql" / "backups"
        self._messages = cloud.store.messages("sql.backups", BackupRun)
        self._held: Counter[str] = Counter()
        self._last = cloud.store.documents("sql.backups.last")

    def home(self, name: InstanceName, identity: int) -> Path:
        """The folder that a run has for itself."""
        return self._folder / name.project / name.instance / str(identity)

    def data(self, name: InstanceName, identity: int) -> Path:
        """Where the data directory of a backup stands."""
        return self.home(name, identity) / "data"

    def find(self, name: InstanceName, identity: int) -> BackupRun:
        """A backup run. Raises NotFound."""
        found = self._messages.get(_key(name, identity))
        if found is None:
            raise exceptions.NotFound("The requested backup run does not exist.")
        return found

    def of(self, name: InstanceName) -> list[BackupRun]:
        """The runs of an instance, oldest first."""
        return self._messages.list(f"{name}/backupRuns/")

    def new(self, name: InstanceName, type_: RunType, window: datetime, begun: datetime, **more: str) -> BackupRun:
        """Write a run down; its number is Google's, milliseconds since the epoch, and always greater than the last."""
        last = self._last.get(str(name)) or {"id": 0}
        identity = max(int(begun.timestamp() * 1000), last["id"] + 1)
        instance = self._instances.get(name)
        run = BackupRun(
            kind="sql#backupRun", id=identity, type_=type_, status=Status.ENQUEUED, instance=name.instance,
            description=more.get("description", ""), location=more.get("location") or _multi_region(instance.region),
            enqueued_time=begun, window_start_time=window, backup_kind=types.SqlBackupKind.PHYSICAL,
            database_version=instance.database_version, self_link=f"{name.link}/backupRuns/{identity}",
        )  # fmt: skip
        self._last.put(str(name), {"id": identity})
        self.put(name, run)
        return run

    def put(self, name: InstanceName, run: BackupRun) -> None:
        self._messages.put(_key(name, run.id), run)

    def end(self, name: InstanceName, run: BackupRun, status: IntEnum, at: datetime, failure: str = "") -> None:
        """Write down how a run ended."""
        run.status, run.end_time = status, at
        if failure:
            run.error = types.OperationError(kind="sql#operationError", code="INTERNAL_ERROR", message=failure)
        self.put(name, run)

    def remove(self, name: InstanceName, identity: int) -> None:
        """Remove a run with its copy. Succeeds when it is gone."""
        self._instances.trash.take(self.home(name, identity))
        self._messages.delete(_key(name, identity))

    @contextmanager
    def held(self, name: InstanceName, identity: int) -> Iterator[Path]:
        """The data of a backup, which retention does not let go while they are read."""
        key = _key(name, identity)
        self._held[key] += 1
        try:
            yield self.data(name, identity)
        finally:
            self._held[key] -= 1

    def let_go(self, name: InstanceName, retained: int) -> None:
        """Remove the automated runs that retention lets go. One that is being read goes after the next backup."""
        for run in surplus(self.of(name), retained):
            if not self._held[_key(name, run.id)]:
                self.remove(name, run.id)

    def forget(self, name: InstanceName) -> None:
        """Remove all runs of an instance."""
        for run in self.of(name):
            self._messages.delete(_key(name, run.id))
        self._instances.trash.take(self._folder / name.project / name.instance)


def surplus(runs: list[BackupRun], retained: int) -> list[BackupRun]:
    """The automated runs that retention by count lets go: all that are older than the newest ``retained`` good ones.

    A backup on demand is never among them: https://cloud.google.com/sql/docs/postgres/backup-recovery/backups
    """
    automated = sorted((run for run in runs if run.type_ == RunType.AUTOMATED), key=lambda run: run.id)
    good = [run.id for run in automated if run.status == Status.SUCCESSFUL]
    if len(good) < retained:
        return []
    oldest_kept = good[-retained]
    return [run for run in automated if run.id < oldest_kept]


def now() -> datetime:
    return datetime.now(UTC)


def _key(name: InstanceName, identity: int) -> str:
    return f"{name}/backupRuns/{identity:020d}"


def _multi_region(region: str) -> str:
    """The multi-region nearest to the instance, where Google keeps backups by default."""
    continent = region.partition("-")[0]
    return {"europe": "eu", "asia": "asia"}.get(continent, "us")
