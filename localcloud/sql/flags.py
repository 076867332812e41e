"""Database flags and machine types: what can be asked for.

The flags are those of the PostgreSQL that runs, read from itself, without the ones that Google keeps for itself.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cache

from google.api_core import exceptions
from google.cloud.sqladmin_v1 import types

from embedded.postgres import binaries, unprivileged
from localcloud.rpc import Servicer, rpc
from localcloud.sql.names import about_project

VERSION = types.SqlDatabaseVersion.POSTGRES_18
_KINDS = {
    "BOOLEAN": types.SqlFlagType.BOOLEAN, "INTEGER": types.SqlFlagType.INTEGER, "REAL": types.SqlFlagType.FLOAT,
    "STRING": types.SqlFlagType.STRING, "ENUM": types.SqlFlagType.STRING,
}  # fmt: skip
#: What a flag must not change: where the data is, who may come in, and that nothing acknowledged is lost.
_KEPT = (
    "File Locations", "SSL", "/ Authentication", "Developer Options", "Library Preload", "Archiv", "Recovery",
    "Standby", "Where to Log", "Platform Compatibility",
)  # fmt: skip
_KEPT_NAMES = {
    "fsync", "full_page_writes", "synchronous_commit", "recovery_init_sync_method", "wal_level", "max_wal_senders",
    "listen_addresses", "port", "bonjour", "bonjour_name", "unix_socket_directories", "unix_socket_group",
    "unix_socket_permissions", "log_statement", "extension_control_path", "dynamic_library_path", "restart_after_crash",
}  # fmt: skip
_MIB = 1 << 20
#: Tier: (memory in MiB, largest disk in GiB); https://cloud.google.com/sql/docs/postgres/instance-settings
TIERS = {
    "db-f1-micro": (614, 3_062), "db-g1-small": (1_740, 3_062), "db-custom-1-3840": (3_840, 65_536),
    "db-custom-2-7680": (7_680, 65_536), "db-custom-4-15360": (15_360, 65_536), "db-custom-8-30720": (30_720, 65_536),
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One setting of PostgreSQL as ``postgres --describe-config`` tells it; bounds are empty where it has none."""

    name: str
    context: str
    group: str
    kind: str
    least: str
    most: str


def check_flag(name: str, value: str) -> None:
    """Raise InvalidArgument for a flag that does not exist, is not for changing, or whose number is out of bounds."""
    setting = offered().get(name)
    if setting is None:
        raise exceptions.InvalidArgument(f"Invalid request: Invalid flag name: {name}.")
    if setting.kind == "BOOLEAN" and value not in ("on", "off"):
        raise exceptions.InvalidArgument(f"Invalid request: Invalid flag value for {name}: {value}; on or off.")
    if setting.kind in ("INTEGER", "REAL") and not _within(setting, value):
        raise exceptions.InvalidArgument(
            f"Invalid request: Invalid flag value for {name}: {value}; {setting.least} to {setting.most}."
        )


@cache
def offered() -> dict[str, Setting]:
    """The settings of this PostgreSQL that a flag may change, by name."""
    answer = subprocess.run(
        unprivileged([str(binaries() / "postgres"), "--describe-config"]), capture_output=True, text=True, check=True
    )
    rows = (line.split("\t") for line in answer.stdout.splitlines())
    settings = (Setting(row[0].lower(), row[1], row[2], row[3], row[5], row[6]) for row in rows if len(row) > 6)
    return {setting.name: setting for setting in settings if not _kept(setting)}


def _kept(setting: Setting) -> bool:
    return setting.name in _KEPT_NAMES or setting.context == "internal" or any(part in setting.group for part in _KEPT)


def _within(setting: Setting, value: str) -> bool:
    try:
        number = float(value)
    except ValueError:
        return False
    return float(setting.least) <= number <= float(setting.most)


class Flags(Servicer):
    """google.cloud.sql.v1.SqlFlagsService."""

    service = "google.cloud.sql.v1.SqlFlagsService"

    @rpc("List", types.SqlFlagsListRequest, types.FlagsListResponse, writes=False, resource=lambda _: "")
    def list(self, request: types.SqlFlagsListRequest) -> types.FlagsListResponse:
        """Every flag of PostgreSQL 18; none for another version."""
        if request.database_version not in ("", VERSION.name):
            return types.FlagsListResponse(kind="sql#flagsList")
        items = [_flag(setting) for _, setting in sorted(offered().items())]
        return types.FlagsListResponse(kind="sql#flagsList", items=items)


def _flag(setting: Setting) -> types.Flag:
    flag = types.Flag(
        kind="sql#flag", name=setting.name, type_=_KINDS[setting.kind], applies_to=[VERSION],
        requires_restart=setting.context == "postmaster",
    )  # fmt: skip
    if setting.kind == "INTEGER":
        flag.min_value, flag.max_value = int(setting.least), int(setting.most)
    return flag


class Tiers(Servicer):
    """google.cloud.sql.v1.SqlTiersService."""

    service = "google.cloud.sql.v1.SqlTiersService"

    @rpc("List", types.SqlTiersListRequest, types.TiersListResponse, writes=False, resource=about_project)
    def list(self, request: types.SqlTiersListRequest) -> types.TiersListResponse:
        items = [
            types.Tier(kind="sql#tier", tier=tier, RAM=memory * _MIB, Disk_Quota=disk * 1024 * _MIB)
            for tier, (memory, disk) in TIERS.items()
        ]
        return types.TiersListResponse(kind="sql#tiersList", items=items)
