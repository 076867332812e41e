"""What migrations do to the code that serves and to the data, statement by statement."""

from __future__ import annotations

import pytest

from tasks.analysis import schema
from tasks.models import MigrationRevision

#: A source that reads and writes specs(title) and upserts.
WORDS = schema.words_of(["__tablename__ = 'specs'; title = Column(Text)", "insert().on_conflict_do_update()"])


def revision(sql: str, name: str = "0002", **fields: str) -> MigrationRevision:
    return MigrationRevision(revision=name, upgrade=sql, **fields)


def breaks(sql: str, words: frozenset[str] | None = WORDS) -> tuple[str, ...]:
    return schema.judge(revision(sql), words).breaks


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE new (id int PRIMARY KEY, a text NOT NULL)",
        "CREATE TABLE new (id int); CREATE UNIQUE INDEX i ON new (id); ALTER TABLE new ADD CHECK (id > 0)",
        "CREATE TABLE new (id int); ALTER TABLE new RENAME TO title; ALTER TABLE title DROP id; DROP TABLE title",
        "CREATE INDEX CONCURRENTLY i ON specs (title)",
        "DROP INDEX IF EXISTS i; CREATE UNIQUE INDEX i ON other (a)",
        "ALTER TABLE specs ADD COLUMN a text",
        "ALTER TABLE specs ADD COLUMN a int NOT NULL DEFAULT 0",
        "ALTER TABLE specs ADD COLUMN a bigserial NOT NULL",
        "ALTER TABLE specs ADD COLUMN a int GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE specs ADD COLUMN a text; UPDATE specs SET a = title",
        "ALTER TABLE specs ADD COLUMN a text UNIQUE",
        "ALTER TABLE specs ADD COLUMN a text; CREATE UNIQUE INDEX i ON specs (title, a)",
        "ALTER TABLE specs ADD COLUMN a int; ALTER TABLE specs ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES other",
        "ALTER TABLE specs ADD COLUMN a int DEFAULT 1; ALTER TABLE specs ALTER a SET NOT NULL",
        "ALTER TABLE specs ADD COLUMN a int; ALTER TABLE specs RENAME a TO b; ALTER TABLE specs DROP b",
        "ALTER TABLE specs ALTER title DROP NOT NULL; ALTER TABLE specs ALTER title SET DEFAULT ''",
        "ALTER TABLE specs VALIDATE CONSTRAINT c",
        "ALTER TABLE specs DROP CONSTRAINT specs_author_fkey",
        "ALTER TABLE specs DROP COLUMN notes",
        "ALTER TABLE other ALTER a SET NOT NULL",
        "ALTER TABLE other ADD COLUMN a int NOT NULL",
        "DROP TABLE old",
        "INSERT INTO kinds VALUES (1)",
        "BEGIN; SET lock_timeout = '5s'; SELECT set_config('a.b', 'c', false); COMMENT ON TABLE specs IS 'x'; COMMIT",
        "CREATE TYPE mood AS ENUM ('a'); ALTER TYPE unseen ADD VALUE 'b'; CREATE EXTENSION pg_trgm",
    ],
)
def test_this_does_not_break_the_serving_code(sql: str) -> None:
    verdict = schema.judge(revision(sql), WORDS)
    assert verdict.verdict == "safe", verdict


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("DROP TABLE specs", "0002: specs: the table is dropped"),
        ('DROP TABLE public."SPECS"', "the table is dropped"),
        ("ALTER TABLE specs DROP COLUMN title", "specs.title: the column is dropped"),
        ("ALTER TABLE any_table DROP COLUMN IF EXISTS title", "any_table.title: the column is dropped"),
        ("ALTER TABLE specs RENAME title TO name", "specs.title: the column is called name from now on"),
        ("ALTER TABLE specs RENAME TO plots", "specs: the table is called plots from now on"),
        ("ALTER TABLE specs SET SCHEMA old", "specs: it moves to schema old"),
        ("ALTER TABLE specs ADD COLUMN a int NOT NULL", "specs.a: rows written without this new column are refused"),
        ("ALTER TABLE specs ADD COLUMN a int; UPDATE specs SET a = 1; ALTER TABLE specs ALTER a SET NOT NULL",
         "specs.a: rows written without this new column are refused"),
        ("ALTER TABLE specs ADD COLUMN a int NOT NULL DEFAULT 0; ALTER TABLE specs ALTER a DROP DEFAULT",
         "specs.a: rows written without this new column are refused"),
        ("ALTER TABLE specs ADD COLUMN a int UNIQUE DEFAULT 0", "specs.a: a second row with the default is refused"),
        ("ALTER TABLE specs ALTER title SET NOT NULL", "specs.title: rows with NULL in this column are refused"),
        ("ALTER TABLE specs ALTER id DROP DEFAULT", "specs.id: rows written without this column get no value any more"),
        ("ALTER TABLE specs ALTER title TYPE int USING title::int", "specs.title: the column's type becomes int4"),
        ("ALTER TABLE specs ADD CONSTRAINT c CHECK (a > 0) NOT VALID", "specs.c: rows that violate the new check"),
        ("ALTER TABLE specs ADD UNIQUE (title)", "specs: rows that violate the new unique constraint are refused"),
        ("CREATE UNIQUE INDEX i ON specs (title)", "specs.i: rows that are not unique are refused"),
        ("CREATE UNIQUE INDEX i ON specs (lower(title))", "specs.i: rows that are not unique are refused"),
        ("ALTER TABLE specs DROP CONSTRAINT uq", "specs.uq: an upsert that relies on the dropped constraint fails"),
        ("DROP INDEX ix", "ix: an upsert that relies on the dropped index"),
        ("ALTER TABLE specs ENABLE ROW LEVEL SECURITY", "specs: row security hides rows"),
        ("DROP VIEW specs", "specs: the view is dropped"),
        ("WITH x AS (SELECT 1) SELECT count(*) FROM x; DROP TABLE specs", "specs: the table is dropped"),
    ],
)
def test_this_breaks_the_serving_code(sql: str, why: str) -> None:
    assert any(why in line for line in breaks(sql)), breaks(sql)
    assert schema.judge(revision(sql), WORDS).verdict == "breaking"


@pytest.mark.parametrize(
    "sql", ["DROP TABLE old", "ALTER TABLE specs DROP COLUMN notes", "ALTER TABLE o ADD a int NOT NULL"]
)
def test_what_the_serving_code_does_not_name_counts_when_its_source_is_not_known(sql: str) -> None:
    assert breaks(sql) == ()
    assert breaks(sql, None)[0].endswith("(the serving source is not known)")


def test_code_that_asks_the_database_for_its_tables_names_nothing_so_everything_counts() -> None:
    words = schema.words_of(["metadata.reflect(engine)"])
    assert breaks("DROP TABLE old", words)


def test_a_table_named_after_a_class_counts_as_named() -> None:
    words = schema.words_of(["class CodeSample(Base): pass"])
    assert breaks("DROP TABLE code_samples", words)
    assert breaks("DROP TABLE codesample", words)
    assert not breaks("DROP TABLE samples", words)


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("DO $$ BEGIN DELETE FROM specs; END $$", "a DO block may do anything"),
        ("SELECT purge_everything()", "it calls purge_everything, which may do anything"),
        ("WITH x AS (SELECT sweep()) SELECT 1", "it calls sweep"),
        ("CALL purge()", "CallStmt cannot be judged"),
        ("REVOKE SELECT ON specs FROM app", "GrantStmt cannot be judged"),
        ("CREATE TRIGGER t BEFORE INSERT ON specs EXECUTE FUNCTION f()", "CreateTrigStmt cannot be judged"),
        ("ALTER TABLE specs DISABLE TRIGGER ALL", "DisableTrigAll cannot be judged"),
        ("DROP TABLE old CASCADE", "CASCADE drops whatever depends on it"),
        ("DROP SCHEMA old", "DROP SCHEMA cannot be judged"),
        ("ALTER TABL specs", "it cannot be parsed"),
    ],
)
def test_what_cannot_be_judged_is_said_and_never_safe(sql: str, why: str) -> None:
    verdict = schema.judge(revision(sql), WORDS)
    assert verdict.verdict == "unknown"
    assert why in verdict.unjudged[0]
    assert any(finding.severity == "warning" and why in finding.what for finding in verdict.findings)


def test_a_statement_that_cannot_be_parsed_does_not_hide_the_others() -> None:
    verdict = schema.judge(revision("ALTER TABL x; DROP TABLE specs"), WORDS)
    assert verdict.breaks
    assert verdict.unjudged


def test_a_revision_without_sql_is_unjudged_with_the_reason() -> None:
    verdict = schema.judge(revision("", why_no_upgrade="AttributeError: no connection"), WORDS)
    assert (verdict.verdict, verdict.unjudged) == ("unknown", ("0002: its SQL: AttributeError: no connection",))


@pytest.mark.parametrize(
    ("sql", "loses"),
    [
        ("DROP TABLE old", ("table old and all its rows",)),
        ("ALTER TABLE specs DROP COLUMN notes", ("column specs.notes and all in it",)),
        ("DELETE FROM specs WHERE title = ''", ("rows of specs: DELETE removes them",)),
        ("WITH x AS (DELETE FROM specs RETURNING 1) SELECT count(*) FROM x", ("rows of specs: DELETE removes them",)),
        ("TRUNCATE specs, b", ("all rows of specs: TRUNCATE removes them", "all rows of b: TRUNCATE removes them")),
        ("UPDATE specs SET title = ''", ("what stood in specs.title: UPDATE overwrites it",)),
        ("ALTER TABLE specs ALTER at TYPE date", ("what of specs.at does not fit into date",)),
        ("ALTER TABLE specs ALTER a TYPE text USING left(a, 3)", ("what of specs.a does not fit into text",)),
        ("ALTER TABLE specs ALTER a TYPE text", ()),
        ("ALTER TABLE specs ADD COLUMN IF NOT EXISTS a int; UPDATE specs SET a = 1; ALTER TABLE specs DROP a", ()),
        ("CREATE TABLE t AS SELECT 1; DELETE FROM t; DROP TABLE t", ()),
        ("ALTER TABLE specs RENAME title TO name", ()),
    ],
)
def test_lost_data_is_named(sql: str, loses: tuple[str, ...]) -> None:
    assert schema.judge(revision(sql), WORDS).loses == loses


def test_what_a_pending_revision_made_the_next_may_take_away() -> None:
    one = revision("ALTER TABLE specs ADD COLUMN a int", "0002")
    two = revision("ALTER TABLE specs DROP COLUMN a", "0003")
    assert schema.judge_upgrades([one, two], None).verdict == "safe"
    assert schema.judge_upgrades([two], None).loses == ("column specs.a and all in it",)


def test_what_was_applied_before_tells_which_index_is_unique_and_what_a_constraint_is() -> None:
    applied = revision(
        "CREATE TABLE specs (id int, CONSTRAINT ck CHECK (id > 0), CONSTRAINT uq UNIQUE (id));"
        "CREATE INDEX plain ON specs (id); CREATE UNIQUE INDEX uniq ON specs (id)", "0001",
    )
    for harmless in ("DROP INDEX plain", "ALTER TABLE specs DROP CONSTRAINT ck"):
        assert schema.judge(revision(harmless), None, [applied]).verdict == "safe"
        assert schema.judge(revision(harmless), None).verdict == "breaking"
    for harmful in ("DROP INDEX uniq", "ALTER TABLE specs DROP CONSTRAINT uq", "DROP TABLE specs"):
        assert schema.judge(revision(harmful), None, [applied]).verdict == "breaking"


def test_a_downgrade_is_judged_by_its_own_sql() -> None:
    up, down = "ALTER TABLE specs ADD notes text", "ALTER TABLE specs DROP notes"
    two = MigrationRevision(revision="0002", upgrade=up, downgrade=down)
    assert schema.judge_downgrades([two], WORDS).loses == ("column specs.notes and all in it",)
    broken = MigrationRevision(revision="0003", upgrade="SELECT 1", why_no_downgrade="NotImplementedError: one way")
    assert schema.judge_downgrades([broken], WORDS).unjudged == ("0003: its SQL: NotImplementedError: one way",)
