"""google.cloud.sql.v1.SqlUsersService: real roles of a running instance.

Safety property: a password is turned into its verifier before anything else is done with it; it is neither stored,
answered nor logged.
"""

from __future__ import annotations

from typing import Any

import psycopg
from google.api_core import exceptions
from google.cloud.sqladmin_v1 import types
from google.cloud.sqladmin_v1.types import Operation, User

from localcloud.rpc import Servicer, rpc
from localcloud.sql import roles
from localcloud.sql.instances import Instances
from localcloud.sql.names import InstanceName, about_instance
from localcloud.sql.operations import SqlOperations, Type


class Users(Servicer):
    """The calls on built-in users; IAM users are refused."""

    service = "google.cloud.sql.v1.SqlUsersService"

    def __init__(self, instances: Instances, operations: SqlOperations) -> None:
        self._instances, self._operations = instances, operations

    @rpc("Insert", types.SqlUsersInsertRequest, Operation, writes=True, resource=about_instance)
    def insert(self, request: types.SqlUsersInsertRequest) -> Operation:
        """Create a user, or set the password of the one there is, as Google does."""
        name, body = InstanceName.of(request), request.body
        self._instances.running(name)
        _check(body)
        secret = roles.verifier(body.name, body.password)
        with self._operations.at_once(name, Type.CREATE_USER) as operation, self._instances.connect(name) as link:
            _known_roles(link, list(body.database_roles))
            with link.transaction():
                roles.put_user(link, body.name, secret, list(body.database_roles))
        return operation

    @rpc("Get", types.SqlUsersGetRequest, User, writes=False, resource=about_instance)
    def get(self, request: types.SqlUsersGetRequest) -> User:
        return self._find(InstanceName.of(request), request.name)

    @rpc("List", types.SqlUsersListRequest, types.UsersListResponse, writes=False, resource=about_instance)
    def list(self, request: types.SqlUsersListRequest) -> types.UsersListResponse:
        name = InstanceName.of(request)
        with self._instances.connect(name) as link:
            items = [_described(name, user, roles.memberships(link, user)) for user in roles.users(link)]
        return types.UsersListResponse(kind="sql#usersList", items=items)

    @rpc("Update", types.SqlUsersUpdateRequest, Operation, writes=True, resource=about_instance)
    def update(self, request: types.SqlUsersUpdateRequest) -> Operation:
        """Set a user's password and, where the request names any, its roles."""
        name = InstanceName.of(request)
        user = self._find(name, request.name or request.body.name).name
        secret = roles.verifier(user, request.body.password) if request.body.password else None
        granted = list(request.database_roles)
        with self._operations.at_once(name, Type.UPDATE_USER) as operation, self._instances.connect(name) as link:
            _known_roles(link, granted)
            with link.transaction():
                if secret:
                    roles.set_password(link, user, secret)
                if granted or request.revoke_existing_roles:
                    roles.set_membership(link, user, granted, exactly=bool(request.revoke_existing_roles))
        return operation

    @rpc("Delete", types.SqlUsersDeleteRequest, Operation, writes=True, resource=about_instance)
    def delete(self, request: types.SqlUsersDeleteRequest) -> Operation:
        """Drop a user that owns nothing."""
        name = InstanceName.of(request)
        user = self._find(name, request.name).name
        with self._operations.at_once(name, Type.DELETE_USER) as operation, self._instances.connect(name) as link:
            try:
                roles.drop_user(link, user)
            except psycopg.errors.DependentObjectsStillExist as error:
                primary, detail = error.diag.message_primary, error.diag.message_detail
                raise exceptions.InvalidArgument(
                    f"Invalid request: failed to delete user {user}: . {primary} Details: {detail}."
                ) from error
        return operation

    def _find(self, name: InstanceName, user: str) -> User:
        with self._instances.connect(name) as link:
            if user not in roles.users(link):
                raise exceptions.NotFound(f'User "{user}" does not exist.')
            return _described(name, user, roles.memberships(link, user))


def _described(name: InstanceName, user: str, member_of: list[str]) -> User:
    return User(
        kind="sql#user", name=user, instance=name.instance, project=name.project, type_=User.SqlUserType.BUILT_IN,
        database_roles=member_of,
    )  # fmt: skip


def _check(body: User) -> None:
    if body.type_ != User.SqlUserType.BUILT_IN:
        raise exceptions.MethodNotImplemented("the local cloud implements users of the type BUILT_IN only")
    if not body.name or body.name.startswith(("cloudsql", "pg_")):
        raise exceptions.InvalidArgument(f"Invalid request: User name ({body.name}) is invalid.")
    if not body.password:
        raise exceptions.InvalidArgument("Invalid request: Missing parameter: password.")


def _known_roles(link: psycopg.Connection[Any], named: list[str]) -> None:
    for role in named:
        if not roles.role_exists(link, role):
            raise exceptions.InvalidArgument(f'Invalid request: role "{role}" does not exist.')
