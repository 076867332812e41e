"""The sample's migrations, run by alembic as the migration job runs them, with data in the tables."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

from tests.examples.conftest import API, BIN, Database, environment
from tests.variants import Variant

REVISIONS = ["0001_initial", "0002_quality", "0003_indexes", "0004_image_url", "0005_drop_notes", "0006_code_lines"]
MIGRATION_LOCK = 0x7079706C6F7473
IMPLEMENTATIONS = """
    INSERT INTO implementations (spec_id, library, code, {url})
        SELECT 'a', 'library ' || n, (ARRAY[E'one\\ntwo', E'one\\n', E'a\\n\\nb\\n'])[n % 3 + 1], 'u' || n
        FROM generate_series(1, 2500) n
"""
BUILDING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE query LIKE 'CREATE INDEX CONCURRENTLY%' AND state = 'active' AND datname = current_database()
"""


def revision(database: Database) -> str:
    return str(database.execute("SELECT version_num FROM alembic_version")[0][0])


def test_up_down_and_up_again_keeps_the_rows_and_loses_what_the_docstrings_say(empty: Database) -> None:
    empty.alembic("upgrade", "0001_initial")
    empty.execute(
        "INSERT INTO specs (id, title, description, notes) VALUES ('a', 'A', 'a', 'lost'), ('b', 'B', 'b', 'too')"
    )
    empty.execute(IMPLEMENTATIONS.format(url="preview_url"))
    empty.alembic("upgrade", "head")
    assert revision(empty) == REVISIONS[-1]
    lines = "SELECT code_lines, count(*) FROM implementations GROUP BY 1 ORDER BY 1"
    assert empty.execute(lines) == [(1, 834), (2, 833), (3, 833)]
    renamed = "SELECT count(*) FROM implementations WHERE image_url = 'u' || substr(library, 9)"
    assert empty.execute(renamed) == [(2500,)]
    empty.execute("UPDATE implementations SET quality = 50")

    empty.alembic("downgrade", "0001_initial")
    assert empty.columns("implementations") == {"id", "spec_id", "library", "code", "preview_url"}
    assert empty.execute("SELECT id, notes FROM specs ORDER BY id") == [("a", None), ("b", None)]

    empty.alembic("upgrade", "head")
    assert empty.execute("SELECT count(*), count(quality), count(code_lines) FROM implementations") == [(2500, 0, 2500)]

    empty.alembic("downgrade", "base")
    assert empty.columns("specs") == empty.columns("implementations") == set()


def test_the_schema_at_head_is_the_one_that_the_code_declares(database: Database) -> None:
    assert "No new upgrade operations detected" in database.alembic("check").out


def test_a_broken_off_backfill_goes_on_where_it_was(database: Database) -> None:
    database.execute("INSERT INTO specs (id, title, description) VALUES ('a', 'A', 'a')")
    database.execute(IMPLEMENTATIONS.format(url="image_url"))
    database.execute("UPDATE implementations SET code_lines = 99 WHERE id <= 1000")
    database.execute("UPDATE alembic_version SET version_num = '0005_drop_notes'")
    database.alembic("upgrade", "head")
    assert database.execute("SELECT count(*) FROM implementations WHERE code_lines = 99") == [(1000,)]
    assert database.execute("SELECT count(*) FROM implementations WHERE code_lines IS NULL") == [(0,)]


def test_two_migrators_at_once_run_each_revision_once(empty: Database) -> None:
    started = [
        subprocess.Popen(
            [str(BIN / "alembic"), "upgrade", "head"], cwd=API, env=environment(DATABASE_URL=empty.url),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    printed = "".join(process.communicate(timeout=30)[0] for process in started)
    assert [process.returncode for process in started] == [0, 0], printed
    assert printed.count("Running upgrade") == len(REVISIONS)


def test_a_migrator_that_finds_another_says_so_and_changes_nothing(empty: Database) -> None:
    with empty.connect() as other:
        other.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
        tried = empty.alembic("upgrade", "head", check=False, MIGRATION_LOCK_SECONDS="0.3")
    assert tried.status == 1
    assert "another migration has been running" in tried.err
    assert empty.columns("specs") == set()


def test_a_migration_behind_an_idle_transaction_gives_up_and_succeeds_later(database: Database) -> None:
    with database.connect() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM specs, implementations")
        tried = database.alembic("downgrade", "-1", check=False, PGOPTIONS="-c lock_timeout=300ms")
        assert tried.status == 1
        assert "lock timeout" in tried.err
        assert revision(database) == REVISIONS[-1]
    database.alembic("downgrade", "-1", PGOPTIONS="-c lock_timeout=300ms")
    assert revision(database) == REVISIONS[-2]


def test_a_migration_has_a_lock_timeout_even_when_nobody_sets_one(database: Database, tmp_path: Path) -> None:
    asking = "CREATE TABLE said AS SELECT current_setting('lock_timeout')"
    app = Variant("api", tmp_path / "api").with_migration("ask", asking, "DROP TABLE said").at
    database.alembic("upgrade", "head", app=app)
    assert database.execute("SELECT * FROM said") == [("5s",)]


def test_writers_go_on_while_the_indexes_are_built(empty: Database) -> None:
    empty.alembic("upgrade", "0002_quality")
    empty.execute("INSERT INTO specs (id, title, description) VALUES ('a', 'A', 'a')")
    with empty.connect() as writer, writer.transaction():
        writer.execute("UPDATE specs SET title = 'B'")
        building = threading.Thread(target=empty.alembic, args=("upgrade", "0003_indexes"))
        building.start()
        until = time.monotonic() + 20
        while empty.execute(BUILDING) == [(0,)]:
            assert time.monotonic() < until, "no index was being built"
            time.sleep(0.02)
        empty.execute("INSERT INTO specs (id, title, description) VALUES ('b', 'B', 'b')")
    building.join(timeout=20)
    assert revision(empty) == "0003_indexes"
    assert empty.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]


def test_the_sql_of_any_revision_can_be_printed_without_a_database() -> None:
    printed = Database("", "").alembic("upgrade", "0001_initial:head", "--sql").out
    assert all(f"'{name}'" in printed for name in REVISIONS)
    assert "ALTER TABLE implementations RENAME preview_url TO image_url;" in printed
    assert "CREATE TABLE" not in printed
    assert "%%" not in printed
