"""Lets the users of an instance create the extensions that Cloud SQL lets them create, without being superusers.

The wheel's own control files stay as they are: copies that say ``trusted`` stand before them on the server's path.
Source of the list: https://cloud.google.com/sql/docs/postgres/extensions

PostgreSQL's own amcheck may be run by superusers alone. On Cloud SQL whoever is a member of cloudsqlsuperuser creates
it and runs it (https://cloud.google.com/sql/docs/postgres/find-fix-inconsistent-indexes), so our script of it ends with
grants.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from embedded.postgres import binaries
from localcloud.sql.roles import GROUP

SUPPORTED = (
    "amcheck", "autoinc", "bloom", "btree_gin", "btree_gist", "citext", "cube", "dblink", "dict_int", "dict_xsyn",
    "earthdistance", "fuzzystrmatch", "hstore", "insert_username", "intagg", "intarray", "isn", "lo", "ltree",
    "moddatetime", "pageinspect", "pg_buffercache", "pg_freespacemap", "pg_prewarm", "pg_stat_statements", "pg_trgm",
    "pg_visibility", "pg_walinspect", "pgrowlocks", "pgstattuple", "postgres_fdw", "refint", "tablefunc", "tcn",
    "tsm_system_rows", "tsm_system_time", "unaccent", "vector",
)  # fmt: skip


#: Whose functions, which PostgreSQL revokes from everyone, the group may run.
GRANTED = ("amcheck",)
_GRANTS = """
DO $grants$
DECLARE
    member regprocedure;
BEGIN
    FOR member IN SELECT objid::regprocedure FROM pg_depend JOIN pg_extension e ON e.oid = refobjid
        WHERE classid = 'pg_proc'::regclass AND refclassid = 'pg_extension'::regclass AND e.extname = '{extension}'
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO {group}', member);
    END LOOP;
END
$grants$;
"""


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
        ours = self._folder / "extension"
        ours.mkdir(parents=True, exist_ok=True)
        for name in SUPPORTED:
            lines = [line for line in (installed / f"{name}.control").read_text().splitlines() if "trusted" not in line]
            lines += ["trusted = true", f"directory = '{ours if name in GRANTED else installed}'"]
            (ours / f"{name}.control").write_text("\n".join(lines) + "\n")
        for name in GRANTED:
            parts = list(_scripts(installed, name))
            newest = parts[-1].stem.rpartition("--")[2]
            text = "\n".join(part.read_text() for part in parts) + _GRANTS.format(extension=name, group=GROUP)
            (ours / f"{name}--{newest}.sql").write_text(text)


def _scripts(installed: Path, name: str) -> Iterator[Path]:
    """The script of an extension's first version, and those that lead from each version to the next."""
    script: Path | None = next(path for path in installed.glob(f"{name}--*.sql") if path.stem.count("--") == 1)
    while script:
        yield script
        version = script.stem.rpartition("--")[2]
        script = next(installed.glob(f"{name}--{version}--*.sql"), None)
