"""A local cloud that is killed or stopped at any moment goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from google.api_core import exceptions
from google.cloud import sqladmin_v1 as sql

from tests.conftest import LocalCloud
from tests.localcloud.sql_admin import SqlAdmin

State = sql.DatabaseInstance.SqlInstanceState
Status = sql.SqlBackupRunStatus


@pytest.fixture(scope="module")
def own(short_folder: Path) -> Iterator[SqlAdmin]:
    """Cloud SQL of a local cloud that the tests of this module may kill, with two instances."""
    cloud = LocalCloud(short_folder / "sql-restarts")
    cloud.start()
    try:
        admin = SqlAdmin(cloud, "killed")
        made = [admin.insert(name) for name in ("main", "scratch")]
        for operation in made:
            admin.wait(operation)
        admin.rows("main", "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        yield admin
    finally:
        cloud.stop()


def started_at(admin: SqlAdmin) -> list[tuple]:
    return admin.rows("main", "SELECT pg_postmaster_start_time()")


def answers(connection: psycopg.Connection) -> bool:
    try:
        return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def count(admin: SqlAdmin, name: str) -> int:
    return admin.rows(name, "SELECT count(*) FROM kept")[0][0]


@pytest.mark.parametrize(("delay", "kill"), [(0.0, True), (0.3, True), (0.2, False)])
def test_servers_outlive_a_kill_and_the_next_start_ends_what_was_under_way(own: SqlAdmin, delay: float, *, kill: bool):
    """A creation, a backup, a restore and a deletion at the same time, of an instance each."""
    server, connection = started_at(own), own.connect("main")
    word = f"{int(delay * 10)}-{kill:d}"
    own.create(f"old-{word}")
    run = own.backup("main").id
    operations = [
        own.start_restore("main", run, "scratch"),
        own.start_backup("main"),
        own.insert(f"new-{word}"),
        own.delete(f"old-{word}"),
    ]
    time.sleep(delay)
    own.cloud.restart(kill=kill)
    own.open()
    _, backup, _, _ = [own.wait(operation) for operation in operations]

    # A killed local cloud's servers live on, with their connections, and are adopted.
    assert (started_at(own) == server) is kill
    assert answers(connection) is kill
    connection.close()
    assert count(own, "scratch") == count(own, "main") == 1000
    assert own.get("scratch").state == State.RUNNABLE
    assert own.backup_run("main", backup.backup_context.backup_id).status == Status.SUCCESSFUL
    assert own.get(f"new-{word}").state == State.RUNNABLE
    assert own.rows(f"new-{word}", "SELECT 1") == [(1,)]
    with pytest.raises(exceptions.NotFound):
        own.get(f"old-{word}")
    with pytest.raises(psycopg.OperationalError):
        own.connect(f"old-{word}")
    left = own.cloud.state / "sql" / "instances" / own.project
    assert sorted(path.parent.name for path in left.glob("*/*/")) == ["main", *made_so_far(own), "scratch"]


def test_a_recovery_to_a_point_in_time_outlives_kills_before_it_copies_and_while_it_replays(own: SqlAdmin):
    backup = sql.BackupConfiguration(enabled=True, point_in_time_recovery_enabled=True)
    own.create("logged", backup_configuration=backup)
    own.backup("logged")
    own.rows("logged", "CREATE TABLE kept AS SELECT generate_series(1, 100000) AS n")
    at = own.cloud.control.archive_log(own.project, "logged")
    own.rows("logged", "DROP TABLE kept")
    held = own.cloud.control.plant("SqlInstancesService.Recover", "hold_before", project=own.project)
    context = sql.CloneContext(destination_instance_name="then", point_in_time=at)
    body = sql.InstancesCloneRequest(clone_context=context)
    operation = own.instances.clone(sql.SqlInstancesCloneRequest(project=own.project, instance="logged", body=body))
    own.cloud.control.wait_until_met(held)
    own.cloud.restart()
    await_path(own.cloud.state / "sql" / "instances" / own.project / "then" / "data")
    own.cloud.restart()
    own.open()
    own.wait(operation)
    assert own.rows("then", "SELECT count(*) FROM kept") == [(100000,)]
    assert own.rows("then", "SELECT pg_is_in_recovery()") == [(False,)]
    for name in ("then", "logged"):
        own.wait(own.delete(name))


def await_path(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def made_so_far(admin: SqlAdmin) -> list[str]:
    listed = admin.instances.list(sql.SqlInstancesListRequest(project=admin.project)).items
    return sorted(instance.name for instance in listed if instance.name.startswith("new-"))
