from __future__ import annotations

import psycopg
import pytest
from google.api_core import exceptions
from google.cloud import sqladmin_v1 as sql

from tests.localcloud.sql_admin import SqlAdmin, shared

__all__ = ["shared"]  # a fixture


def user_names(admin: SqlAdmin) -> set[str]:
    request = sql.SqlUsersListRequest(project=admin.project, instance="shared")
    return {user.name for user in admin.users.list(request).items}


def set_password(admin: SqlAdmin, user: str, password: str) -> sql.Operation:
    body = sql.User(name=user, password=password)
    request = sql.SqlUsersUpdateRequest(project=admin.project, instance="shared", name=user, body=body)
    return admin.wait(admin.users.update(request))


def drop_user(admin: SqlAdmin, user: str) -> sql.Operation:
    request = sql.SqlUsersDeleteRequest(project=admin.project, instance="shared", name=user)
    return admin.wait(admin.users.delete(request))


def drop_database(admin: SqlAdmin, database: str) -> sql.Operation:
    request = sql.SqlDatabasesDeleteRequest(project=admin.project, instance="shared", database=database)
    return admin.wait(admin.databases.delete(request))


def attributes(admin: SqlAdmin, role: str) -> tuple:
    columns = "rolcanlogin, rolcreaterole, rolcreatedb, rolsuper, rolreplication"
    return admin.rows("shared", f"SELECT {columns} FROM pg_roles WHERE rolname = '{role}'")[0]


def test_a_user_can_log_in_with_its_password_and_no_other(shared: SqlAdmin):
    operation = shared.add_user("shared", "reader", "first one")
    assert operation.operation_type == sql.Operation.SqlOperationType.CREATE_USER
    assert shared.rows("shared", "SELECT current_user", user="reader", password="first one") == [("reader",)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        shared.connect("shared", "reader", "another")


def test_a_changed_password_shuts_the_old_one_out_but_not_the_open_connections(shared: SqlAdmin):
    shared.add_user("shared", "rotated", "old")
    with shared.connect("shared", "rotated", "old") as connection:
        set_password(shared, "rotated", "new")
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert shared.rows("shared", "SELECT 1", user="rotated", password="new") == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        shared.connect("shared", "rotated", "old")


def test_inserting_a_user_that_exists_sets_its_password(shared: SqlAdmin):
    shared.add_user("shared", "again", "one")
    shared.add_user("shared", "again", "two")
    assert shared.rows("shared", "SELECT 1", user="again", password="two") == [(1,)]


def test_users_have_the_attributes_that_google_gives_them_and_are_no_superusers(shared: SqlAdmin):
    shared.add_user("shared", "plain", "pw")
    for user in ("postgres", "plain"):
        assert attributes(shared, user) == (True, True, True, False, False)
    assert attributes(shared, "cloudsqlsuperuser") == (False, True, True, False, False)
    request = sql.SqlUsersGetRequest(project=shared.project, instance="shared", name="plain")
    assert list(shared.users.get(request).database_roles) == ["cloudsqlsuperuser"]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        shared.rows("shared", "ALTER ROLE plain SUPERUSER", user="plain", password="pw")


def test_googles_own_superuser_is_neither_listed_nor_open_to_anyone(shared: SqlAdmin):
    assert "cloudsqladmin" not in user_names(shared)
    for name in ("cloudsqladmin", "cloudsqlsuperuser", "pg_monitor"):
        with pytest.raises(exceptions.InvalidArgument, match="is invalid"):
            shared.add_user("shared", name, "mine now")
    with pytest.raises(exceptions.NotFound):
        set_password(shared, "cloudsqladmin", "mine now")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        shared.connect("shared", database="cloudsqladmin")


def test_a_user_with_named_roles_gets_those_alone(shared: SqlAdmin):
    shared.rows("shared", "CREATE ROLE app_owner")
    shared.add_user("shared", "narrow", "pw", roles=("app_owner",))
    request = sql.SqlUsersGetRequest(project=shared.project, instance="shared", name="narrow")
    assert list(shared.users.get(request).database_roles) == ["app_owner"]
    with pytest.raises(exceptions.InvalidArgument, match='role "missing" does not exist'):
        shared.add_user("shared", "other", "pw", roles=("missing",))
    assert "other" not in user_names(shared)


def test_a_user_that_owns_something_is_not_deleted(shared: SqlAdmin):
    shared.add_user("shared", "owner", "pw")
    shared.rows("shared", "CREATE TABLE owned (n int)", user="owner", password="pw")
    with pytest.raises(exceptions.InvalidArgument, match='role "owner" cannot be dropped because some objects depend'):
        drop_user(shared, "owner")
    shared.rows("shared", "DROP TABLE owned", user="owner", password="pw")
    drop_user(shared, "owner")
    assert "owner" not in user_names(shared)
    with pytest.raises(exceptions.NotFound):
        drop_user(shared, "owner")


def test_no_password_is_in_any_log_nor_in_the_state(shared: SqlAdmin):
    shared.add_user("shared", "secretive", "hush-hush-4711")
    set_password(shared, "secretive", "hush-hush-4712")
    logs = [shared.cloud.log, *shared.cloud.state.rglob("postgres.log"), *shared.cloud.state.glob("*.db*")]
    assert len(logs) >= 3
    assert [path for path in logs if b"hush-hush" in path.read_bytes()] == []


def test_a_database_belongs_to_the_group_so_that_every_user_can_work_in_it(shared: SqlAdmin):
    shared.add_database("shared", "app")
    shared.add_user("shared", "worker", "pw")
    shared.rows("shared", "CREATE TABLE made (n int)", user="worker", password="pw", database="app")
    request = sql.SqlDatabasesListRequest(project=shared.project, instance="shared")
    found = {database.name: database for database in shared.databases.list(request).items}
    assert {"postgres", "app"} <= set(found)
    assert "cloudsqladmin" not in found
    assert found["app"].charset == "UTF8"


def test_a_database_that_exists_is_refused_in_googles_words(shared: SqlAdmin):
    shared.add_database("shared", "twice")
    with pytest.raises(exceptions.InvalidArgument, match=r'failed to create database twice\. Detail: .*already exists'):
        shared.add_database("shared", "twice")


def test_a_database_in_use_is_not_dropped(shared: SqlAdmin):
    shared.add_database("shared", "held")
    with (
        shared.connect("shared", database="held"),
        pytest.raises(exceptions.InvalidArgument, match="is being accessed by other users"),
    ):
        drop_database(shared, "held")
    drop_database(shared, "held")
    request = sql.SqlDatabasesGetRequest(project=shared.project, instance="shared", database="held")
    with pytest.raises(exceptions.NotFound, match="held"):
        shared.databases.get(request)


def test_users_may_create_the_extensions_that_google_lets_them_create(shared: SqlAdmin):
    shared.add_database("shared", "extended")
    shared.add_user("shared", "extender", "pw")
    login = {"user": "extender", "password": "pw", "database": "extended"}
    for extension in ("pg_stat_statements", "pgstattuple", "pg_trgm"):
        shared.rows("shared", f"CREATE EXTENSION {extension}", **login)
    assert shared.rows("shared", "SELECT count(*) > 0 FROM pg_stat_statements", **login) == [(True,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        shared.rows("shared", "CREATE EXTENSION file_fdw", **login)


def test_a_member_of_cloudsqlsuperuser_creates_amcheck_and_runs_it_and_nobody_else_does(shared: SqlAdmin):
    shared.add_database("shared", "checked")
    shared.add_user("shared", "checker", "pw")
    shared.add_user("shared", "onlooker", "pw", roles=("pg_monitor",))
    login = {"user": "checker", "password": "pw", "database": "checked"}
    shared.rows("shared", "CREATE EXTENSION amcheck", **login)
    shared.rows("shared", "CREATE TABLE numbers AS SELECT generate_series(1, 1000) AS n", **login)
    shared.rows("shared", "CREATE INDEX numbers_n ON numbers (n)", **login)
    shared.rows("shared", "SELECT bt_index_parent_check('numbers_n', true, true, true)", **login)
    assert shared.rows("shared", "SELECT count(*) FROM verify_heapam('numbers')", **login) == [(0,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="bt_index_check"):
        shared.rows("shared", "SELECT bt_index_check('numbers_n')", **{**login, "user": "onlooker"})
    installed = "SELECT extversion FROM pg_extension WHERE extname = 'amcheck'"
    available = "SELECT default_version FROM pg_available_extensions WHERE name = 'amcheck'"
    assert shared.rows("shared", installed, **login) == shared.rows("shared", available, **login)
