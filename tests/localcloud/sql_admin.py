"""Cloud SQL as the tests use it: the official clients of one project, and an instance that tests may share."""

from __future__ import annotations

import time
from typing import Any

import psycopg
import pytest
from google.cloud import sqladmin_v1 as sql
from google.cloud.sqladmin_v1.services.sql_backup_runs_service.transports import SqlBackupRunsServiceGrpcTransport
from google.cloud.sqladmin_v1.services.sql_databases_service.transports import SqlDatabasesServiceGrpcTransport
from google.cloud.sqladmin_v1.services.sql_flags_service.transports import SqlFlagsServiceGrpcTransport
from google.cloud.sqladmin_v1.services.sql_instances_service.transports import SqlInstancesServiceGrpcTransport
from google.cloud.sqladmin_v1.services.sql_operations_service.transports import SqlOperationsServiceGrpcTransport
from google.cloud.sqladmin_v1.services.sql_tiers_service.transports import SqlTiersServiceGrpcTransport
from google.cloud.sqladmin_v1.services.sql_users_service.transports import SqlUsersServiceGrpcTransport

from tests.conftest import LocalCloud, open_channel

REGION = "europe-west4"
PASSWORD = "postgres pass/+="
DONE = sql.Operation.SqlOperationStatus.DONE
UNDER_WAY = (sql.SqlBackupRunStatus.ENQUEUED, sql.SqlBackupRunStatus.RUNNING)


class OperationFailed(Exception):
    """A Cloud SQL operation ended with an error."""


class SqlAdmin:
    """Cloud SQL Admin for one project."""

    def __init__(self, cloud: LocalCloud, project: str) -> None:
        self.cloud, self.project = cloud, project
        self.open()

    def open(self) -> None:
        """Connect, again after a restart of the local cloud."""
        channel = open_channel(self.cloud)
        self.instances = sql.SqlInstancesServiceClient(transport=SqlInstancesServiceGrpcTransport(channel=channel))
        self.databases = sql.SqlDatabasesServiceClient(transport=SqlDatabasesServiceGrpcTransport(channel=channel))
        self.users = sql.SqlUsersServiceClient(transport=SqlUsersServiceGrpcTransport(channel=channel))
        self.backups = sql.SqlBackupRunsServiceClient(transport=SqlBackupRunsServiceGrpcTransport(channel=channel))
        self.operations = sql.SqlOperationsServiceClient(transport=SqlOperationsServiceGrpcTransport(channel=channel))
        self.flags = sql.SqlFlagsServiceClient(transport=SqlFlagsServiceGrpcTransport(channel=channel))
        self.tiers = sql.SqlTiersServiceClient(transport=SqlTiersServiceGrpcTransport(channel=channel))

    def operation(self, name: str) -> sql.Operation:
        return self.operations.get(sql.SqlOperationsGetRequest(project=self.project, operation=name))

    def wait(self, operation: sql.Operation, seconds: float = 60.0) -> sql.Operation:
        """Poll until it is DONE; raise OperationFailed with its error."""
        deadline = time.monotonic() + seconds
        while operation.status != DONE:
            assert time.monotonic() < deadline, operation
            time.sleep(0.02)
            operation = self.operation(operation.name)
        if operation.error.errors:
            raise OperationFailed(operation.error.errors[0].message)
        return operation

    def insert(self, name: str, version: str = "POSTGRES_18", **settings: Any) -> sql.Operation:
        body = sql.DatabaseInstance(
            name=name, region=REGION, database_version=version, root_password=PASSWORD,
            settings=sql.Settings(**{"tier": "db-f1-micro", **settings}),
        )  # fmt: skip
        return self.instances.insert(sql.SqlInstancesInsertRequest(project=self.project, body=body))

    def create(self, name: str, **settings: Any) -> sql.DatabaseInstance:
        self.wait(self.insert(name, **settings))
        return self.get(name)

    def get(self, name: str) -> sql.DatabaseInstance:
        return self.instances.get(sql.SqlInstancesGetRequest(project=self.project, instance=name))

    def patch(self, name: str, **settings: Any) -> sql.DatabaseInstance:
        body = sql.DatabaseInstance(settings=sql.Settings(**settings))
        self.wait(self.instances.patch(sql.SqlInstancesPatchRequest(project=self.project, instance=name, body=body)))
        return self.get(name)

    def delete(self, name: str) -> sql.Operation:
        return self.instances.delete(sql.SqlInstancesDeleteRequest(project=self.project, instance=name))

    def restart(self, name: str) -> sql.Operation:
        return self.instances.restart(sql.SqlInstancesRestartRequest(project=self.project, instance=name))

    def start_backup(self, name: str, description: str = "") -> sql.Operation:
        body = sql.BackupRun(description=description)
        return self.backups.insert(sql.SqlBackupRunsInsertRequest(project=self.project, instance=name, body=body))

    def backup(self, name: str, description: str = "") -> sql.BackupRun:
        done = self.wait(self.start_backup(name, description))
        return self.backup_run(name, done.backup_context.backup_id)

    def backup_run(self, name: str, identity: int) -> sql.BackupRun:
        return self.backups.get(sql.SqlBackupRunsGetRequest(project=self.project, instance=name, id=identity))

    def ended(self, name: str, identity: int, seconds: float = 30.0) -> sql.BackupRun:
        """A backup run once it is over and its instance is free again."""
        deadline = time.monotonic() + seconds
        while (run := self.backup_run(name, identity)).status in UNDER_WAY or self.busy(name):
            assert time.monotonic() < deadline, run
            time.sleep(0.02)
        return run

    def busy(self, name: str) -> bool:
        request = sql.SqlOperationsListRequest(project=self.project, instance=name, max_results=5)
        return any(operation.status != DONE for operation in self.operations.list(request))

    def start_restore(self, source: str, identity: int, target: str) -> sql.Operation:
        context = sql.RestoreBackupContext(backup_run_id=identity, instance_id=source, project=self.project)
        body = sql.InstancesRestoreBackupRequest(restore_backup_context=context)
        request = sql.SqlInstancesRestoreBackupRequest(project=self.project, instance=target, body=body)
        return self.instances.restore_backup(request)

    def add_user(self, name: str, user: str, password: str, roles: tuple[str, ...] = ()) -> sql.Operation:
        body = sql.User(name=user, password=password, database_roles=roles)
        return self.wait(self.users.insert(sql.SqlUsersInsertRequest(project=self.project, instance=name, body=body)))

    def add_database(self, name: str, database: str) -> sql.Operation:
        body = sql.Database(name=database)
        request = sql.SqlDatabasesInsertRequest(project=self.project, instance=name, body=body)
        return self.wait(self.databases.insert(request))

    def connect(self, name: str, user: str = "postgres", password: str = PASSWORD, database: str = "postgres") -> Any:
        """A connection over the socket where Google's proxy would put it."""
        host = str(self.cloud.sockets / f"{self.project}:{REGION}:{name}")
        return psycopg.connect(host=host, user=user, password=password, dbname=database, autocommit=True)

    def rows(self, name: str, statement: str, **login: str) -> list[tuple]:
        with self.connect(name, **login) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def admin(local_cloud: LocalCloud, project: str) -> SqlAdmin:
    """Cloud SQL with a project that no other test has."""
    return SqlAdmin(local_cloud, project)


@pytest.fixture(scope="module")
def shared(local_cloud: LocalCloud) -> SqlAdmin:
    """Cloud SQL with an instance ``shared`` that the tests of a session have in common; each uses names of its own."""
    admin = SqlAdmin(local_cloud, "sql-shared")
    listed = admin.instances.list(sql.SqlInstancesListRequest(project=admin.project))
    if not list(listed.items):
        admin.create("shared")
    return admin
