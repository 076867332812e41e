"""Backup runs: physical copies of a running instance, each verified against its manifest before it counts.

Safety property: a run is SUCCESSFUL only after ``pg_verifybackup`` has read every file of it; a copy that a kill left
half-made stands under another name and is swept.
"""

from __future__ import annotations

import secrets
import shutil
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions
from google.cloud.sqladmin_v1 import types
from google.cloud.sqladmin_v1.types import BackupRun, Operation
from google.cloud.sqladmin_v1.types import SqlBackupRunType as RunType

from localcloud.pages import page
from localcloud.rpc import Servicer, rpc
from localcloud.sql.instances import Instances
from localcloud.sql.names import InstanceName, about_instance
from localcloud.sql.operations import SqlOperations, Type

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

Status = types.SqlBackupRunStatus


class Backups(Servicer):
    """google.cloud.sql.v1.SqlBackupRunsService."""

    service = "google.cloud.sql.v1.SqlBackupRunsService"

    def __init__(self, cloud: Cloud, instances: Instances, operations: SqlOperations) -> None:
        self._instances, self._operations, self._store = instances, operations, cloud.store
        self._folder = cloud.state / "sql" / "backups"
        self._messages = cloud.store.messages("sql.backups", BackupRun)
        self._last = cloud.store.documents("sql.backups.last")
        operations.register("sql.backup", self._back_up)
        operations.register("sql.backup.delete", self._remove)

    def start(self, name: InstanceName, type_: RunType, description: str = "", location: str = "") -> Operation:
        """Begin a backup run. Raises NotFound, InvalidArgument when the instance does not serve, Aborted when busy."""
        self._instances.running(name)
        payload: dict[str, Any] = {}
        with self._operations.started(name, "sql.backup", Type.BACKUP_VOLUME, payload) as operation:
            run = self._new(name, type_, description, location)
            operation.backup_context = types.BackupContext(kind="sql#backupContext", backup_id=run.id)
            payload["backup"] = run.id
        return operation

    def data(self, name: InstanceName, identity: int) -> Path:
        """Where the data directory of a backup stands."""
        return self._home(name, identity) / "data"

    def find(self, name: InstanceName, identity: int) -> BackupRun:
        """A backup run. Raises NotFound."""
        found = self._messages.get(_key(name, identity))
        if found is None:
            raise exceptions.NotFound("The requested backup run does not exist.")
        return found

    def forget(self, name: InstanceName) -> None:
        """Remove all backups of an instance."""
        for run in self._runs(name):
            self._messages.delete(_key(name, run.id))
        shutil.rmtree(self._folder / name.project / name.instance, ignore_errors=True)

    @rpc("Insert", types.SqlBackupRunsInsertRequest, Operation, writes=True, resource=about_instance)
    def insert(self, request: types.SqlBackupRunsInsertRequest) -> Operation:
        name, body = InstanceName.of(request), request.body
        return self.start(name, RunType.ON_DEMAND, body.description, body.location)

    @rpc("Get", types.SqlBackupRunsGetRequest, BackupRun, writes=False, resource=about_instance)
    def get(self, request: types.SqlBackupRunsGetRequest) -> BackupRun:
        name = InstanceName.of(request)
        self._instances.get(name)
        return self.find(name, request.id)

    @rpc("List", types.SqlBackupRunsListRequest, types.BackupRunsListResponse, writes=False, resource=about_instance)
    def list_runs(self, request: types.SqlBackupRunsListRequest) -> types.BackupRunsListResponse:
        """The runs in reverse chronological order."""
        name = InstanceName.of(request)
        self._instances.get(name)
        runs = self._runs(name)[::-1]
        items, token = page(runs, request.max_results, request.page_token, default=20, most=1000)
        return types.BackupRunsListResponse(kind="sql#backupRunsList", items=items, next_page_token=token)

    @rpc("Delete", types.SqlBackupRunsDeleteRequest, Operation, writes=True, resource=about_instance)
    def delete(self, request: types.SqlBackupRunsDeleteRequest) -> Operation:
        name = InstanceName.of(request)
        self._instances.get(name)
        run = self.find(name, request.id)
        payload = {"backup": run.id}
        with self._operations.started(name, "sql.backup.delete", Type.DELETE_BACKUP, payload) as operation:
            run.status = Status.DELETION_PENDING
            self._messages.put(_key(name, run.id), run)
            operation.backup_context = types.BackupContext(kind="sql#backupContext", backup_id=run.id)
        return operation

    def _new(self, name: InstanceName, type_: RunType, description: str, location: str) -> BackupRun:
        """Write a run down; its number is Google's, milliseconds since the epoch, and always greater than the last."""
        now = datetime.now(UTC)
        last = self._last.get(str(name)) or {"id": 0}
        identity = max(int(now.timestamp() * 1000), last["id"] + 1)
        instance = self._instances.get(name)
        run = BackupRun(
            kind="sql#backupRun", id=identity, type_=type_, description=description, status=Status.ENQUEUED,
            instance=name.instance, location=location or _multi_region(instance.region), enqueued_time=now,
            window_start_time=now, backup_kind=types.SqlBackupKind.PHYSICAL, database_version=instance.database_version,
            self_link=f"{name.link}/backupRuns/{identity}",
        )  # fmt: skip
        self._last.put(str(name), {"id": identity})
        self._messages.put(_key(name, identity), run)
        return run

    def _back_up(self, name: InstanceName, payload: dict[str, Any]) -> None:
        run = self.find(name, payload["backup"])
        run.status, run.start_time = Status.RUNNING, datetime.now(UTC)
        self._messages.put(_key(name, run.id), run)
        try:
            self._copy(name, run.id)
        except Exception as error:
            if not self._operations.stopping.is_set():
                self._end(name, run, Status.FAILED, str(error))
            raise
        run.max_chargeable_bytes = sum(path.lstat().st_size for path in self.data(name, run.id).rglob("*"))
        self._end(name, run, Status.SUCCESSFUL, "")

    def _copy(self, name: InstanceName, identity: int) -> None:
        home = self._home(name, identity)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True, exist_ok=True)
        making = home / f"attempt-{secrets.token_hex(4)}"
        self._instances.started(name).copy_to(making)
        making.rename(self.data(name, identity))

    def _end(self, name: InstanceName, run: BackupRun, status: IntEnum, failure: str) -> None:
        run.status, run.end_time = status, datetime.now(UTC)
        if failure:
            run.error = types.OperationError(kind="sql#operationError", code="INTERNAL_ERROR", message=failure)
        self._messages.put(_key(name, run.id), run)

    def _remove(self, name: InstanceName, payload: dict[str, Any]) -> None:
        shutil.rmtree(self._home(name, payload["backup"]), ignore_errors=True)
        self._messages.delete(_key(name, payload["backup"]))

    def _runs(self, name: InstanceName) -> list[BackupRun]:
        return self._messages.list(f"{name}/backupRuns/")

    def _home(self, name: InstanceName, identity: int) -> Path:
        return self._folder / name.project / name.instance / str(identity)


def _key(name: InstanceName, identity: int) -> str:
    return f"{name}/backupRuns/{identity:020d}"


def _multi_region(region: str) -> str:
    """The multi-region nearest to the instance, where Google keeps backups by default."""
    continent = region.partition("-")[0]
    return {"europe": "eu", "asia": "asia"}.get(continent, "us")
