from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from google.api_core import exceptions
from google.cloud import sqladmin_v1 as sql

from tests.localcloud.sql_admin import OperationFailed, SqlAdmin, shared

__all__ = ["shared"]  # a fixture

State = sql.DatabaseInstance.SqlInstanceState
Status = sql.SqlBackupRunStatus


def listed(admin: SqlAdmin, **page: int) -> list[sql.BackupRun]:
    return list(admin.backups.list(sql.SqlBackupRunsListRequest(project=admin.project, instance="shared", **page)))


def backups_of(admin: SqlAdmin) -> Path:
    return admin.cloud.state / "sql" / "backups" / admin.project / "shared"


def damage(relation: Path) -> None:
    """Overwrite a part of the second page."""
    with relation.open("r+b") as file:
        file.seek(8192 + 4000)
        file.write(b"damage" * 10)


@pytest.fixture(scope="module")
def scratch(shared: SqlAdmin) -> Iterator[str]:
    """A second instance, for restores."""
    shared.create("scratch", data_disk_size_gb=100, user_labels={"purpose": "restore"})
    yield "scratch"
    shared.wait(shared.delete("scratch"))


@pytest.fixture(scope="module")
def taken(shared: SqlAdmin) -> sql.BackupRun:
    """A backup of ``shared`` that several tests look at."""
    return shared.backup("shared", "before the migration")


def test_a_backup_run_tells_its_times_its_size_and_what_it_is(taken: sql.BackupRun):
    run = taken
    assert run.status == Status.SUCCESSFUL
    assert run.type_ == sql.SqlBackupRunType.ON_DEMAND
    assert run.description == "before the migration"
    assert run.location == "eu"
    assert run.enqueued_time <= run.start_time < run.end_time <= datetime.now(UTC)
    assert datetime.now(UTC) - run.enqueued_time < timedelta(minutes=1)
    assert run.window_start_time == run.enqueued_time
    assert run.max_chargeable_bytes > 20_000_000
    assert run.error.message == ""


def test_backup_runs_are_listed_newest_first_with_growing_numbers_and_in_pages(shared: SqlAdmin, taken: sql.BackupRun):
    newer = shared.backup("shared")
    assert newer.id > taken.id
    found = [run.id for run in listed(shared, max_results=1)]
    assert found[0] == newer.id
    assert taken.id in found
    assert found == sorted(found, reverse=True)


def test_a_restore_into_another_instance_brings_the_old_content_and_the_old_passwords(shared: SqlAdmin, scratch: str):
    shared.add_user("shared", "keeper", "at the backup")
    login = {"user": "keeper", "password": "at the backup"}
    shared.rows("shared", "CREATE TABLE content AS SELECT generate_series(1, 100) AS n", **login)
    run = shared.backup("shared")
    shared.rows("shared", "INSERT INTO content SELECT generate_series(101, 150)", **login)
    shared.add_user("shared", "keeper", "after it")

    operation = shared.start_restore("shared", run.id, scratch)
    assert shared.get(scratch).state == State.MAINTENANCE
    done = shared.wait(operation)
    assert done.operation_type == sql.Operation.SqlOperationType.RESTORE_VOLUME

    restored = shared.get(scratch)
    assert restored.state == State.RUNNABLE
    assert restored.settings.user_labels == {"purpose": "restore"}
    assert shared.rows(scratch, "SELECT count(*) FROM content", **login) == [(100,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        shared.connect(scratch, "keeper", "after it")
    shared.rows(scratch, "DROP TABLE content", **login)
    assert shared.rows("shared", "SELECT count(*) FROM content", user="keeper", password="after it") == [(150,)]


def test_a_restore_into_the_same_instance_takes_it_back(shared: SqlAdmin, scratch: str):
    shared.rows(scratch, "CREATE TABLE history AS SELECT 1 AS n")
    done = shared.wait(shared.start_backup(scratch))
    shared.rows(scratch, "INSERT INTO history VALUES (2)")
    shared.wait(shared.start_restore(scratch, done.backup_context.backup_id, scratch))
    assert shared.rows(scratch, "SELECT n FROM history") == [(1,)]


def test_a_damaged_backup_restores_nothing_and_the_old_data_serve_again(shared: SqlAdmin, scratch: str):
    run = shared.backup("shared")
    shared.rows(scratch, "CREATE TABLE IF NOT EXISTS unharmed AS SELECT 3 AS n")
    control = backups_of(shared) / str(run.id) / "data" / "global" / "pg_control"
    control.write_bytes(b"\0" * control.stat().st_size)
    with pytest.raises(OperationFailed, match="PostgreSQL did not start"):
        shared.wait(shared.start_restore("shared", run.id, scratch))
    assert shared.get(scratch).state == State.RUNNABLE
    assert shared.rows(scratch, "SELECT n FROM unharmed") == [(3,)]


def test_a_damaged_page_is_backed_up_and_restored_as_it_is_and_found_by_who_reads_it(shared: SqlAdmin, scratch: str):
    shared.rows("shared", "CREATE EXTENSION IF NOT EXISTS amcheck")
    shared.rows("shared", "CREATE TABLE torn AS SELECT generate_series(1, 1000) AS n")
    path = shared.rows("shared", "SELECT pg_relation_filepath('torn')")[0][0]
    run = shared.backup("shared")
    damage(shared.cloud.control.sql_paths(shared.project, "shared").backups[run.id] / path)
    shared.wait(shared.start_restore("shared", run.id, scratch))
    again = shared.backup(scratch)
    assert again.status == Status.SUCCESSFUL
    shared.wait(shared.start_restore(scratch, again.id, scratch))
    with pytest.raises(psycopg.errors.DataCorrupted, match="invalid page in block 1"):
        shared.rows(scratch, "SELECT count(*) FROM torn")
    with pytest.raises(psycopg.errors.DataCorrupted, match="invalid page in block 1"):
        shared.rows(scratch, "SELECT * FROM verify_heapam('torn')")
    assert shared.rows("shared", "SELECT count(*) FROM torn") == [(1000,)]


def test_a_restore_that_is_slow_or_fails_keeps_its_operation_polled_and_the_former_data(
    shared: SqlAdmin, scratch: str, taken: sql.BackupRun
):
    control, place = shared.cloud.control, "SqlInstancesService.Restore"
    shared.rows(scratch, "CREATE TABLE IF NOT EXISTS former AS SELECT 5 AS n")
    fault = control.plant(place, "error", project=shared.project, resource=scratch, message="internal error")
    with pytest.raises(OperationFailed, match="internal error"):
        shared.wait(shared.start_restore("shared", taken.id, scratch))
    assert control.fault(fault)["met"] == 1
    assert shared.get(scratch).state == State.RUNNABLE
    assert shared.rows(scratch, "SELECT n FROM former") == [(5,)]

    slow = control.plant(place, "delay", project=shared.project, resource=scratch, seconds=1.0)
    operation = shared.start_restore("shared", taken.id, scratch)
    control.wait_until_met(slow)
    assert shared.operation(operation.name).status == sql.Operation.SqlOperationStatus.RUNNING
    assert shared.get(scratch).state == State.MAINTENANCE
    done = shared.wait(operation)
    assert done.end_time - done.start_time > timedelta(seconds=1)
    with pytest.raises(psycopg.errors.UndefinedTable):
        shared.rows(scratch, "SELECT n FROM former")


def test_a_backup_that_cannot_be_taken_is_failed_with_its_reason(shared: SqlAdmin):
    place = backups_of(shared)
    place.mkdir(parents=True, exist_ok=True)
    aside = place.with_name("aside")
    place.rename(aside)
    place.write_text("a file where the folder shall be")
    try:
        operation = shared.start_backup("shared")
        with pytest.raises(OperationFailed):
            shared.wait(operation)
        run = shared.backup_run("shared", operation.backup_context.backup_id)
        assert run.status == Status.FAILED
        assert run.error.message
    finally:
        place.unlink()
        aside.rename(place)
    with pytest.raises(exceptions.InvalidArgument, match="was not successful"):
        shared.start_restore("shared", run.id, "shared")


def test_a_backup_is_not_restored_into_a_smaller_disk(shared: SqlAdmin, scratch: str):
    run = shared.backup(scratch).id
    with pytest.raises(exceptions.InvalidArgument, match="smaller"):
        shared.start_restore(scratch, run, "shared")


def test_writing_goes_on_while_a_backup_is_taken(shared: SqlAdmin):
    shared.rows("shared", "CREATE TABLE busy (n int)")
    operation = shared.start_backup("shared")
    with shared.connect("shared") as connection:
        for n in range(20):
            connection.execute("INSERT INTO busy VALUES (%s)", (n,))
    shared.wait(operation)
    assert shared.rows("shared", "SELECT count(*) FROM busy") == [(20,)]


def test_a_deleted_backup_is_gone(shared: SqlAdmin):
    run = shared.backup("shared")
    request = sql.SqlBackupRunsDeleteRequest(project=shared.project, instance="shared", id=run.id)
    shared.wait(shared.backups.delete(request))
    with pytest.raises(exceptions.NotFound):
        shared.backup_run("shared", run.id)
    with pytest.raises(exceptions.NotFound):
        shared.start_restore("shared", run.id, "shared")
    assert run.id not in [item.id for item in listed(shared)]
    assert not (backups_of(shared) / str(run.id)).exists()
