"""The changed copies do what they say: each is run, with its migrations, on a real database."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.examples.conftest import API, TOKEN, Database, Serve, Served, environment
from tests.variants import SAMPLE, Variant, copy


@pytest.fixture
def api(tmp_path: Path) -> Variant:
    return Variant("api", tmp_path / "api")


def statuses(served: Served, path: str, count: int) -> list[int]:
    return [served.client.get(path).status_code for _ in range(count)]


def test_a_copy_holds_what_is_shipped_and_nothing_else(tmp_path: Path) -> None:
    for service in ("api", "frontend"):
        dest = copy(service, tmp_path / service)
        assert (dest / "Procfile").read_text() == (SAMPLE / service / "Procfile").read_text()
        assert not list(dest.rglob("__pycache__"))


def test_version_errors_and_slowness_work_together(api: Variant, serve: Serve, database: Database) -> None:
    api.with_version("2.0").errors(0.05).slow(10)
    served = serve(api.at, DATABASE_URL=database.url, K_REVISION="r9")
    assert served.client.get("/").json()["version"] == "2.0"
    assert statuses(served, "/health", 30) == [200] * 30
    began = time.monotonic()
    found = statuses(served, "/specs", 100)
    assert time.monotonic() - began > 100 * 0.01
    assert [index + 1 for index, status in enumerate(found) if status == 500] == [20, 40, 60, 80, 100]
    assert {served.client.get("/specs").headers["x-revision"] for _ in range(20)} == {"r9"}


def test_faults_can_be_taken_out_again(api: Variant) -> None:
    api.with_version("2.0").errors().slow(5).crashes_at_start().healthy_but_database_dead().healthy()
    assert texts(api) == texts(Variant("api", api.at.with_name("other")).with_version("2.0"))


def test_a_crash_at_start_ends_the_process_with_status_1(api: Variant) -> None:
    command = (api.crashes_at_start().at / "Procfile").read_text().removeprefix("web: ")
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=api.at, env=environment(DATABASE_URL="x"), capture_output=True, text=True,
        timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "this variant crashes at start" in done.stdout + done.stderr


def test_a_dead_database_leaves_health_ok_and_migrations_working(
    api: Variant, serve: Serve, database: Database
) -> None:
    api.with_additive_migration("a note").healthy_but_database_dead()
    database.alembic("upgrade", "head", app=api.at)
    served = serve(api.at, DATABASE_URL=database.url)
    assert served.client.get("/health").status_code == 200
    assert served.client.get("/specs").status_code == 503
    assert "a_note" in database.columns("specs")


def test_the_frontends_faults_are_of_the_same_kind(tmp_path: Path, serve: Serve) -> None:
    page = Variant("frontend", tmp_path / "frontend").with_version("3").healthy_but_database_dead().errors(0.5)
    served = serve(page.at, API_URL="http://127.0.0.1:1")
    assert statuses(served, "/", 4) == [502, 500, 502, 500]
    assert served.client.get("/health").status_code == 200
    assert "version 3" in served.client.get("/specs/x").text


def test_additive_migrations_stack_and_have_ids_of_their_own(api: Variant, database: Database) -> None:
    api.with_additive_migration("one").with_additive_migration("chaos-2")
    assert api.head == "0008_chaos_2"
    again = Variant.at_folder("api", api.at).with_additive_migration("three")
    assert again.head == "0009_three"
    database.alembic("upgrade", "head", app=api.at)
    assert {"one", "chaos_2", "three"} < database.columns("specs")


def test_breaking_migrations_break_older_code_and_not_their_own(
    api: Variant, serve: Serve, database: Database
) -> None:
    api.with_breaking_migration().with_undetectable_breaking_migration()
    printed = database.alembic("upgrade", "0006_code_lines:head", "--sql", app=api.at).out
    assert printed.count("RENAME") == 1
    old = serve(API, DATABASE_URL=database.url, SYNC_TOKEN=TOKEN)
    new = serve(api.at, DATABASE_URL=database.url, SYNC_TOKEN=TOKEN)
    assert [old.client.get("/specs?fresh=1").status_code, new.client.get("/specs?fresh=1").status_code] == [200, 500]

    database.alembic("upgrade", "0007_rename_title", app=api.at)
    assert [old.client.get("/specs?fresh=1").status_code, new.client.get("/specs?fresh=1").status_code] == [500, 500]

    database.alembic("upgrade", "head", app=api.at)
    assert new.post("/internal/sync-from-repo").json()["errors"] == []
    assert "Radar chart" in [spec["title"] for spec in new.client.get("/specs?fresh=1").json()["specs"]]
    assert new.client.get("/specs/radar-profile").json()["title"] == "Radar chart"

    database.alembic("downgrade", "0006_code_lines", app=api.at)
    assert "Radar chart" in [spec["title"] for spec in old.client.get("/specs?fresh=1").json()["specs"]]


def test_a_dropping_migration_loses_data_and_breaks_nobody(api: Variant, serve: Serve, database: Database) -> None:
    database.execute("INSERT INTO specs (id, title, description, added_at) VALUES ('x', 'x', 'x', '2020-01-01')")
    database.alembic("upgrade", "head", app=api.with_dropping_migration().at)
    assert "added_at" not in database.columns("specs")
    assert statuses(serve(API, DATABASE_URL=database.url), "/specs/x", 1) == [200]
    database.alembic("downgrade", "-1", app=api.at)
    assert database.execute("SELECT count(*) FROM specs WHERE added_at < '2021-01-01'") == [(0,)]


def test_a_blocked_migration_waits_for_a_reader_and_works_without_one(api: Variant, database: Database) -> None:
    api.with_blocked_migration()
    with database.connect() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM specs")
        tried = database.alembic("upgrade", "head", app=api.at, check=False, PGOPTIONS="-c lock_timeout=200ms")
        assert (tried.status, "lock timeout" in tried.err) == (1, True)
    database.alembic("upgrade", "head", app=api.at)
    assert "blocked" in database.columns("specs")


def test_a_failing_migration_changes_nothing_and_a_slow_one_takes_its_time(api: Variant, database: Database) -> None:
    api.with_slow_migration(seconds=0.4).with_failing_migration()
    began = time.monotonic()
    tried = database.alembic("upgrade", "head", app=api.at, check=False)
    assert (tried.status, "division by zero" in tried.err) == (1, True)
    assert time.monotonic() - began > 0.4
    assert database.execute("SELECT version_num FROM alembic_version") == [("0007_slow",)]
    assert "half" not in database.columns("specs")


@pytest.mark.parametrize("head", ["0001", "0004"])
def test_old_code_works_on_its_own_schema_and_breaks_where_a_rename_lies_between(
    api: Variant, serve: Serve, database: Database, head: str
) -> None:
    api.old_head(head)
    database.alembic("downgrade", api.head)
    old = serve(api.at, DATABASE_URL=database.url, SYNC_TOKEN=TOKEN)
    assert old.post("/internal/sync-from-repo").status_code == 200
    assert statuses(old, "/specs/radar-profile", 1) == [200]
    database.alembic("upgrade", "head")
    assert statuses(old, "/specs/radar-profile", 1) == [500 if head < "0004" else 200]


def test_a_change_that_does_not_fit_the_text_fails_at_once(api: Variant) -> None:
    with pytest.raises(AssertionError, match="0 times"):
        api.replace("Procfile", "gunicorn", "uvicorn")


def test_the_procfile_can_be_missing_and_all_changes_be_undone(api: Variant) -> None:
    api.without_procfile().with_breaking_migration().with_empty_sync_source()
    assert not (api.at / "Procfile").exists()
    assert texts(api.as_shipped()) == texts(Variant("api", api.at.with_name("shipped")))


def texts(variant: Variant) -> dict[str, str]:
    files = (path for path in variant.at.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(variant.at)): path.read_text() for path in files}
