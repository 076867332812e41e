"""Lets the users of an instance create the extensions that Cloud SQL lets them create, without being superusers.

The wheel's own control files stay as they are: copies that say ``trusted`` stand before them on the server's path.
Source of the list: https://cloud.google.com/sql/docs/postgres/extensions
"""

from __future__ import annotations

from pathlib import Path

from embedded.postgres import binaries

SUPPORTED = (
    "amcheck", "autoinc", "bloom", "btree_gin", "btree_gist", "citext", "cube", "dblink", "dict_int", "dict_xsyn",
    "earthdistance", "fuzzystrmatch", "hstore", "insert_username", "intagg", "intarray", "isn", "lo", "ltree",
    "moddatetime", "pageinspect", "pg_buffercache", "pg_freespacemap", "pg_prewarm", "pg_stat_statements", "pg_trgm",
    "pg_visibility", "pg_walinspect", "pgrowlocks", "pgstattuple", "postgres_fdw", "refint", "tablefunc", "tcn",
    "tsm_system_rows", "tsm_system_time", "unaccent", "vector",
)  # fmt: skip


class Extensions:
    """A folder of control files. Written anew at each start: it names where PostgreSQL is installed now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._write(binaries().parent / "share" / "extension")

    def settings(self) -> dict[str, str]:
        """The server's settings that make the extensions available."""
        return {
            "extension_control_path": f"{self._folder}:$system",
            "shared_preload_libraries": "pg_stat_statements",
        }

    def _write(self, installed: Path) -> None:
        (self._folder / "extension").mkdir(parents=True, exist_ok=True)
        for name in SUPPORTED:
            lines = [line for line in (installed / f"{name}.control").read_text().splitlines() if "trusted" not in line]
            lines += ["trusted = true", f"directory = '{installed}'"]
            (self._folder / "extension" / f"{name}.control").write_text("\n".join(lines) + "\n")
