"""Cloud SQL, on the local cloud through the official client: a real PostgreSQL is behind it."""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator

import psycopg
import pytest
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import create_engine, engine_from_config, text

from tasks.clients.cloud_sql import CloudSql
from tasks.clients.google import Google
from tasks.clients.login_url import with_login
from tasks.clients.postgres import Postgres
from tasks.errors import Conflict, Missing, NotAllowed, TransientError
from tasks.settings import Settings
from tests.tasks.clients.conftest import Place


@pytest.fixture(scope="module")
def home(local_cloud) -> Google:
    return Google(Place(f"t-{secrets.token_hex(3)}"), Settings(state=local_cloud.state))


@pytest.fixture(scope="module")
def sql(home) -> Iterator[CloudSql]:
    """A project with the instance ``main``, a database and a user; an instance takes seconds, so the tests share it."""
    client = CloudSql(home)
    client.wait_operation(client.create_instance("main", "db-f1-micro", {"made-by": "caretaker"}, "POSTGRES_18"))
    client.create_database("main", "pyplots")
    client.create_user("main", "ada", SecretStr("first/+="))
    yield client
    client.delete_instance("main")


def login(local_cloud, sql, password: str) -> Postgres:
    from urllib.parse import quote

    folder = local_cloud.sockets / sql.instance("main").connection_name
    return Postgres(SecretStr(f"postgresql://ada:{quote(password, safe='')}@/pyplots?host={folder}"))


def test_an_instance_is_read_back(sql, home):
    found = sql.instance("main")
    assert (found.name, found.state, found.database_version) == ("main", "RUNNABLE", "POSTGRES_18")
    assert found.connection_name == f"{home.project}:{home.region}:main"
    assert found.labels == {"made-by": "caretaker"}


def test_databases_and_users_are_listed(sql):
    assert "pyplots" in sql.databases("main")
    assert "ada" in sql.users("main")


def test_a_user_logs_in_with_the_password_that_was_set_last(sql, local_cloud):
    login(local_cloud, sql, "first/+=").ping()
    sql.set_password("main", "ada", SecretStr("second/+="))
    login(local_cloud, sql, "second/+=").ping()


def test_a_password_of_every_printable_character_logs_in_through_libpq_sqlalchemy_and_alembic(sql, local_cloud):
    every = SecretStr(string.digits + string.ascii_letters + string.punctuation + " ")
    sql.set_password("main", "ada", every)
    folder = local_cloud.sockets / sql.instance("main").connection_name
    url = with_login(SecretStr(f"postgresql+psycopg:///pyplots?host={folder}"), "ada", every).get_secret_value()
    config = Config()
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    for engine in (create_engine(url), engine_from_config(config.get_section(config.config_ini_section, {}))):
        with engine.connect() as link:
            assert link.execute(text("SELECT current_user")).scalar() == "ada"
        engine.dispose()
    with psycopg.connect(url.replace("postgresql+psycopg", "postgresql")) as link:
        assert link.execute("SELECT current_user").fetchone() == ("ada",)
    Postgres(SecretStr(url)).ping()
    with pytest.raises(NotAllowed):
        login(local_cloud, sql, every.get_secret_value()[:-1]).ping()


def test_a_backup_is_taken_found_by_its_description_and_waited_for(sql):
    states: list[str] = []
    sql.wait_operation(sql.start_backup("main", "before api 1"), on_poll=states.append)
    newest = sql.backups("main", 5)[0]
    assert (newest.description, newest.kind, newest.instance) == ("before api 1", "ON_DEMAND", "main")
    assert sql.wait_backup("main", newest.id).status == "SUCCESSFUL"
    assert sql.backup("main", newest.id).ended is not None
    assert states[-1] == "done"


def test_a_second_operation_on_an_instance_is_worth_a_retry(sql):
    first = sql.start_backup("main", "one")
    try:
        with pytest.raises(TransientError, match="backing up main failed: another operation is in progress"):
            sql.start_backup("main", "two")
    finally:
        sql.wait_operation(first)


def test_what_exists_is_a_conflict(sql):
    with pytest.raises(Conflict):
        sql.create_instance("main", "db-f1-micro", {}, "POSTGRES_18")


def test_what_does_not_exist_is_missing_and_deleting_it_succeeds(sql):
    with pytest.raises(Missing, match="reading Cloud SQL instance nothing failed"):
        sql.instance("nothing")
    with pytest.raises(Missing):
        sql.backup("main", 17)
    sql.delete_instance("nothing")


def test_a_backup_is_restored_into_another_instance(sql, local_cloud, home):
    sql.wait_operation(sql.start_backup("main", "to restore"))
    backup = next(b for b in sql.backups("main") if b.description == "to restore")
    sql.wait_operation(sql.create_instance("scratch", "db-f1-micro", {}, "POSTGRES_18"))
    try:
        sql.wait_operation(sql.restore(backup.id, "main", "scratch"))
        assert "pyplots" in sql.databases("scratch")
    finally:
        sql.delete_instance("scratch")
    with pytest.raises(Missing):
        sql.instance("scratch")
