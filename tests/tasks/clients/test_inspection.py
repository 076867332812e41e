"""What a session tells of odd databases: names, columns, policies and sequences that are easily missed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from embedded.postgres import Cluster
from tasks.clients.inspection import Inspector, Session
from tasks.copies import _orphans
from tasks.errors import NotAllowed
from tasks.estate.drills import TableRule

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
