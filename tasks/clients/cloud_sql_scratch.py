"""Cloud SQL for drills: what it says of backups, scratch instances made for a while, and clones to a point in time.

Safety property: a scratch instance is made with its labels, without backups and without protection from deletion. A
clone gets the source's settings: it is labelled as soon as it is there, and who clones writes its name down before.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tasks.backup_models import BackupState, Tier, Window
from tasks.clients.cloud_sql import ADMIN, VIEWER, CloudSql
from tasks.clients.google import UNRETRIED
from tasks.clients.operations import moment
from tasks.errors import PermanentError, TransientError
from tasks.models import SqlInstance

#: A year of nights, the most that Cloud SQL retains, with as many that failed or that a deploy asked for.
MOST_RUNS = 1000
PAGE = 500


class ScratchSql(CloudSql):
    """The Cloud SQL instances of one project, as a drill needs them."""

    def backup_state(self, instance: str) -> BackupState:
        """What is set, which runs there are, and which moments can be restored. Raises Missing."""
        with self._doing(f"reading Cloud SQL instance {instance}", VIEWER):
            found = self._instances.get(request=self._of(instance), **UNRETRIED)
        policy = found.settings.backup_configuration
        window, why = self._window(instance, bool(policy.point_in_time_recovery_enabled))
        runs = self.backups(instance, MOST_RUNS)
        return BackupState(
            instance=instance,
            connection_name=found.connection_name,
            created=moment(found.create_time),
            automated=bool(policy.enabled),
            retained=int(policy.backup_retention_settings.retained_backups or 0),
            point_in_time=bool(policy.point_in_time_recovery_enabled),
            disk_gb=int(found.settings.data_disk_size_gb or 0),
            tier=found.settings.tier,
            version=found.database_version.name,
            runs=tuple(runs),
            sizes=self._sizes(instance),
            window=window,
            why_no_window=why,
        )

    def tiers(self) -> list[Tier]:
        """The machine types of the region."""
        from google.cloud import sqladmin_v1

        client = self._google.client(sqladmin_v1.SqlTiersServiceClient)
        with self._doing("listing the machine types of Cloud SQL", VIEWER):
            found = client.list(request={"project": self._google.project}, **UNRETRIED).items
        here = [tier for tier in found if not tier.region or self._google.region in tier.region]
        return [Tier(name=tier.tier, memory=tier.RAM, most_disk=tier.Disk_Quota) for tier in here]

    def list_instances(self) -> list[SqlInstance]:
        """Every instance of the project, to the last page."""
        from tasks.clients.cloud_sql import _read_instance

        found, token = [], ""
        while True:
            request = {"project": self._google.project, "page_token": token}
            with self._doing("listing the Cloud SQL instances", VIEWER):
                answer = self._instances.list(request=request, **UNRETRIED)
            found += [_read_instance(instance) for instance in answer.items]
            token = answer.next_page_token
            if not token:
                return found

    def create_scratch(self, name: str, like: str, tier: str, labels: Mapping[str, str]) -> str:
        """Begin to make an empty instance that can take a backup of another one; the operation's name.

        Disk, flags and network are those of ``like``; there are no backups, and no protection. Raises Conflict when
        the name is taken.
        """
        with self._doing(f"reading Cloud SQL instance {like}", VIEWER):
            source = self._instances.get(request=self._of(like), **UNRETRIED)
        body = {
            "name": name, "database_version": source.database_version, "region": source.region,
            "settings": {**_settings_like(source.settings), "tier": tier, "user_labels": dict(labels)},
        }  # fmt: skip
        with self._doing(f"creating Cloud SQL instance {name}", ADMIN):
            request = {"project": self._google.project, "body": body}
            return str(self._instances.insert(request=request, **UNRETRIED).name)

    def clone_to(self, source: str, target: str, at: datetime) -> str:
        """Begin to clone an instance as it was at a moment; the operation's name. Raises Conflict when it exists."""
        context = {"destination_instance_name": target, "point_in_time": at}
        with self._doing(f"cloning {source} as of {at:%Y-%m-%d %H:%M:%S} UTC into {target}", ADMIN):
            request = {**self._of(source), "body": {"clone_context": context}}
            return str(self._instances.clone(request=request, **UNRETRIED).name)

    def make_scratch_of(self, name: str, labels: Mapping[str, str]) -> None:
        """Label an instance as a drill's, and take its backups and its protection away. Safe to repeat."""
        settings = {
            "user_labels": dict(labels), "deletion_protection_enabled": False,
            "backup_configuration": {"enabled": False, "point_in_time_recovery_enabled": False},
        }  # fmt: skip
        with self._doing(f"labelling Cloud SQL instance {name}", ADMIN):
            request = {**self._of(name), "body": {"settings": settings}}
            operation = self._instances.patch(request=request, **UNRETRIED)
        self.wait_operation(str(operation.name))

    def under_way(self, instance: str) -> list[str]:
        """The names of the operations that are at work on an instance."""
        with self._doing(f"listing the operations of {instance}", VIEWER):
            found = self._operations.list(request={**self._of(instance), "max_results": 10}, **UNRETRIED)
            first = [operation for operation, _ in zip(found, range(10), strict=False)]
        return [operation.name for operation in first if operation.status.name != "DONE"]

    def _window(self, instance: str, enabled: bool) -> tuple[Window | None, str]:
        if not enabled:
            return None, "point-in-time recovery is off"
        try:
            with self._doing(f"reading the recovery window of {instance}", VIEWER):
                found = self._instances.get_latest_recovery_time(request=self._of(instance), **UNRETRIED)
        except TransientError:
            raise
        except PermanentError as error:
            return None, str(error)
        earliest, latest = moment(found.earliest_recovery_time), moment(found.latest_recovery_time)
        if earliest is None or latest is None:
            return None, "Cloud SQL does not tell the earliest and the latest moment"
        return Window(earliest=earliest, latest=latest), ""

    def _sizes(self, instance: str) -> dict[int, int]:
        with self._doing(f"listing the backups of {instance}", VIEWER):
            found = self._backup_runs.list(request={**self._of(instance), "max_results": PAGE}, **UNRETRIED)
            first = [run for run, _ in zip(found, range(MOST_RUNS), strict=False)]
        return {run.id: int(run.max_chargeable_bytes) for run in first if run.max_chargeable_bytes}


def _settings_like(source: Any) -> dict[str, Any]:
    """What a copy must have in common with its source for the backup to fit and for us to reach it."""
    network = source.ip_configuration
    return {
        "data_disk_size_gb": source.data_disk_size_gb,
        "database_flags": [{"name": flag.name, "value": flag.value} for flag in source.database_flags],
        "ip_configuration": {"ipv4_enabled": network.ipv4_enabled, "private_network": network.private_network},
        "edition": source.edition,
        "deletion_protection_enabled": False,
        "backup_configuration": {"enabled": False, "point_in_time_recovery_enabled": False},
    }
