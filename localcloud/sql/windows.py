"""When an automated backup is due: once for each daily window, judged without a clock of its own.

``start_time`` is the beginning, in UTC, of a window of four hours in which Google takes the day's backup at a moment of
its choice (https://cloud.google.com/sql/docs/postgres/backup-recovery/backups). Here it begins with the window. A local
cloud that did not run then takes the backup at its next start: a laptop sleeps, Google does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from google.cloud.sqladmin_v1.types import BackupRun, DatabaseInstance
from google.cloud.sqladmin_v1.types import SqlBackupRunType as RunType

from localcloud.sql.settings import wanted_up

DAY = timedelta(days=1)


def last_window(start_time: str, now: datetime) -> datetime:
    """When the newest backup window opened."""
    hour, minute = map(int, start_time.split(":"))
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today <= now else today - DAY


def due(instance: DatabaseInstance, runs: Iterable[BackupRun], now: datetime) -> datetime | None:
    """The window whose automated backup is still to be taken, if any.

    None is taken of an instance that its owner has stopped, nor for a window that opened before the instance was there.
    A run that failed was that window's.
    """
    backup = instance.settings.backup_configuration
    if not backup.enabled or not wanted_up(instance) or instance.state != DatabaseInstance.SqlInstanceState.RUNNABLE:
        return None
    window = last_window(backup.start_time, now)
    had = any(run.type_ == RunType.AUTOMATED and run.window_start_time >= window for run in runs)
    return None if had or window < instance.create_time else window
