"""google.cloud.sql.v1.SqlDatabasesService: real databases of a running instance. Nothing is kept but in PostgreSQL."""

from __future__ import annotations

import psycopg
from google.api_core import exceptions
from google.cloud.sqladmin_v1 import types
from google.cloud.sqladmin_v1.types import Database, Operation

from localcloud.rpc import Servicer, rpc
from localcloud.sql import roles
from localcloud.sql.instances import Instances
from localcloud.sql.names import InstanceName, about_instance
from localcloud.sql.operations import SqlOperations, Type

CHARSETS = ("", "UTF8")
COLLATIONS = ("", "C.UTF-8")


class Databases(Servicer):
    """The calls on databases."""

    service = "google.cloud.sql.v1.SqlDatabasesService"

    def __init__(self, instances: Instances, operations: SqlOperations) -> None:
        self._instances, self._operations = instances, operations

    @rpc("Insert", types.SqlDatabasesInsertRequest, Operation, writes=True, resource=about_instance)
    def insert(self, request: types.SqlDatabasesInsertRequest) -> Operation:
        """Create a database that the group cloudsqlsuperuser owns."""
        name, body = InstanceName.of(request), request.body
        self._instances.running(name)
        _check(body)
        with self._operations.at_once(name, Type.CREATE_DATABASE) as operation, self._instances.connect(name) as link:
            try:
                roles.create_database(link, body.name)
            except psycopg.errors.DuplicateDatabase as error:
                raise _refused(f"failed to create database {body.name}. Detail: pq: {_text(error)}.") from error
        return operation

    @rpc("Get", types.SqlDatabasesGetRequest, Database, writes=False, resource=about_instance)
    def get(self, request: types.SqlDatabasesGetRequest) -> Database:
        for database in self._all(InstanceName.of(request)):
            if database.name == request.database:
                return database
        raise exceptions.NotFound(f'database "{request.database}" does not exist.')

    @rpc("List", types.SqlDatabasesListRequest, types.DatabasesListResponse, writes=False, resource=about_instance)
    def list_all(self, request: types.SqlDatabasesListRequest) -> types.DatabasesListResponse:
        return types.DatabasesListResponse(kind="sql#databasesList", items=self._all(InstanceName.of(request)))

    @rpc("Delete", types.SqlDatabasesDeleteRequest, Operation, writes=True, resource=about_instance)
    def delete(self, request: types.SqlDatabasesDeleteRequest) -> Operation:
        """Drop a database that nobody is connected to."""
        name, database = InstanceName.of(request), request.database
        self.get(types.SqlDatabasesGetRequest(project=name.project, instance=name.instance, database=database))
        with self._operations.at_once(name, Type.DELETE_DATABASE) as operation, self._instances.connect(name) as link:
            try:
                roles.drop_database(link, database)
            except psycopg.errors.ObjectInUse as error:
                raise _refused(
                    f'failed to delete database "{database}". Detail: pq: {_text(error)}. (Please use psql client to '
                    f'delete database that is not owned by "{roles.GROUP}").'
                ) from error
        return operation

    def _all(self, name: InstanceName) -> list[Database]:
        with self._instances.connect(name) as connection:
            rows = roles.databases(connection)
        return [
            Database(
                kind="sql#database", name=database, charset=charset, collation=collation, instance=name.instance,
                project=name.project, self_link=f"{name.link}/databases/{database}",
            )
            for database, charset, collation in rows
        ]


def _check(body: Database) -> None:
    if not body.name:
        raise exceptions.InvalidArgument("Invalid request: Missing parameter: name.")
    if body.charset.upper() not in CHARSETS or body.collation not in COLLATIONS:
        raise exceptions.InvalidArgument(
            f"Invalid request: the local cloud has charset UTF8 with collation C.UTF-8 only, not {body.charset} with "
            f"{body.collation}."
        )


def _refused(text: str) -> exceptions.InvalidArgument:
    return exceptions.InvalidArgument(f"Invalid request: {text}")


def _text(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error)
