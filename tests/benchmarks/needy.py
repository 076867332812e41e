"""A cluster of its own with one database for benchmarks of its care: a few needy tables among many healthy ones."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from embedded.postgres import Cluster
from tests.conftest import in_memory_if_there_is_room

KEEPER, PASSWORD, DATABASE = "keeper", "only-here", "app"
NEEDY = [f"needy_{number:02d}" for number in range(10)]
HEALTHY = [f"healthy_{number:03d}" for number in range(190)]
SETTINGS = {"shared_preload_libraries": "pg_stat_statements", "track_io_timing": "on", "autovacuum": "off",
            "max_wal_size": "2GB", "checkpoint_timeout": "1h"}  # fmt: skip


class Needy:
    """The cluster, as its superuser and as the user who cares for it."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(folder / "data", folder / "s", settings=SETTINGS)

    @property
    def url(self) -> SecretStr:
        socket = quote(str(self.cluster.socket_dir), safe="/")
        return SecretStr(f"postgresql+psycopg://{KEEPER}:{PASSWORD}@/{DATABASE}?host={socket}")

    def execute(self, *statements: str) -> list[Any]:
        """Run statements as the superuser; the rows of the last one that gives any."""
        rows: list[Any] = []
        with self.cluster.connect(DATABASE) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
                rows = cursor.fetchall() if cursor.description else rows
        return rows

    def prepare(self, needy_rows: int, healthy_rows: int) -> None:
        """Make the database; the healthy tables are vacuumed and analyzed."""
        with self.cluster.connect() as connection:
            rights = "IN ROLE pg_monitor, pg_signal_backend"
            connection.execute(f"CREATE ROLE {KEEPER} LOGIN PASSWORD '{PASSWORD}' {rights}")
            connection.execute(f"CREATE DATABASE {DATABASE} OWNER {KEEPER}")
        self.execute("CREATE EXTENSION pg_stat_statements", "CREATE EXTENSION pgstattuple", f"SET ROLE {KEEPER}",
                     *self._tables(NEEDY, needy_rows), *self._tables(HEALTHY, healthy_rows), "VACUUM ANALYZE",
                     "RESET ROLE", "CHECKPOINT")  # fmt: skip

    @staticmethod
    def _tables(names: list[str], rows: int) -> Iterator[str]:
        for name in names:
            yield f"CREATE TABLE {name} (id int PRIMARY KEY, owner int, note text, at timestamptz DEFAULT now())"
            yield f"INSERT INTO {name} SELECT i, i % 1000, md5(i::text) FROM generate_series(1, {rows}) i"
            yield f"CREATE INDEX {name}_owner ON {name} (owner)"

    def go_cold(self) -> None:
        """Start the server anew, with nothing in its buffers and, on a disk, nothing in the kernel's cache."""
        self.cluster.stop()
        for path in (self.cluster.data / "base").rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self.cluster.start()

    def need(self, names: Sequence[str] = NEEDY) -> None:
        """Give tables dead rows and stale statistics, the same every time; then a checkpoint."""
        statements = [f"UPDATE {name} SET note = md5(note) WHERE id % 3 = 0" for name in names]
        self.execute(*statements, "SELECT pg_stat_force_next_flush()", "CHECKPOINT")

    def io_milliseconds(self) -> float:
        """The time that sessions have spent on reading and writing so far."""
        statement = """SELECT sum(coalesce(read_time, 0) + coalesce(write_time, 0) + coalesce(writeback_time, 0)
                              + coalesce(extend_time, 0) + coalesce(fsync_time, 0))
                         FROM pg_stat_io WHERE backend_type = 'client backend' AND object = 'relation'"""
        return float(self.execute("SELECT pg_stat_force_next_flush()", statement)[0][0])


@contextmanager
def needy(needy_rows: int, healthy_rows: int, *, on_disk: bool = False) -> Iterator[Needy]:
    """The cluster for as long as the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="needy-", dir="/tmp" if on_disk else in_memory_if_there_is_room()))
    os.chmod(folder, 0o755)
    made = Needy(folder)
    try:
        made.cluster.init()
        made.cluster.start()
        made.prepare(needy_rows, healthy_rows)
        yield made
    finally:
        made.cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
