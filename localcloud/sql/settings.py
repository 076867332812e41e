"""An instance's settings: Google's defaults, what a patch changes, and what is refused."""

from __future__ import annotations

import re
from typing import Any

from google.api_core import exceptions
from google.cloud.sqladmin_v1 import types
from google.cloud.sqladmin_v1.types import Settings

from localcloud.sql.flags import check_flag

_START_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
#: https://cloud.google.com/sql/docs/postgres/backup-recovery/backups
RETAINED_BACKUPS = range(1, 366)
LOG_RETENTION_DAYS = range(1, 8)
_TIER = re.compile(r"db-[a-z0-9-]+")
SMALLEST_DISK_GB = 10


def checked(settings: Settings) -> Settings:
    """Settings with Google's defaults filled in. Raises InvalidArgument for what Google, or the local cloud, lacks."""
    if not settings.tier:
        raise exceptions.InvalidArgument("Invalid request: Missing parameter: settings.tier.")
    if not _TIER.fullmatch(settings.tier):
        raise exceptions.InvalidArgument(
            f"Invalid request: Invalid Tier ({settings.tier}) for (ENTERPRISE) Edition. "
            "Use a predefined Tier like db-custom-1-3840 instead."
        )
    for flag in settings.database_flags:
        check_flag(flag.name, flag.value)
    whole = merged(defaults(), settings)
    if whole.data_disk_size_gb < SMALLEST_DISK_GB:
        raise exceptions.InvalidArgument(f"Invalid request: Disk size must be at least {SMALLEST_DISK_GB} GB.")
    _check_backups(whole.backup_configuration)
    return whole


def _check_backups(backup: types.BackupConfiguration) -> None:
    if not _START_TIME.fullmatch(backup.start_time):
        raise _invalid(f"Backup start time ({backup.start_time}) must be in the format HH:MM.")
    if backup.backup_retention_settings.retained_backups not in RETAINED_BACKUPS:
        raise _invalid("The number of retained backups must be between 1 and 365.")
    if backup.transaction_log_retention_days not in LOG_RETENTION_DAYS:
        raise _invalid("Transaction log retention days must be between 1 and 7.")
    if backup.point_in_time_recovery_enabled and not backup.enabled:
        raise _invalid("Point in time recovery must be disabled when backup is disabled.")


def _invalid(why: str) -> exceptions.InvalidArgument:
    return exceptions.InvalidArgument(f"Invalid request: {why}")


def defaults() -> Settings:
    """What Google fills in where a request says nothing: https://cloud.google.com/sql/docs/postgres/instance-settings"""
    return Settings(
        kind="sql#settings",
        activation_policy=Settings.SqlActivationPolicy.ALWAYS,
        availability_type=types.SqlAvailabilityType.ZONAL,
        pricing_plan=types.SqlPricingPlan.PER_USE,
        edition=Settings.Edition.ENTERPRISE,
        connector_enforcement=Settings.ConnectorEnforcement.NOT_REQUIRED,
        data_disk_type=types.SqlDataDiskType.PD_SSD,
        data_disk_size_gb=SMALLEST_DISK_GB,
        storage_auto_resize=True,
        deletion_protection_enabled=False,
        ip_configuration=types.IpConfiguration(ipv4_enabled=True),
        backup_configuration=types.BackupConfiguration(
            kind="sql#backupConfiguration", start_time="00:00", enabled=False, point_in_time_recovery_enabled=False,
            transaction_log_retention_days=7,
            backup_retention_settings=types.BackupRetentionSettings(
                retention_unit=types.BackupRetentionSettings.RetentionUnit.COUNT, retained_backups=7
            ),
        ),
    )  # fmt: skip


def merged(base: Settings, change: Settings) -> Settings:
    """What a PATCH leaves: the fields that the change sets replace, messages and labels merge, lists are replaced."""
    answer = Settings(base)
    _merge(Settings.pb(answer), Settings.pb(change))
    return answer


def _merge(base: Any, change: Any) -> None:
    for field, value in change.ListFields():
        kept = getattr(base, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            kept.update(value)
        elif field.is_repeated:
            base.ClearField(field.name)
            getattr(base, field.name).extend(value)
        elif field.message_type is None:
            setattr(base, field.name, value)
        elif field.message_type.full_name.startswith("google.protobuf."):
            kept.CopyFrom(value)  # wrappers: an explicit false or 0 is a value
        else:
            _merge(kept, value)


def needs_restart(before: Settings, after: Settings) -> bool:
    """Whether the server must be started anew, or stopped, for the change."""
    return _server_side(before) != _server_side(after)


def _server_side(settings: Settings) -> tuple[Any, ...]:
    return settings.activation_policy, sorted((flag.name, flag.value) for flag in settings.database_flags)


def wanted_up(instance: types.DatabaseInstance) -> bool:
    """Whether the instance's server shall run."""
    return bool(instance.settings.activation_policy != Settings.SqlActivationPolicy.NEVER)
