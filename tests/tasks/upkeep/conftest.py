"""A real PostgreSQL with a database to care for, once a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.postgres import Cluster
from tests.tasks.upkeep.kept import Kept


@pytest.fixture(scope="session")
def cluster(short_folder: Path) -> Iterator[Cluster]:
    made = Cluster(short_folder / "up" / "data", short_folder / "up" / "s", settings={"autovacuum": "off"})
    made.init()
    made.start()
    with made.connect() as connection:
        connection.execute("CREATE ROLE keeper LOGIN PASSWORD 'k' IN ROLE pg_monitor, pg_checkpoint")
        connection.execute("CREATE ROLE plain LOGIN PASSWORD 'k'")
        connection.execute("CREATE DATABASE app OWNER keeper")
    yield made
    made.stop("immediate")


@pytest.fixture(scope="session")
def kept(cluster: Cluster) -> Kept:
    found = Kept(cluster)
    found.execute(
        "CREATE TABLE large (id int PRIMARY KEY, note text)",
        "INSERT INTO large SELECT i, md5(i::text) FROM generate_series(1, 40000) i",
        "CREATE INDEX large_note ON large (note)",
        "CREATE TABLE small AS SELECT i AS id FROM generate_series(1, 100) i",
    )
    return found


@pytest.fixture(scope="session")
def loaded(short_folder: Path) -> Iterator[Kept]:
    """A server with pg_stat_statements loaded, whose versions a test chooses."""
    settings = {"shared_preload_libraries": "pg_stat_statements", "max_prepared_transactions": "1", "fsync": "off",
                "autovacuum_naptime": "1"}  # fmt: skip
    made = Cluster(short_folder / "pl" / "data", short_folder / "pl" / "s", settings=settings)
    made.init()
    made.start()
    with made.connect() as connection:
        connection.execute("CREATE ROLE keeper LOGIN PASSWORD 'k' IN ROLE pg_monitor")
        connection.execute("CREATE DATABASE app OWNER keeper")
    found = Kept(made)
    found.execute("CREATE TABLE one AS SELECT 1 AS id")
    yield found
    made.stop("immediate")


@pytest.fixture
def dead(kept: Kept) -> Kept:
    """The large table with dead rows on each page."""
    kept.execute("VACUUM large", "UPDATE large SET note = md5(note) WHERE id % 2 = 0", "CHECKPOINT")
    return kept
