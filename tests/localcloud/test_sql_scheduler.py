"""The scheduler on a clock of the test's, with the services that it asks replaced by what they answer."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from google.api_core import exceptions
from google.cloud import sqladmin_v1 as sql

from localcloud.sql import scheduler as module
from localcloud.sql.names import InstanceName
from localcloud.sql.scheduler import Scheduler

EVENING = datetime(2026, 3, 10, 20, 0, tzinfo=UTC)
WINDOW = datetime(2026, 3, 11, 3, 0, tzinfo=UTC)
FIRST, SECOND = InstanceName("p", "first"), InstanceName("p", "second")


class Cloud:
    """Instances, their runs, backups and recovery in one: it remembers what was asked of it."""

    def __init__(self) -> None:
        self.now = EVENING
        self.busy: set[InstanceName] = set()
        self.taken: list[tuple[InstanceName, datetime]] = []
        self.advanced: list[InstanceName] = []

    def names(self) -> list[InstanceName]:
        return [FIRST, SECOND]

    def find(self, name: InstanceName) -> sql.DatabaseInstance:
        backup = sql.BackupConfiguration(enabled=True, start_time="03:00")
        settings = sql.Settings(backup_configuration=backup, activation_policy="ALWAYS")
        return sql.DatabaseInstance(name=name.instance, settings=settings, state="RUNNABLE", create_time=EVENING)

    def of(self, name: InstanceName) -> list[sql.BackupRun]:
        return [sql.BackupRun(type_="AUTOMATED", window_start_time=at) for taken, at in self.taken if taken == name]

    def automated(self, name: InstanceName, window: datetime) -> None:
        if name in self.busy:
            raise exceptions.Aborted("another operation was already in progress")
        self.taken.append((name, window))

    def advance(self, name: InstanceName) -> None:
        self.advanced.append(name)
        if name in self.busy:
            raise OSError("the data directory changes places")

    def scheduler(self) -> Scheduler:
        return Scheduler(self, self, self, self, clock=lambda: self.now)


def test_each_window_gets_one_backup_once_it_has_opened():
    cloud = Cloud()
    scheduler = cloud.scheduler()
    scheduler.look()
    cloud.now = WINDOW - timedelta(seconds=1)
    scheduler.look()
    assert cloud.taken == []
    for cloud.now in (WINDOW, WINDOW + timedelta(minutes=5), WINDOW + timedelta(hours=23)):
        scheduler.look()
    assert cloud.taken == [(FIRST, WINDOW), (SECOND, WINDOW)]
    cloud.now = WINDOW + timedelta(days=1)
    scheduler.look()
    assert cloud.taken[2:] == [(FIRST, WINDOW + timedelta(days=1)), (SECOND, WINDOW + timedelta(days=1))]


def test_an_instance_that_is_busy_is_asked_again_and_holds_up_no_other():
    cloud = Cloud()
    scheduler, cloud.now, cloud.busy = cloud.scheduler(), WINDOW, {FIRST}
    scheduler.look()
    assert cloud.taken == [(SECOND, WINDOW)]
    assert cloud.advanced == [FIRST, SECOND]
    cloud.busy = set()
    scheduler.look()
    assert cloud.taken == [(SECOND, WINDOW), (FIRST, WINDOW)]


def test_it_looks_again_and_again_until_it_is_stopped(monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    cloud = Cloud()
    scheduler = cloud.scheduler()
    scheduler.start()
    deadline = time.monotonic() + 10
    while len(cloud.advanced) < 6:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    scheduler.stop()
    time.sleep(0.1)
    looked = len(cloud.advanced)
    time.sleep(0.1)
    assert len(cloud.advanced) == looked
