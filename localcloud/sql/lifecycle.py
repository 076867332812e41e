"""What an instance's operations do: create, change, restart, restore, clone, recover, delete.

Safety property: each piece may be run again from its beginning after a ``kill -9``. A restore keeps the instance's old
data until the restored server runs, and brings them back when it does not.
"""

from __future__ import annotations

import secrets
import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions
from google.cloud.sqladmin_v1.types import Settings

from embedded.postgres import Cluster, PostgresError, copy_data, own
from localcloud.sql.archives import current, gap
from localcloud.sql.instances import Instances, State
from localcloud.sql.names import InstanceName
from localcloud.sql.operations import SqlOperations
from localcloud.sql.places import Places
from localcloud.sql.recovery import Recovery, recovered, write_recovery
from localcloud.sql.roles import bootstrap
from localcloud.sql.runs import Runs
from localcloud.sql.settings import wanted_up

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

#: Where a fault can be planted in the work of a restore, and of a recovery to a point in time.
RESTORE = "SqlInstancesService.Restore"
RECOVER = "SqlInstancesService.Recover"
RECOVERY_SECONDS = 3600.0


class Lifecycle:
    """The work behind google.cloud.sql.v1.SqlInstancesService."""

    def __init__(
        self, cloud: Cloud, instances: Instances, runs: Runs, recovery: Recovery, operations: SqlOperations
    ) -> None:
        self._instances, self._runs, self._recovery = instances, runs, recovery
        self._archives, self._trash, self._places = instances.archives, instances.trash, Places(cloud.faults)
        work = {
            "sql.create": self.create, "sql.update": self.update, "sql.restart": self.restart,
            "sql.restore": self.restore, "sql.clone": self.clone, "sql.recover": self.recover,
            "sql.delete": self.delete,
        }  # fmt: skip
        for kind, function in work.items():
            operations.register(kind, function)

    def create(self, name: InstanceName, payload: dict[str, Any]) -> None:
        """Make a new cluster with Cloud SQL's roles."""
        cluster = self._instances.cluster(name)
        try:
            cluster.init()
            self._align(name)
            cluster.start()
            with cluster.connect("postgres") as connection:
                bootstrap(connection, payload["verifier"])
        except PostgresError:
            self._instances.mark(name, State.FAILED)
            raise
        self._become_runnable(name)

    def update(self, name: InstanceName, payload: dict[str, Any]) -> None:
        """Bring the server into line with the settings; go back to the former ones when it does not start with them."""
        self._align(name)
        if not payload["restart"]:
            self._ensure_up(name)
            return
        try:
            self._restart(name)
        except PostgresError as error:
            instance = self._instances.get(name)
            version = instance.settings.settings_version
            instance.settings = Settings.from_json(payload["before"])
            instance.settings.settings_version = version
            self._instances.put(name, instance)
            self._align(name)
            self._restart(name)
            raise exceptions.InvalidArgument(f"The instance did not start with the new flags: {error}") from error

    def restart(self, name: InstanceName, _: dict[str, Any]) -> None:
        self._restart(name)

    def restore(self, name: InstanceName, payload: dict[str, Any]) -> None:
        """Replace the instance's data by a backup's, users and passwords included."""
        self._instances.mark(name, State.MAINTENANCE)
        cluster = self._instances.cluster(name)
        fresh = self._beside(cluster.data)
        try:
            self._places.meet(RESTORE, name)
            self._copy(InstanceName.parse(payload["source"]), payload["backup"], fresh, name)
            self._replace(cluster, fresh)
            self._archives.keep_only(name, current(cluster.data))
        finally:
            self._trash.take(fresh)
            self._become_runnable(name)

    def clone(self, name: InstanceName, payload: dict[str, Any]) -> None:
        """Make a cluster from another instance as that is now."""
        cluster = self._instances.cluster(name)
        try:
            if not cluster.data.exists():
                fresh = self._beside(cluster.data)
                source = self._instances.started(InstanceName.parse(payload["source"]))
                source.copy_to(fresh)
                self._archives.begin(fresh, enabled=self._archiving(name))
                fresh.rename(cluster.data)
            cluster.start()
        except PostgresError:
            self._instances.mark(name, State.FAILED)
            raise
        self._become_runnable(name)

    def recover(self, name: InstanceName, payload: dict[str, Any]) -> None:
        """Make a cluster from another instance as that was at a time: a backup before it, and the log since then.

        PostgreSQL takes up a recovery that a kill interrupted where it was.
        """
        cluster, source = self._instances.cluster(name), InstanceName.parse(payload["source"])
        log = self._recovery.log(source, payload["archive"])
        try:
            self._places.meet(RECOVER, name)
            if not cluster.data.exists():
                fresh = self._beside(cluster.data)
                self._copy(source, payload["backup"], fresh, name)
                write_recovery(fresh, log, datetime.fromisoformat(payload["time"]))
                fresh.rename(cluster.data)
            cluster.start(RECOVERY_SECONDS)
            recovered(cluster.data)
        except Exception as error:
            self._instances.mark(name, State.FAILED)
            lost = gap(log, payload["first"])
            if isinstance(error, PostgresError) and lost:
                raise PostgresError(f"the archived log has a gap, segment {lost} is missing: {error}") from error
            raise
        self._become_runnable(name)

    def delete(self, name: InstanceName, _: dict[str, Any]) -> None:
        """Stop the server and remove the instance with its data and its backups, as Google does."""
        if self._instances.find(name) is None:
            return  # an earlier attempt had done it all when it was killed
        cluster = self._instances.cluster(name)
        cluster.stop()
        shutil.rmtree(cluster.socket_dir, ignore_errors=True)
        self._trash.take(self._instances.folder(name))
        self._runs.forget(name)
        self._recovery.forget(name)
        self._instances.forget(name)

    def _copy(self, source: InstanceName, backup: int, fresh: Path, name: InstanceName) -> None:
        """Copy a backup to a new data directory of an instance, with an archive of its own."""
        with self._runs.held(source, backup) as data:
            copy_data(data, fresh)
        self._archives.begin(fresh, enabled=self._archiving(name))
        own(fresh)

    def _beside(self, data: Path) -> Path:
        """A new name beside the data directory, after sweeping what a killed attempt left."""
        for left in data.parent.glob(f"{data.name}.restore-*"):
            self._trash.take(left)
        data.parent.mkdir(parents=True, exist_ok=True)
        return data.with_name(f"{data.name}.restore-{secrets.token_hex(4)}")

    def _align(self, name: InstanceName) -> None:
        self._archives.align(name, self._instances.data(name), enabled=self._archiving(name))

    def _archiving(self, name: InstanceName) -> bool:
        return bool(self._instances.get(name).settings.backup_configuration.point_in_time_recovery_enabled)

    def _restart(self, name: InstanceName) -> None:
        cluster = self._instances.cluster(name)
        cluster.stop()
        if wanted_up(self._instances.get(name)):
            cluster.start()

    def _ensure_up(self, name: InstanceName) -> None:
        if wanted_up(self._instances.get(name)):
            self._instances.started(name)

    def _replace(self, cluster: Cluster, fresh: Path) -> None:
        old = cluster.data.with_name("data.before")
        cluster.stop()
        if cluster.data.exists() and old.exists():
            self._trash.take(cluster.data)  # an earlier attempt was killed before its restored server ran
        elif cluster.data.exists():
            cluster.data.rename(old)
        fresh.rename(cluster.data)
        try:
            cluster.start()
        except PostgresError:
            self._trash.take(cluster.data)
            old.rename(cluster.data)
            cluster.start()
            raise
        self._trash.take(old)

    def _become_runnable(self, name: InstanceName) -> None:
        self._instances.mark(name, State.RUNNABLE)
