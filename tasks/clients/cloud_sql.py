"""Cloud SQL: instances, backups, restores, databases and users.

Safety property: starting something long never waits for it, so its operation's name is known; "another operation is in
progress" is worth a retry and is told apart from every other refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import Any

from pydantic import SecretStr

from tasks.clients import deadlines
from tasks.clients.discretion import discreet
from tasks.clients.google import UNRETRIED, Google
from tasks.clients.google_errors import one_line
from tasks.clients.operations import moment
from tasks.clients.polling import wait_for
from tasks.errors import Conflict, Missing, PermanentError, Refused, TransientError
from tasks.models import Backup, SqlInstance

VIEWER = "roles/cloudsql.viewer"
ADMIN = "roles/cloudsql.admin"
LIVE_BACKUPS = frozenset({"ENQUEUED", "OVERDUE", "RUNNING"})
#: Longest pause between two looks at an operation; the Admin API allows 180 reads a minute.
LOOK_EVERY = timedelta(seconds=1)
OnStatus = Callable[[str], None]


class CloudSql:
    """The Cloud SQL instances of one project."""

    def __init__(self, google: Google) -> None:
        self._google = google

    def instance(self, name: str) -> SqlInstance:
        """Read an instance. Raises Missing."""
        with self._doing(f"reading Cloud SQL instance {name}", VIEWER):
            return _read_instance(self._instances.get(request=self._of(name), **UNRETRIED))

    def backups(self, instance: str, limit: int = 50) -> list[Backup]:
        """Read the newest backups, on demand and automated, newest first."""
        with self._doing(f"listing the backups of {instance}", VIEWER):
            found = self._backup_runs.list(request={**self._of(instance), "max_results": min(limit, 500)}, **UNRETRIED)
            return [_read_backup(run) for run in islice(found, limit)]

    def backup(self, instance: str, backup: int) -> Backup:
        """Read a backup. Raises Missing."""
        with self._doing(f"reading backup {backup} of {instance}", VIEWER):
            return _read_backup(self._backup_runs.get(request={**self._of(instance), "id": backup}, **UNRETRIED))

    def start_backup(self, instance: str, description: str) -> str:
        """Start an on-demand backup and return its operation's name.

        Not safe to repeat after a lost answer: look for the description in ``backups`` first. Raises TransientError
        while another operation is in progress.
        """
        request = {**self._of(instance), "body": {"description": description}}
        with self._doing(f"backing up {instance}", ADMIN):
            return str(self._backup_runs.insert(request=request, **UNRETRIED).name)

    def wait_backup(self, instance: str, backup: int, deadline: timedelta = deadlines.SQL_OPERATION) -> Backup:
        """Wait until a backup is over, well or not."""
        return wait_for(
            lambda: self.backup(instance, backup), lambda found: found.status not in LIVE_BACKUPS, deadline,
            f"backup {backup} of {instance}",
        )

    def wait_operation(
        self, name: str, deadline: timedelta = deadlines.SQL_OPERATION, on_poll: OnStatus | None = None
    ) -> None:
        """Wait until an operation is done. Raises PermanentError with its words when it failed.

        Raises TransientError at the deadline; it then still runs.
        """
        done = wait_for(
            lambda: self._operation(name), lambda operation: operation.status.name == "DONE", deadline,
            f"Cloud SQL operation {name}", most=LOOK_EVERY,
            on_poll=None if on_poll is None else lambda operation: on_poll(operation.status.name.lower()),
        )
        if done.error.errors:
            said = "; ".join(f"{error.code} {one_line(error.message)}" for error in done.error.errors)
            raise PermanentError(
                f"{done.operation_type.name.lower().replace('_', ' ')} of {done.target_id} failed: {said}; "
                f"see gcloud sql operations describe {name} --project={self._google.project}"
            )

    def restore(self, backup: int, source_instance: str, target_instance: str) -> str:
        """Restore a backup of one instance over another, and return the operation's name.

        Everything on the target is replaced. Repeating it restores the same backup once more.
        """
        context = {"backup_run_id": backup, "instance_id": source_instance, "project": self._google.project}
        request = {**self._of(target_instance), "body": {"restore_backup_context": context}}
        with self._doing(f"restoring backup {backup} of {source_instance} into {target_instance}", ADMIN):
            return str(self._instances.restore_backup(request=request, **UNRETRIED).name)

    def create_instance(
        self, name: str, tier: str, labels: Mapping[str, str], version: str,
        root_password: SecretStr | None = None,
    ) -> str:
        """Begin to create an instance and return the operation's name. ``version`` is Google's word, POSTGRES_18.

        Raises Conflict when it exists; Google keeps a deleted instance's name for a week.
        """
        settings = {"tier": tier, "user_labels": dict(labels)}
        body: dict[str, Any] = {
            "name": name, "database_version": version, "region": self._google.region, "settings": settings
        }
        if root_password is not None:
            body["root_password"] = root_password.get_secret_value()
        with self._doing(f"creating Cloud SQL instance {name}", ADMIN):
            request = {"project": self._google.project, "body": body}
            return str(self._instances.insert(request=request, **UNRETRIED).name)

    def delete_instance(self, name: str, deadline: timedelta = deadlines.SQL_OPERATION) -> None:
        """Delete an instance with its data, and wait for it. Deleting what is gone succeeds."""
        try:
            with self._doing(f"deleting Cloud SQL instance {name}", ADMIN):
                operation = self._instances.delete(request=self._of(name), **UNRETRIED)
        except Missing:
            return
        self.wait_operation(str(operation.name), deadline)

    def databases(self, instance: str) -> list[str]:
        """The names of an instance's databases."""
        with self._doing(f"listing the databases of {instance}", VIEWER):
            return [d.name for d in self._databases.list(request=self._of(instance), **UNRETRIED).items]

    def create_database(self, instance: str, name: str) -> None:
        """Create a database and wait for it. Raises Conflict when it exists."""
        request = {**self._of(instance), "body": {"name": name, "instance": instance, "project": self._google.project}}
        with self._doing(f"creating database {name} on {instance}", ADMIN):
            operation = self._databases.insert(request=request, **UNRETRIED)
        self.wait_operation(str(operation.name), deadlines.DELETION)

    def users(self, instance: str) -> list[str]:
        """The names of an instance's users."""
        with self._doing(f"listing the users of {instance}", VIEWER):
            return [user.name for user in self._users.list(request=self._of(instance), **UNRETRIED).items]

    @discreet
    def create_user(self, instance: str, name: str, password: SecretStr) -> None:
        """Create a user with a password and wait for it; for an existing one, Google sets the password."""
        body = {"name": name, "password": password.get_secret_value(), "instance": instance}
        with self._doing(f"creating user {name} on {instance}", ADMIN):
            operation = self._users.insert(request={**self._of(instance), "body": body}, **UNRETRIED)
        self.wait_operation(str(operation.name), deadlines.DELETION)

    @discreet
    def set_password(self, instance: str, name: str, password: SecretStr) -> None:
        """Give an existing user a password and wait for it. Safe to repeat. Raises Missing."""
        body = {"name": name, "password": password.get_secret_value(), "instance": instance}
        with self._doing(f"setting the password of {name} on {instance}", ADMIN):
            operation = self._users.update(request={**self._of(instance), "name": name, "body": body}, **UNRETRIED)
        self.wait_operation(str(operation.name), deadlines.DELETION)

    @contextmanager
    def _doing(self, what: str, role: str) -> Iterator[None]:
        try:
            with self._google.doing(what, role):
                yield
        except (Conflict, Refused) as error:
            if "another operation" not in str(error):
                raise
            raise TransientError(
                f"{what} failed: another operation is in progress on the instance; retrying may clear this"
            ) from error

    def _of(self, instance: str) -> dict[str, Any]:
        return {"project": self._google.project, "instance": instance}

    def _operation(self, name: str) -> Any:
        with self._doing(f"reading Cloud SQL operation {name}", VIEWER):
            return self._operations.get(request={"project": self._google.project, "operation": name}, **UNRETRIED)

    @property
    def _instances(self) -> Any:
        return self._google.client(_sql().SqlInstancesServiceClient)

    @property
    def _backup_runs(self) -> Any:
        return self._google.client(_sql().SqlBackupRunsServiceClient)

    @property
    def _operations(self) -> Any:
        return self._google.client(_sql().SqlOperationsServiceClient)

    @property
    def _databases(self) -> Any:
        return self._google.client(_sql().SqlDatabasesServiceClient)

    @property
    def _users(self) -> Any:
        return self._google.client(_sql().SqlUsersServiceClient)


def _sql() -> Any:
    from google.cloud import sqladmin_v1

    return sqladmin_v1


def _read_instance(instance: Any) -> SqlInstance:
    settings = instance.settings
    backups = settings.backup_configuration
    return SqlInstance(
        name=instance.name,
        connection_name=instance.connection_name,
        state=instance.state.name,
        database_version=instance.database_version.name,
        tier=settings.tier,
        labels=dict(settings.user_labels),
        backups_enabled=bool(backups.enabled),
        pitr_enabled=bool(backups.point_in_time_recovery_enabled),
        disk_gb=settings.data_disk_size_gb or 0,
    )


def _read_backup(run: Any) -> Backup:
    return Backup(
        id=run.id,
        instance=run.instance,
        status=run.status.name,
        kind=run.type_.name,
        description=run.description,
        enqueued=moment(run.enqueued_time),
        started=moment(run.start_time),
        ended=moment(run.end_time),
        error=one_line(f"{run.error.code} {run.error.message}") if run.error else "",
    )
