"""A true streaming standby of a cluster: a copy that follows it over its Unix socket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.postgres import Cluster
from embedded.unprivileged import give

NAME = "standby"
CONNECTS_WITHIN = 15.0


@contextmanager
def standby_of(primary: Cluster, folder: Path) -> Iterator[Cluster]:
    """The standby, streaming, for as long as the block runs. ``folder`` is its own; its path must be short."""
    standby = Cluster(folder / "data", folder / "s", settings=primary.settings, superuser=primary.superuser)
    folder.mkdir()
    primary.copy_to(standby.data)
    info = primary.conninfo()
    source = f"host={info['host']} port={info['port']} user={info['user']} password={info['password']}"
    with (standby.data / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"primary_conninfo = '{source} application_name={NAME}'\n")
    (standby.data / "standby.signal").touch()
    give(standby.data)
    standby.start()
    try:
        _await_streaming(primary)
        yield standby
    finally:
        standby.stop("immediate")


def _await_streaming(primary: Cluster) -> None:
    asked = "SELECT 1 FROM pg_stat_replication WHERE application_name = %s AND replay_lsn IS NOT NULL"
    end = time.monotonic() + CONNECTS_WITHIN
    with primary.connect() as connection:
        while not connection.execute(asked, (NAME,)).fetchone():
            assert time.monotonic() < end, "the standby did not connect to its primary"
            time.sleep(0.05)
