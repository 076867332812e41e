"""Damages a real backup in the local cloud: its server is started on the backup's own files, damaged, and stopped."""

from __future__ import annotations

import tempfile
from pathlib import Path

from embedded.postgres import Cluster
from embedded.unprivileged import give
from localcloud.sql.roles import ADMIN
from tests.damages import Damage
from tests.flows.drills import Drilled


def damage_backup(drilled: Drilled, number: int, what: Damage) -> None:
    """Damage a backup before anybody restores it."""
    paths = drilled.control.sql_paths(drilled.project, drilled.database.instance)
    with tempfile.TemporaryDirectory(prefix="dm-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        give(Path(folder))
        cluster = Cluster(paths.backups[number], Path(folder), superuser=ADMIN)
        cluster.start()
        try:
            with cluster.connect("pyplots") as connection:
                connection.execute("SET allow_system_table_mods = on")
                for statement in what.sql:
                    connection.execute(statement)
                file = _file_of(cluster, what)
                connection.execute("CHECKPOINT")
        finally:
            cluster.stop()
        if what.page is not None:
            what.page(file)


def _file_of(cluster: Cluster, what: Damage) -> Path:
    if not what.relation:
        return cluster.data
    with cluster.connect("pyplots") as connection:
        found = connection.execute("SELECT pg_relation_filepath(%s::regclass)", (what.relation,)).fetchone()
    assert found is not None
    return cluster.data / Path(found[0])
