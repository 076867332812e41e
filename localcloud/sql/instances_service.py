"""google.cloud.sql.v1.SqlInstancesService: what is asked of instances, checked and begun.

Safety property: every check and the first write are in one transaction with the operation; a refused call changes
nothing.
"""

from __future__ import annotations

from typing import Any

from google.api_core import exceptions
from google.cloud.sqladmin_v1 import types
from google.cloud.sqladmin_v1.types import DatabaseInstance as Instance
from google.cloud.sqladmin_v1.types import Operation, Settings

from embedded.postgres import PostgresError, check_socket
from localcloud.pages import page
from localcloud.rpc import Servicer, rpc
from localcloud.sql.flags import VERSION
from localcloud.sql.instances import Instances, State, described
from localcloud.sql.listing import matches
from localcloud.sql.names import InstanceName, about_instance, about_project, check_instance_name
from localcloud.sql.operations import SqlOperations, Type
from localcloud.sql.recovery import Recovery
from localcloud.sql.roles import BASIC_USER, verifier
from localcloud.sql.runs import Runs, Status
from localcloud.sql.settings import checked, merged, needs_restart

PROTECTED = (
    "The instance is protected. Please disable the deletion protection and try again. To disable deletion protection, "
    "update the instance settings with deletionProtectionEnabled set to false."
)
EXISTS = (
    "The Cloud SQL instance already exists. When you delete an instance, you cannot reuse the name of the deleted "
    "instance until one week from the deletion date."
)


class InstancesService(Servicer):
    """The calls on instances; the work is in ``lifecycle``."""

    service = "google.cloud.sql.v1.SqlInstancesService"

    def __init__(self, instances: Instances, runs: Runs, recovery: Recovery, operations: SqlOperations) -> None:
        self._instances, self._runs, self._recovery, self._operations = instances, runs, recovery, operations

    @rpc("Insert", types.SqlInstancesInsertRequest, Operation, writes=True,
         resource=lambda r: f"projects/{r.project}/instances/{r.body.name}")
    def insert(self, request: types.SqlInstancesInsertRequest) -> Operation:
        body = request.body
        name = InstanceName(request.project, body.name)
        _check_new(name, body)
        instance = described(name, body, checked(body.settings))
        self._check_reachable(instance)
        secret = verifier(BASIC_USER, body.root_password) if body.root_password else None
        with self._operations.started(name, "sql.create", Type.CREATE, {"verifier": secret}) as operation:
            self._put_new(name, instance)
        return operation

    @rpc("Get", types.SqlInstancesGetRequest, Instance, writes=False, resource=about_instance)
    def get(self, request: types.SqlInstancesGetRequest) -> Instance:
        return self._instances.get(InstanceName.of(request))

    @rpc("List", types.SqlInstancesListRequest, types.InstancesListResponse, writes=False, resource=about_project)
    def list(self, request: types.SqlInstancesListRequest) -> types.InstancesListResponse:
        found = [item for item in self._instances.of_project(request.project) if matches(item, request.filter)]
        items, token = page(found, request.max_results, request.page_token, default=500, most=1000)
        return types.InstancesListResponse(kind="sql#instancesList", items=items, next_page_token=token)

    @rpc("Patch", types.SqlInstancesPatchRequest, Operation, writes=True, resource=about_instance)
    def patch(self, request: types.SqlInstancesPatchRequest) -> Operation:
        """Change the settings that the body sets, and leave the others."""
        name = InstanceName.of(request)
        before = self._instances.get(name).settings
        return self._change(name, request.body, checked(merged(before, request.body.settings)))

    @rpc("Update", types.SqlInstancesUpdateRequest, Operation, writes=True, resource=about_instance)
    def update(self, request: types.SqlInstancesUpdateRequest) -> Operation:
        """Replace the settings as a whole; the body must bear the settings version that was read."""
        name = InstanceName.of(request)
        self._instances.get(name)
        if request.body.settings.settings_version is None:
            raise exceptions.InvalidArgument("Invalid request: Missing parameter: settings.settingsVersion.")
        return self._change(name, request.body, checked(request.body.settings))

    @rpc("Delete", types.SqlInstancesDeleteRequest, Operation, writes=True, resource=about_instance)
    def delete(self, request: types.SqlInstancesDeleteRequest) -> Operation:
        name = InstanceName.of(request)
        instance = self._instances.get(name)
        if request.enable_final_backup:
            raise exceptions.MethodNotImplemented("the local cloud does not implement enable_final_backup")
        if instance.settings.deletion_protection_enabled:
            raise exceptions.FailedPrecondition(PROTECTED)
        with self._operations.started(name, "sql.delete", Type.DELETE, {}) as operation:
            self._instances.mark(name, State.PENDING_DELETE)
        return operation

    @rpc("Restart", types.SqlInstancesRestartRequest, Operation, writes=True, resource=about_instance)
    def restart(self, request: types.SqlInstancesRestartRequest) -> Operation:
        name = InstanceName.of(request)
        self._instances.running(name)
        with self._operations.started(name, "sql.restart", Type.RESTART, {}) as operation:
            pass
        return operation

    @rpc("RestoreBackup", types.SqlInstancesRestoreBackupRequest, Operation, writes=True, resource=about_instance)
    def restore_backup(self, request: types.SqlInstancesRestoreBackupRequest) -> Operation:
        """Replace the data of the instance named by those of a backup of it, or of another one."""
        name, context = InstanceName.of(request), request.body.restore_backup_context
        if not context.backup_run_id:
            raise exceptions.MethodNotImplemented("the local cloud restores by restore_backup_context only")
        source = InstanceName(context.project or name.project, context.instance_id or name.instance)
        self._check_restore(name, source, context.backup_run_id)
        payload = {"source": str(source), "backup": context.backup_run_id}
        with self._operations.started(name, "sql.restore", Type.RESTORE_VOLUME, payload) as operation:
            self._instances.mark(name, State.MAINTENANCE)
        return operation

    @rpc("Clone", types.SqlInstancesCloneRequest, Operation, writes=True, resource=about_instance)
    def clone(self, request: types.SqlInstancesCloneRequest) -> Operation:
        """Make a new instance from one as it is now, or as it was at a time within its recoverable window."""
        source, context = InstanceName.of(request), request.body.clone_context
        if context.pitr_timestamp_ms or context.database_names or context.source_instance_deletion_time:
            raise exceptions.MethodNotImplemented("the local cloud clones whole instances that exist only")
        name = InstanceName(context.destination_project or source.project, context.destination_instance_name)
        origin = self._instances.get(source)
        kind, payload = self._clone_work(source, context)
        _check_new(name, origin)
        instance = described(name, origin, Settings(origin.settings))
        self._check_reachable(instance)
        with self._operations.started(name, kind, Type.CREATE_CLONE, payload) as operation:
            self._put_new(name, instance)
        return operation

    @rpc("GetLatestRecoveryTime", types.SqlInstancesGetLatestRecoveryTimeRequest,
         types.SqlInstancesGetLatestRecoveryTimeResponse, writes=False, resource=about_instance)
    def get_latest_recovery_time(
        self, request: types.SqlInstancesGetLatestRecoveryTimeRequest
    ) -> types.SqlInstancesGetLatestRecoveryTimeResponse:
        """The ends of the recoverable window; neither is told while there is no backup to recover from."""
        window = self._recovery.window(InstanceName.of(request))
        answer = types.SqlInstancesGetLatestRecoveryTimeResponse(kind="sql#getLatestRecoveryTime")
        if window:
            answer.earliest_recovery_time, answer.latest_recovery_time = window.earliest, window.latest
        return answer

    def _clone_work(self, source: InstanceName, context: types.CloneContext) -> tuple[str, dict[str, Any]]:
        if not context.point_in_time:
            self._instances.running(source)
            return "sql.clone", {"source": str(source)}
        at, archive = context.point_in_time, self._recovery.archive(source)
        base = self._recovery.base_for(source, at)
        where = {"source": str(source), "archive": archive, "backup": base.backup, "first": base.first}
        return "sql.recover", {**where, "time": at.isoformat()}

    def _change(self, name: InstanceName, body: Instance, after: Settings) -> Operation:
        before = self._instances.get(name).settings
        payload: dict[str, Any] = {"restart": needs_restart(before, after), "before": Settings.to_json(before)}
        with self._operations.started(name, "sql.update", Type.UPDATE, payload) as operation:
            instance = self._instances.get(name)
            _check_change(instance, body, before)
            after.settings_version = before.settings_version + 1
            instance.settings, instance.etag = after, str(after.settings_version)
            self._instances.put(name, instance)
        return operation

    def _put_new(self, name: InstanceName, instance: Instance) -> None:
        if self._instances.find(name) is not None:
            raise exceptions.AlreadyExists(EXISTS)
        self._instances.put(name, instance)

    def _check_reachable(self, instance: Instance) -> None:
        try:
            check_socket(self._instances.socket_dir(instance.connection_name) / ".s.PGSQL.5432")
        except PostgresError as error:
            raise exceptions.InvalidArgument(f"local cloud: {error}") from error

    def _check_restore(self, name: InstanceName, source: InstanceName, backup: int) -> None:
        target, origin = self._instances.get(name), self._instances.get(source)
        if self._runs.find(source, backup).status != Status.SUCCESSFUL:
            raise exceptions.InvalidArgument("Invalid request: The backup run to restore from was not successful.")
        if target.settings.data_disk_size_gb < origin.settings.data_disk_size_gb:
            raise exceptions.InvalidArgument(
                "Invalid request: The disk of the destination instance is smaller than that of the backup's instance."
            )


def _check_new(name: InstanceName, body: Instance) -> None:
    check_instance_name(name)
    if body.database_version != VERSION:
        wanted = body.database_version.name
        raise exceptions.InvalidArgument(f"Invalid request: the local cloud has {VERSION.name} only, not {wanted}.")


def _check_change(instance: Instance, body: Instance, read: Settings) -> None:
    """Raise Aborted for a change that was made from settings that have been changed since.

    Google answers HTTP 412, staleData, which has no code of its own in gRPC.
    """
    stale = instance.settings.settings_version != read.settings_version
    named = body.settings.settings_version
    if stale or (named is not None and named != instance.settings.settings_version):
        raise exceptions.Aborted("Condition does not match.")
    if body.etag and body.etag != instance.etag:
        raise exceptions.Aborted("Condition does not match.")
    if body.settings.data_disk_size_gb and body.settings.data_disk_size_gb < instance.settings.data_disk_size_gb:
        raise exceptions.InvalidArgument("Invalid request: Disk size cannot be decreased.")
