"""Backup runs: physical copies of a running instance, on demand and automated, each verified before it counts.

Safety property: a run is SUCCESSFUL only after ``pg_verifybackup`` has read every file of it. Damage that the instance
itself has is copied as it is, as a snapshot of its disk would: what a backup holds is for a restore to find out.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from google.cloud.sqladmin_v1 import types
from google.cloud.sqladmin_v1.types import BackupRun, Operation
from google.cloud.sqladmin_v1.types import SqlBackupRunType as RunType

from localcloud.pages import page
from localcloud.rpc import Servicer, rpc
from localcloud.sql.instances import Instances
from localcloud.sql.names import InstanceName, about_instance
from localcloud.sql.operations import SqlOperations, Type
from localcloud.sql.places import Places
from localcloud.sql.runs import Runs, Status, now

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

#: Where a fault can be planted in the work of a backup run.
COPY = "SqlBackupRunsService.Copy"


class Backups(Servicer):
    """google.cloud.sql.v1.SqlBackupRunsService."""

    service = "google.cloud.sql.v1.SqlBackupRunsService"

    def __init__(self, cloud: Cloud, instances: Instances, operations: SqlOperations, runs: Runs) -> None:
        self._instances, self._operations, self._runs = instances, operations, runs
        self._places = Places(cloud.faults)
        #: Called with the instance after each run that succeeded.
        self.when_done: Callable[[InstanceName], None] = lambda _: None
        operations.register("sql.backup", self._back_up)
        operations.register("sql.backup.delete", self._remove)

    def automated(self, name: InstanceName, window: datetime, at: datetime | None = None) -> Operation:
        """Begin the automated run of a backup window.

        ``at`` backdates the times that the run tells. Raises as ``_start``.
        """
        return self._start(name, RunType.AUTOMATED, window, at)

    @rpc("Insert", types.SqlBackupRunsInsertRequest, Operation, writes=True, resource=about_instance)
    def insert(self, request: types.SqlBackupRunsInsertRequest) -> Operation:
        name, body = InstanceName.of(request), request.body
        told = {"description": body.description, "location": body.location}
        return self._start(name, RunType.ON_DEMAND, None, None, **told)

    @rpc("Get", types.SqlBackupRunsGetRequest, BackupRun, writes=False, resource=about_instance)
    def get(self, request: types.SqlBackupRunsGetRequest) -> BackupRun:
        name = InstanceName.of(request)
        self._instances.get(name)
        return self._runs.find(name, request.id)

    @rpc("List", types.SqlBackupRunsListRequest, types.BackupRunsListResponse, writes=False, resource=about_instance)
    def list_runs(self, request: types.SqlBackupRunsListRequest) -> types.BackupRunsListResponse:
        """The runs in reverse chronological order."""
        name = InstanceName.of(request)
        self._instances.get(name)
        runs = self._runs.of(name)[::-1]
        items, token = page(runs, request.max_results, request.page_token, default=20, most=1000)
        return types.BackupRunsListResponse(kind="sql#backupRunsList", items=items, next_page_token=token)

    @rpc("Delete", types.SqlBackupRunsDeleteRequest, Operation, writes=True, resource=about_instance)
    def delete(self, request: types.SqlBackupRunsDeleteRequest) -> Operation:
        name = InstanceName.of(request)
        self._instances.get(name)
        run = self._runs.find(name, request.id)
        payload = {"backup": run.id}
        with self._operations.started(name, "sql.backup.delete", Type.DELETE_BACKUP, payload) as operation:
            run.status = Status.DELETION_PENDING
            self._runs.put(name, run)
            operation.backup_context = types.BackupContext(kind="sql#backupContext", backup_id=run.id)
        return operation

    def _start(
        self, name: InstanceName, type_: RunType, window: datetime | None, at: datetime | None, **told: str
    ) -> Operation:
        """Begin a backup run. Raises NotFound, InvalidArgument when the instance does not serve, Aborted when busy."""
        self._instances.running(name)
        begun = at or now()
        payload: dict[str, Any] = {"later": (now() - begun).total_seconds() if at else 0.0}
        with self._operations.started(name, "sql.backup", Type.BACKUP_VOLUME, payload) as operation:
            run = self._runs.new(name, type_, window or begun, begun, **told)
            operation.backup_context = types.BackupContext(kind="sql#backupContext", backup_id=run.id)
            payload["backup"] = run.id
        return operation

    def _back_up(self, name: InstanceName, payload: dict[str, Any]) -> None:
        run = self._runs.find(name, payload["backup"])
        if run.status != Status.SUCCESSFUL:  # else a kill came between the run's end and the operation's
            self._attempt(name, run, timedelta(seconds=payload["later"]))
        retention = self._instances.get(name).settings.backup_configuration.backup_retention_settings
        self._runs.let_go(name, retention.retained_backups)
        self.when_done(name)

    def _attempt(self, name: InstanceName, run: BackupRun, later: timedelta) -> None:
        run.status, run.start_time = Status.RUNNING, now() - later
        self._runs.put(name, run)
        try:
            self._places.meet(COPY, name)
            self._copy(name, run.id)
        except Exception as error:
            if not self._operations.stopping.is_set():
                self._runs.end(name, run, Status.FAILED, now() - later, getattr(error, "message", str(error)))
            raise
        copied = self._runs.data(name, run.id).rglob("*")
        run.max_chargeable_bytes = sum(path.lstat().st_size for path in copied)
        self._runs.end(name, run, Status.SUCCESSFUL, now() - later)

    def _copy(self, name: InstanceName, identity: int) -> None:
        home = self._runs.home(name, identity)
        self._instances.trash.take(home)
        home.mkdir(parents=True, exist_ok=True)
        making = home / f"attempt-{secrets.token_hex(4)}"
        self._instances.started(name).copy_to(making)
        making.rename(self._runs.data(name, identity))

    def _remove(self, name: InstanceName, payload: dict[str, Any]) -> None:
        self._runs.remove(name, payload["backup"])
