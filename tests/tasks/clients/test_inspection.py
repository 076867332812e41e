"""What a session tells of odd databases: names, columns, policies and sequences that are easily missed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from embedded.postgres import Cluster
from tasks.analysis import content
from tasks.backup_models import Manifest, Restored, TableContent
from tasks.clients import deadlines
from tasks.clients.inspection import Inspector, Relation, Session
from tasks.copies import _each_in_time, _orphans
from tasks.errors import NotAllowed, TimedOut
from tasks.estate.drills import ManifestPolicy, TableRule
from tasks.scratch import Copy

EXACT = TableRule.model_construct(table="t", compare="exact", key=None, tolerance_percent=0.0)


@pytest.fixture
def execute(cluster: Cluster, database: str) -> Any:
    name = make_url(database).database or ""

    def run(*statements: str) -> None:
        with cluster.connect(name) as connection:
            for statement in statements:
                connection.execute(statement)

    return run


@pytest.fixture
def session(database: str) -> Iterator[Session]:
    with Inspector(SecretStr(database)).session() as session:
        yield session


def contents(session: Session) -> dict[str, tuple[int, str]]:
    found = {table.name: session.content(table, EXACT) for table in session.tables()}
    return {name: (content.rows, content.checksum) for name, content in found.items()}


def test_the_whole_row_is_hashed_also_where_a_column_is_named_as_we_name_the_table(
    execute: Any, session: Session
) -> None:
    execute("CREATE TABLE odd (t text, other int)", "INSERT INTO odd VALUES ('same', 1)")
    before = contents(session)
    execute("UPDATE odd SET other = 2")
    assert contents(session) != before


def test_tables_with_odd_names_are_read(execute: Any, session: Session) -> None:
    names = ['Mixed', "it's", 'a ""quoted"" one', "to :pay", "100 %s", "{curly}", "a;b--"]
    for name in names:
        execute(f'CREATE TABLE "{name}" (id int)')
    assert set(contents(session)) == {f"public.{name.replace(chr(34) * 2, chr(34))}" for name in names}


def test_a_policy_that_hides_rows_is_told_and_never_agreed_with(
    cluster: Cluster, database: str, execute: Any
) -> None:
    execute(
        "CREATE TABLE hidden (id int)", "INSERT INTO hidden VALUES (1)", "CREATE ROLE tenant LOGIN PASSWORD 'tenant'",
        "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY", "CREATE POLICY none ON hidden USING (false)",
        "GRANT SELECT ON hidden TO tenant",
    )  # fmt: skip
    url = make_url(database).set(username="tenant", password="tenant")
    try:
        with Inspector(SecretStr(url.render_as_string(hide_password=False))).session() as session:
            (table,) = session.tables()
            assert not session.may_read(table)
            with pytest.raises(NotAllowed, match="row-level security"):
                session.content(table, EXACT)
    finally:
        execute("DROP OWNED BY tenant", "DROP ROLE tenant")


def test_a_sequence_that_a_default_alone_names_is_looked_at(execute: Any, session: Session) -> None:
    execute(
        "CREATE SEQUENCE loose", "CREATE TABLE numbered (id int DEFAULT nextval('loose'), label text)",
        "INSERT INTO numbered VALUES (7)",
    )  # fmt: skip
    (found,) = session.sequences()
    assert (found.column, found.next, found.greatest, found.ahead) == ("public.numbered.id", 1, 7, False)


def test_a_sequence_that_fills_a_text_is_not_compared_with_it(execute: Any, session: Session) -> None:
    execute(
        "CREATE SEQUENCE bills", "CREATE TABLE bills_made (id text DEFAULT 'B-' || nextval('bills'))",
        "ALTER SEQUENCE bills OWNED BY bills_made.id", "INSERT INTO bills_made DEFAULT VALUES",
    )  # fmt: skip
    assert session.sequences() == []


def test_rows_without_a_parent_are_damage_unless_the_key_was_never_validated(
    execute: Any, session: Session
) -> None:
    execute(
        "CREATE TABLE parents (id int PRIMARY KEY)", "CREATE TABLE children (parent int)",
        "INSERT INTO children VALUES (1)",
        "ALTER TABLE children ADD CONSTRAINT lax FOREIGN KEY (parent) REFERENCES parents NOT VALID",
    )  # fmt: skip
    (lax,) = session.foreign_keys()
    line = _orphans(session, lax)
    assert line is not None
    assert (line.ok, "1 rows lead nowhere" in line.what) == (True, True)
    execute("UPDATE pg_constraint SET convalidated = true WHERE conname = 'lax'")
    (strict,) = session.foreign_keys()
    line = _orphans(session, strict)
    assert line is not None
    assert not line.ok


#: A partitioned table, with a row in each part.
PARTED = (
    "CREATE TABLE parted (id int, label text) PARTITION BY RANGE (id)",
    "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100)",
    "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id)",
    "CREATE TABLE parted_2a PARTITION OF parted_2 FOR VALUES FROM (100) TO (200)",
    "INSERT INTO parted SELECT i, 'x' FROM generate_series(0, 139) i",
)


def under(session: Session, rule: TableRule, before: list[TableContent] | None = None) -> list[TableContent]:
    policy, known = ManifestPolicy(tables=(rule,)), {table.table: table for table in before or []}
    return [
        session.content(
            table, policy.rule(table.name, table.root),
            *((known[table.name].low, known[table.name].high) if table.name in known else ()),
        )
        for table in session.tables()
    ]  # fmt: skip


def differences(session: Session, rule: TableRule, before: list[TableContent]) -> list[str]:
    now = datetime.now(UTC)
    manifest = Manifest(database="d", origin="o", taken=now, finished=now, catalogue={}, tables=tuple(before))
    return [line.what for line in content.compare(manifest, under(session, rule, before)) if not line.ok]


def test_the_rule_of_a_partitioned_table_is_that_of_its_partitions(execute: Any, session: Session) -> None:
    execute(*PARTED)
    rule = TableRule(table="parted", compare="grows", key="id")
    before = under(session, rule)
    assert {(table.table, table.root, table.compare) for table in before} == {
        ("public.parted_1", "public.parted", "grows"), ("public.parted_2a", "public.parted", "grows")
    }  # fmt: skip
    execute("INSERT INTO parted SELECT i, 'y' FROM generate_series(140, 180) i")
    assert differences(session, rule, before) == []
    execute("UPDATE parted SET label = 'changed' WHERE id = 7")
    assert "public.parted_1, part" in differences(session, rule, before)[0]
    assert [line.ok for line in content.not_empty(["parted"], under(session, rule))] == [True]
    execute("TRUNCATE parted")
    assert [line.ok for line in content.not_empty(["parted"], under(session, rule))] == [False]


def test_partitions_of_what_varies_are_compared_by_their_sum(execute: Any, session: Session) -> None:
    execute(*PARTED)
    rule = TableRule(table="parted", compare="varies", tolerance_percent=10)
    before = under(session, rule)
    execute("DELETE FROM parted WHERE id >= 130", "INSERT INTO parted SELECT i, 'y' FROM generate_series(1, 10) i")
    assert differences(session, rule, before) == []
    execute("DELETE FROM parted WHERE id < 50")
    said = "table public.parted holds 80 rows, 140 in the manifest: more than 10 % apart"
    assert differences(session, rule, before) == [said]


def test_rows_without_a_key_may_come_and_none_may_go_or_change(execute: Any, session: Session) -> None:
    rule = TableRule(table="loose", compare="grows", key="id")
    execute(
        "CREATE TABLE loose (id int, label text)", "INSERT INTO loose SELECT i, 'x' FROM generate_series(1, 200) i",
        "INSERT INTO loose VALUES (NULL, 'one'), (NULL, 'two')",
    )  # fmt: skip
    before = under(session, rule)
    assert before[0].rows == 202
    execute("INSERT INTO loose VALUES (NULL, 'three')")
    assert differences(session, rule, before) == []
    execute("DELETE FROM loose WHERE label = 'three'", "UPDATE loose SET label = 'other' WHERE label = 'two'")
    assert "rows without its key id, holds other rows" in differences(session, rule, before)[0]
    execute("DELETE FROM loose WHERE id IS NULL")
    assert "rows without its key id, holds 0 rows, 2 in the manifest" in differences(session, rule, before)[0]


def test_a_table_of_which_no_row_has_a_key_is_hashed_too(execute: Any, session: Session) -> None:
    rule = TableRule(table="loose", compare="grows", key="id")
    execute("CREATE TABLE loose (id int, label text)", "INSERT INTO loose VALUES (NULL, 'one')")
    before = under(session, rule)
    execute("UPDATE loose SET label = 'two'")
    assert differences(session, rule, before) != []


def test_a_table_and_a_key_in_mixed_case_are_compared(execute: Any, session: Session) -> None:
    execute('CREATE TABLE "Plots" ("plotId" int)', 'INSERT INTO "Plots" VALUES (1)')
    (found,) = under(session, TableRule(table="Plots", compare="grows", key="plotId"))
    assert (found.table, found.compare, found.rows) == ("public.Plots", "grows", 1)


def test_a_statement_that_ran_into_its_limit_is_not_tried_again_and_does_not_end_the_others_work(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "WHOLE_TABLE", timedelta(milliseconds=300))
    url, began = SecretStr(database), time.monotonic()
    copy = Copy(Restored(instance="i", connection_name="c", tier="t", seconds=1), url, url, "u")

    def asleep(session: Session, item: Relation) -> str:
        session._rows(f"reading {item.name}", "SELECT pg_sleep(:seconds)", seconds=item.bytes)
        return item.name

    items = [Relation(oid=number, name=f"t{number}", quoted="", bytes=60 * (number == 1)) for number in range(4)]
    answers, slow = _each_in_time(copy, items, asleep, 2)
    assert sorted(answers) == ["t0", "t2", "t3"]
    assert "reading t1 on postgres@" in slow["t1"].what
    assert "took longer than 0.005 min" in slow["t1"].what
    assert time.monotonic() - began < 30
    with pytest.raises(TimedOut), Inspector(url).session() as session:
        asleep(session, items[1])
