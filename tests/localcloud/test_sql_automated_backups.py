from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from google.api_core import exceptions
from google.cloud import sqladmin_v1 as sql

from tests.localcloud.sql_admin import SqlAdmin, admin, shared

__all__ = ["admin", "shared"]  # fixtures

Status = sql.SqlBackupRunStatus
Type = sql.SqlBackupRunType


def backup_configuration(**more: object) -> sql.BackupConfiguration:
    kept = sql.BackupRetentionSettings(retained_backups=2)
    return sql.BackupConfiguration(enabled=True, start_time="03:00", backup_retention_settings=kept, **more)


def runs(admin: SqlAdmin, name: str) -> list[sql.BackupRun]:
    return list(admin.backups.list(sql.SqlBackupRunsListRequest(project=admin.project, instance=name)))


def automated(admin: SqlAdmin, name: str, at: datetime | None = None) -> sql.BackupRun:
    """The automated backup, taken now, at its end."""
    identity = admin.cloud.control.automated_backup(admin.project, name, at=at)
    return admin.ended(name, identity)


@pytest.fixture(scope="module")
def kept(shared: SqlAdmin) -> Iterator[str]:
    shared.create("kept", backup_configuration=backup_configuration())
    yield "kept"
    shared.wait(shared.delete("kept"))


def test_an_automated_backup_tells_its_window_and_is_kept_to_the_count_that_is_retained(shared: SqlAdmin, kept: str):
    on_demand = shared.backup(kept)
    days = [datetime.now(UTC) - timedelta(days=number) for number in (3, 2, 1)]
    old = [automated(shared, kept, at=day) for day in days]
    newest = automated(shared, kept)

    opened = newest.window_start_time
    assert (opened.hour, opened.minute, opened.second) == (3, 0, 0)
    assert opened <= newest.enqueued_time <= newest.start_time < newest.end_time <= datetime.now(UTC)
    assert newest.max_chargeable_bytes > 20_000_000
    assert newest.status == Status.SUCCESSFUL
    assert abs(old[-1].start_time - days[-1]) < timedelta(minutes=1)
    found = runs(shared, kept)
    assert {run.id for run in found} == {newest.id, old[-1].id, on_demand.id}
    assert {run.type_ for run in found} == {Type.AUTOMATED, Type.ON_DEMAND}
    paths = shared.cloud.control.sql_paths(shared.project, kept).backups
    assert set(paths) == {run.id for run in found}
    assert all((path / "backup_manifest").exists() for path in paths.values())


def test_a_planted_fault_makes_a_backup_fail_with_its_reason(shared: SqlAdmin, kept: str):
    control, place = shared.cloud.control, "SqlBackupRunsService.Copy"
    fault = control.plant(place, "error", project=shared.project, resource=kept, message="No space left on device")
    failed = automated(shared, kept)
    assert control.fault(fault)["met"] == 1
    assert failed.status == Status.FAILED
    assert failed.error.message == "No space left on device"
    assert failed.end_time >= failed.start_time
    assert automated(shared, kept).status == Status.SUCCESSFUL


def test_a_backup_is_refused_where_there_is_nothing_to_back_up(shared: SqlAdmin, kept: str):
    with pytest.raises(LookupError, match="does not exist"):
        shared.cloud.control.automated_backup(shared.project, "nothing")
    shared.patch(kept, activation_policy=sql.Settings.SqlActivationPolicy.NEVER)
    try:
        with pytest.raises(ValueError, match="instance is not running"):
            shared.cloud.control.automated_backup(shared.project, kept)
    finally:
        shared.patch(kept, activation_policy=sql.Settings.SqlActivationPolicy.ALWAYS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"start_time": "25:00"}, "HH:MM"),
        ({"backup_retention_settings": sql.BackupRetentionSettings(retained_backups=366)}, "between 1 and 365"),
        ({"transaction_log_retention_days": 8}, "between 1 and 7"),
        ({"enabled": False, "point_in_time_recovery_enabled": True}, "must be disabled when backup is disabled"),
    ],
)
def test_a_wrong_backup_configuration_is_refused(admin: SqlAdmin, change: dict, said: str):
    with pytest.raises(exceptions.InvalidArgument, match=said):
        admin.insert("wrong", backup_configuration=sql.BackupConfiguration(**change))
