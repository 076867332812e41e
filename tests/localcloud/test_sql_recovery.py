from __future__ import annotations

import os
import re
import time
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


@pytest.fixture(scope="module")
def logged(shared: SqlAdmin) -> Iterator[str]:
    """An instance with point-in-time recovery, a backup, and 10 rows in ``history``."""
    backup = sql.BackupConfiguration(enabled=True, start_time="03:00", point_in_time_recovery_enabled=True)
    shared.create("logged", backup_configuration=backup)
    shared.rows("logged", "CREATE TABLE history AS SELECT generate_series(1, 10) AS n")
    shared.backup("logged")
    yield "logged"
    shared.wait(shared.delete("logged"))


def window(admin: SqlAdmin, name: str) -> tuple[datetime, datetime]:
    request = sql.SqlInstancesGetLatestRecoveryTimeRequest(project=admin.project, instance=name)
    answer = admin.instances.get_latest_recovery_time(request)
    return answer.earliest_recovery_time, answer.latest_recovery_time


def log_of(admin: SqlAdmin, name: str) -> Path:
    log = admin.cloud.control.sql_paths(admin.project, name).log
    assert log is not None
    return log


def segments(admin: SqlAdmin, name: str) -> list[str]:
    return sorted(path.name for path in log_of(admin, name).iterdir() if len(path.name) == 24)


def archive(admin: SqlAdmin, name: str) -> datetime:
    return admin.cloud.control.archive_log(admin.project, name)


def start_recovery(admin: SqlAdmin, source: str, at: datetime, target: str) -> sql.Operation:
    context = sql.CloneContext(destination_instance_name=target, point_in_time=at)
    body = sql.InstancesCloneRequest(clone_context=context)
    return admin.instances.clone(sql.SqlInstancesCloneRequest(project=admin.project, instance=source, body=body))


def test_a_clone_to_a_point_in_time_holds_what_was_committed_then_and_nothing_later(shared: SqlAdmin, logged: str):
    shared.rows(logged, "INSERT INTO history SELECT generate_series(11, 20)")
    then = datetime.now(UTC)
    shared.rows(logged, "TRUNCATE history")
    assert archive(shared, logged) > then
    done = shared.wait(start_recovery(shared, logged, then, "then"))

    assert done.operation_type == sql.Operation.SqlOperationType.CREATE_CLONE
    assert shared.get("then").state == State.RUNNABLE
    assert shared.rows("then", "SELECT count(*) FROM history") == [(20,)]
    assert shared.rows(logged, "SELECT count(*) FROM history") == [(0,)]
    shared.rows("then", "INSERT INTO history VALUES (21)")
    assert shared.rows("then", "SELECT pg_is_in_recovery()") == [(False,)]
    # A history of its own: nothing of it goes where its source's log goes.
    assert log_of(shared, "then").parent != log_of(shared, logged).parent
    shared.wait(shared.delete("then"))


def test_the_window_reaches_from_the_first_backup_to_a_moment_ago_and_moves_on_by_itself(shared: SqlAdmin, logged: str):
    earliest, latest = window(shared, logged)
    first = min(
        run.end_time
        for run in shared.backups.list(sql.SqlBackupRunsListRequest(project=shared.project, instance=logged))
    )
    assert timedelta() <= earliest - first < timedelta(seconds=2)
    shared.rows(logged, "CREATE TABLE moves_on AS SELECT 1 AS n")
    deadline = time.monotonic() + 20
    while window(shared, logged)[1] <= latest:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert datetime.now(UTC) - window(shared, logged)[1] < timedelta(seconds=15)


def test_a_time_outside_the_window_is_refused(shared: SqlAdmin, logged: str):
    earliest, latest = window(shared, logged)
    for at in (earliest - timedelta(seconds=1), latest + timedelta(minutes=5)):
        with pytest.raises(exceptions.InvalidArgument, match="not within the recoverable window"):
            start_recovery(shared, logged, at, "never")
    with pytest.raises(exceptions.NotFound):
        shared.get("never")


def test_where_recovery_is_off_or_no_backup_is_there_yet_no_window_is_told(shared: SqlAdmin, logged: str):
    with pytest.raises(exceptions.InvalidArgument, match="not enabled"):
        window(shared, "shared")
    with pytest.raises(exceptions.InvalidArgument, match="not enabled"):
        start_recovery(shared, "shared", datetime.now(UTC), "never")
    on = sql.BackupConfiguration(enabled=True, point_in_time_recovery_enabled=True)
    shared.create("no-backup", backup_configuration=on)
    archive(shared, "no-backup")
    assert window(shared, "no-backup") == (None, None)
    shared.wait(shared.delete("no-backup"))


def test_a_gap_in_the_log_ends_the_recovery_with_an_error_that_names_it(shared: SqlAdmin, logged: str):
    shared.backup(logged)
    for n in range(3):
        shared.rows(logged, f"INSERT INTO history VALUES ({n})")
        latest = archive(shared, logged)
    lost = log_of(shared, logged) / segments(shared, logged)[-2]
    aside = lost.rename(lost.with_name("lost"))
    try:
        with pytest.raises(OperationFailed, match=f"segment {lost.name} is missing"):
            shared.wait(start_recovery(shared, logged, latest, "torn"))
        assert shared.get("torn").state == State.FAILED
    finally:
        aside.rename(lost)
    shared.wait(shared.delete("torn"))


def test_a_restore_begins_a_new_history(shared: SqlAdmin, logged: str):
    """The log from before it leads to where the data are no more."""
    run = shared.backup(logged)
    before = log_of(shared, logged)
    shared.wait(shared.start_restore(logged, run.id, logged))
    assert log_of(shared, logged) != before
    assert not before.exists()
    assert window(shared, logged) == (None, None)
    shared.backup(logged)
    earliest, latest = window(shared, logged)
    assert run.end_time < earliest <= latest


def test_what_no_time_within_the_retention_needs_is_pruned_and_the_window_still_holds(shared: SqlAdmin, logged: str):
    """Backups of 9 and 8 days ago, and one of now: 7 days are kept, so the log of the ninth day is not needed."""
    old = []
    for days in (9, 8):
        at = datetime.now(UTC) - timedelta(days=days)
        run = shared.ended(logged, shared.cloud.control.automated_backup(shared.project, logged, at=at))
        label = shared.cloud.control.sql_paths(shared.project, logged).backups[run.id] / "backup_label"
        os.utime(label, (at.timestamp(), at.timestamp()))
        old.append(re.search(r"file ([0-9A-F]{24})", label.read_text()).group(1))
    assert old[0] in segments(shared, logged)
    shared.rows(logged, "CREATE TABLE kept_for_days AS SELECT 1 AS n")
    newest = shared.backup(logged)
    assert segments(shared, logged)[0] == old[1]
    earliest, latest = window(shared, logged)
    assert abs(datetime.now(UTC) - timedelta(days=7) - earliest) < timedelta(minutes=1)

    # From the backup of the eighth day, since there is no other once the newest is gone.
    request = sql.SqlBackupRunsDeleteRequest(project=shared.project, instance=logged, id=newest.id)
    shared.wait(shared.backups.delete(request))
    shared.wait(start_recovery(shared, logged, latest, "far"))
    assert shared.rows("far", "SELECT n FROM kept_for_days") == [(1,)]
    shared.wait(shared.delete("far"))


def test_an_archive_that_cannot_be_written_stops_the_window_and_loses_nothing(shared: SqlAdmin, logged: str):
    _, latest = window(shared, logged)
    current = shared.rows(logged, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[0][0]
    in_the_way = log_of(shared, logged) / current
    in_the_way.write_text("not what the server has")
    shared.rows(logged, "INSERT INTO history VALUES (100)")
    at = datetime.now(UTC)
    shared.rows(logged, "CREATE TABLE later AS SELECT 1 AS n")
    with pytest.raises(ValueError, match=f"segment {current} was not archived"):
        archive(shared, logged)
    assert window(shared, logged)[1] == latest < at
    assert in_the_way.read_text() == "not what the server has"

    in_the_way.unlink()
    assert archive(shared, logged) > at
    shared.wait(start_recovery(shared, logged, at, "whole"))
    assert shared.rows("whole", "SELECT count(*) FROM history WHERE n = 100") == [(1,)]
    with pytest.raises(psycopg.errors.UndefinedTable):
        shared.rows("whole", "SELECT n FROM later")
    shared.wait(shared.delete("whole"))
