from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.cloud import sqladmin_v1 as sql

from localcloud.sql.names import InstanceName
from localcloud.sql.runs import Runs, surplus
from localcloud.sql.trash import Trash
from localcloud.sql.windows import due, last_window
from localcloud.store import Store

State = sql.DatabaseInstance.SqlInstanceState
Policy = sql.Settings.SqlActivationPolicy
Status = sql.SqlBackupRunStatus
Type = sql.SqlBackupRunType
NOON = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
THREE = datetime(2026, 3, 10, 3, 0, tzinfo=UTC)


def instance(*, enabled: bool = True, policy: int = Policy.ALWAYS, state: int = State.RUNNABLE, age_hours: int = 48):
    backup = sql.BackupConfiguration(enabled=enabled, start_time="03:00")
    settings = sql.Settings(backup_configuration=backup, activation_policy=policy)
    return sql.DatabaseInstance(settings=settings, state=state, create_time=NOON - timedelta(hours=age_hours))


def run(number: int, status: int = Status.SUCCESSFUL, type_: int = Type.AUTOMATED, window: datetime = THREE):
    return sql.BackupRun(id=number, status=status, type_=type_, window_start_time=window)


@pytest.mark.parametrize(
    ("start_time", "opened"), [("03:00", THREE), ("12:00", NOON), ("12:01", NOON - timedelta(hours=23, minutes=59))]
)
def test_the_last_window_is_todays_once_it_has_opened_else_yesterdays(start_time: str, opened: datetime):
    assert last_window(start_time, NOON) == opened


def test_an_automated_backup_is_due_once_for_a_window():
    assert due(instance(), [], NOON) == THREE
    assert due(instance(), [run(1, window=THREE - timedelta(days=1))], NOON) == THREE
    assert due(instance(), [run(1, type_=Type.ON_DEMAND)], NOON) == THREE
    for status in (Status.SUCCESSFUL, Status.FAILED, Status.RUNNING):
        assert due(instance(), [run(1, status)], NOON) is None


@pytest.mark.parametrize(
    "other",
    [{"enabled": False}, {"policy": Policy.NEVER}, {"state": State.MAINTENANCE}, {"age_hours": 8}],
)
def test_none_is_due_where_none_is_wanted_or_possible(other: dict):
    assert due(instance(**other), [], NOON) is None


def test_retention_lets_go_the_oldest_automated_runs_and_never_one_on_demand():
    runs = [
        run(1, Status.FAILED), run(2, type_=Type.ON_DEMAND), run(3), run(4), run(5, Status.FAILED), run(6),
        run(7, Status.RUNNING),
    ]  # fmt: skip
    assert [item.id for item in surplus(runs, 2)] == [1, 3]
    assert surplus(runs, 4) == []


def test_failed_runs_do_not_push_good_ones_out():
    runs = [run(1), run(2, Status.FAILED), run(3, Status.FAILED)]
    assert surplus(runs, 1) == []


def test_a_backup_that_is_being_read_outlives_retention_until_the_next_one(tmp_path: Path):
    name, store = InstanceName("p", "i"), Store(tmp_path / "store.db")
    cloud, instances = SimpleNamespace(state=tmp_path, store=store), SimpleNamespace(trash=Trash(tmp_path / "trash"))
    runs = Runs(cloud, instances)
    for number in (1, 2, 3):
        runs.put(name, run(number))
        runs.data(name, number).mkdir(parents=True)
    with runs.held(name, 1) as data:
        runs.let_go(name, 1)
        assert data.exists()
        assert [item.id for item in runs.of(name)] == [1, 3]
    runs.let_go(name, 1)
    assert [item.id for item in runs.of(name)] == [3]
    assert not data.exists()
    store.close()
