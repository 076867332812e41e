"""Alembic's revisions are read without running them, and rendered without a database and without our secrets."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from alembic.script import ScriptDirectory

from tasks.clients import migration_source
from tasks.clients.migration_source import MigrationSource
from tasks.errors import BadInput, PermanentError

SAMPLE = Path(__file__).parents[3] / "examples/pyplots/api/migrations"


def write(folder: Path, revision: str, down: str, up: str = "pass", back: str = "pass", top: str = "") -> None:
    versions = folder / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    (versions / f"{revision}.py").write_text(dedent(f'''\
        """Revision {revision}."""
        import sqlalchemy as sa
        from alembic import op
        {top}
        revision: str = "{revision}"
        down_revision = {down}

        def upgrade() -> None:
            {up}

        def downgrade() -> None:
            {back}
    '''))


def test_the_sample_is_read_as_alembic_reads_it() -> None:
    history = MigrationSource(SAMPLE).graph()
    script = ScriptDirectory(str(SAMPLE))
    theirs = [item.revision for item in script.walk_revisions()]
    assert [item.revision for item in history.revisions] == theirs[::-1]
    assert history.head == script.get_current_head()


def test_every_sample_revision_has_sql_both_ways() -> None:
    history = MigrationSource(SAMPLE).read()
    assert len(history.revisions) >= 5
    for item in history.revisions:
        assert item.upgrade, item.why_no_upgrade
        assert item.downgrade, item.why_no_downgrade
    first = history.revisions[0]
    assert "CREATE TABLE specs" in first.upgrade
    assert "alembic_version" not in first.upgrade
    assert first.message == "Specs, and the implementations of each."


def test_an_autocommit_block_is_seen(tmp_path: Path) -> None:
    write(tmp_path, "a", "None", up='op.create_table("t", sa.Column("id", sa.Integer))')
    write(tmp_path, "b", '"a"', up='''
            with op.get_context().autocommit_block():
                op.create_index("i", "t", ["id"], postgresql_concurrently=True)''')
    source = MigrationSource(tmp_path)
    one, two = source.read().revisions
    assert (one.transactional, two.transactional) == (True, False)
    assert not [finding for finding in source.lint(two) if finding.severity != "info"]


def test_squawk_is_asked_revision_by_revision_as_inside_a_transaction(tmp_path: Path) -> None:
    write(tmp_path, "a", "None", up='op.create_index("i", "t", ["id"])')
    write(tmp_path, "b", '"a"', up='op.execute("CREATE INDEX CONCURRENTLY i ON t (id)")')
    write(tmp_path, "c", '"b"', up='op.add_column("t", sa.Column("a", sa.BigInteger))')
    write(tmp_path, "d", '"c"', up='op.drop_index("i", postgresql_concurrently=True)')
    source = MigrationSource(tmp_path)
    one, two, three, four = source.read().revisions
    assert "require-concurrent-index-creation" in source.lint(one)[0].what
    for concurrent in (two, four):
        (error,) = [finding for finding in source.lint(concurrent) if finding.severity == "error"]
        assert error.what.startswith("ban-concurrent-index-creation-in-transaction")
    assert not [finding for finding in source.lint(three) if finding.severity != "info"]
    assert {finding.subject for finding in source.lint(one)} == {"migration a"}


NEEDS_A_CONNECTION = [
    'assert op.get_bind().execute(sa.text("SELECT 1")).scalar()',
    'rows = list(op.get_bind().execute(sa.text("SELECT 1")))',
    'op.drop_table("t") if op.get_bind().execute(sa.text("SELECT 1")) else None',
    'op.get_bind().exec_driver_sql("SELECT 1").fetchall()',
    'op.get_bind().execute(sa.text("SELECT :a"), {"a": 1})',
    'op.get_bind().scalar(sa.text("SELECT 1"))',
    "sa.inspect(op.get_bind()).get_table_names()",
    'sa.orm.Session(bind=op.get_bind()).execute(sa.text("SELECT 1"))',
]


def test_a_revision_that_needs_a_connection_is_a_finding_and_never_a_pass(tmp_path: Path) -> None:
    for number, up in enumerate(NEEDS_A_CONNECTION):
        write(tmp_path, f"r{number}", f'"r{number - 1}"' if number else "None", up=up, top="import sqlalchemy.orm")
    source = MigrationSource(tmp_path)
    for up, item in zip(NEEDS_A_CONNECTION, source.read().revisions, strict=True):
        assert item.upgrade == "", up
        assert item.why_no_upgrade, up
        (finding,) = source.lint(item)
        assert finding.severity == "warning"
        assert finding.what == f"lint not possible: {item.why_no_upgrade}"


def test_a_connection_that_is_only_written_to_is_rendered(tmp_path: Path) -> None:
    write(tmp_path, "a", "None", up="""
            bind = op.get_bind()
            if bind.dialect.name == "postgresql":
                bind.execute(sa.text("UPDATE t SET a = 1"))
            sa.Enum("x", "y", name="kind").create(bind, checkfirst=True)""")
    item = MigrationSource(tmp_path).read().revisions[0]
    assert "UPDATE t SET a = 1;" in item.upgrade, item.why_no_upgrade
    assert "CREATE TYPE kind AS ENUM ('x', 'y');" in item.upgrade


def test_a_revision_that_cannot_be_imported_does_not_hide_the_others(tmp_path: Path) -> None:
    write(tmp_path, "a", "None", top="import no_such_package_of_the_app")
    write(tmp_path, "b", '"a"', up='op.execute("SELECT 1")')
    one, two = MigrationSource(tmp_path).read().revisions
    assert "no_such_package_of_the_app" in one.why_no_upgrade
    assert two.upgrade.strip() == "SELECT 1;"


def test_a_revision_may_import_the_source_and_ask_whether_it_is_offline(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "names.py").write_text('TABLE = "specs"')
    write(tmp_path / "migrations", "a", "None", top="from alembic import context; from app.names import TABLE",
          up='op.execute(f"SELECT {context.is_offline_mode()} FROM {TABLE}")')
    assert MigrationSource(tmp_path / "migrations").read().revisions[0].upgrade.strip() == "SELECT True FROM specs;"


def test_revisions_run_without_our_environment_and_cannot_disturb_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@db/app")
    write(tmp_path, "a", "None", top="import os; print('{not json')",
          up="op.execute(f\"SELECT '{os.environ.get('DATABASE_URL')}', '{os.getcwd()}'\")")
    sql = MigrationSource(tmp_path).read().revisions[0].upgrade
    assert "None" in sql
    assert "hunter2" not in sql
    assert str(Path.cwd()) not in sql


def test_the_folder_of_the_source_is_left_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, "a", "None")
    before = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    MigrationSource(tmp_path).read()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == before


def test_a_revision_that_kills_the_process_or_never_ends_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "dies", "a", "None", top="import os; os._exit(7)")
    with pytest.raises(PermanentError, match="exit status 7"):
        MigrationSource(tmp_path / "dies").read()
    write(tmp_path / "hangs", "a", "None", top="while True: pass")
    monkeypatch.setattr(migration_source, "RENDER_SECONDS", 1)
    with pytest.raises(PermanentError, match="no answer within 1 s"):
        MigrationSource(tmp_path / "hangs").read()


def test_merges_are_ordered_behind_what_they_merge(tmp_path: Path) -> None:
    write(tmp_path, "z", "None")
    write(tmp_path, "b", '"z"')
    write(tmp_path, "a", '"z"')
    write(tmp_path, "m", '("a", "b")')
    history = MigrationSource(tmp_path).graph()
    names = [item.revision for item in history.revisions]
    assert (names[0], names[-1], history.head) == ("z", "m", "m")


def test_what_is_wrong_with_a_folder_is_said_in_one_line(tmp_path: Path) -> None:
    def complaint(name: str) -> str:
        with pytest.raises(BadInput) as caught:
            MigrationSource(tmp_path / name).read()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no revision in" in complaint("nowhere")
    write(tmp_path / "heads", "a", "None")
    write(tmp_path / "heads", "b", "None")
    assert "several heads (a, b); join them: alembic merge a b" in complaint("heads")
    write(tmp_path / "gap", "b", '"a"')
    assert "b follows a, which is not there" in complaint("gap")
    write(tmp_path / "circle", "a", '"b"')
    write(tmp_path / "circle", "b", '"a"')
    assert "follow each other in a circle" in complaint("circle")
    write(tmp_path / "twice", "a", "None")
    (tmp_path / "twice/versions/copy.py").write_text((tmp_path / "twice/versions/a.py").read_text())
    assert "revision a is there twice" in complaint("twice")
    write(tmp_path / "computed", "a", "'x'.join(['y'])")
    assert "'down_revision' is no plain text" in complaint("computed")
    (tmp_path / "torn/versions").mkdir(parents=True)
    (tmp_path / "torn/versions/a.py").write_text("revision = (")
    assert "mend it" in complaint("torn")
