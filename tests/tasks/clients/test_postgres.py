"""The database client, against a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from pydantic import SecretStr

from tasks.clients import deadlines
from tasks.clients.postgres import Postgres, masked
from tasks.errors import BadInput, Conflict, Missing, NotAllowed, Refused, TransientError


@pytest.fixture
def client(database: str) -> Postgres:
    return Postgres(SecretStr(database))


@pytest.fixture
def session(database: str) -> Iterator[psycopg.Connection]:
    """A session of the application's, which begins a transaction with its first statement."""
    with psycopg.connect(database.replace("+psycopg", ""), application_name="the app") as connection:
        yield connection
        connection.rollback()


def alembic(database: str, *revisions: str) -> None:
    with psycopg.connect(database.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)")
        for revision in revisions:
            connection.execute("INSERT INTO alembic_version VALUES (%s)", (revision,))


def test_a_database_that_answers_is_pinged(client):
    client.ping()


def test_a_database_without_migrations_stands_nowhere(client):
    assert client.alembic_revision() is None


def test_a_database_that_was_downgraded_to_base_stands_nowhere(client, database):
    alembic(database)
    assert client.alembic_revision() is None


def test_the_schemas_revision_is_alembics(client, database):
    alembic(database, "0003_index")
    assert client.alembic_revision() == "0003_index"


def test_two_heads_are_refused_with_the_way_out(client, database):
    alembic(database, "b", "a")
    with pytest.raises(Refused, match="holds a, b; merge the branches"):
        client.alembic_revision()


def test_an_idle_transaction_is_named_as_a_blocker_with_its_literals_masked(client, session):
    session.execute("CREATE TABLE IF NOT EXISTS specs (id int, name text)")
    session.commit()
    session.execute("SELECT * FROM specs WHERE name = 'Ada''s' AND id = 4711")
    blocker, *others = client.blockers()
    assert others == []
    assert (blocker.pid, blocker.user, blocker.application) == (session.info.backend_pid, "postgres", "the app")
    assert blocker.state == "idle in transaction"
    assert blocker.query == "SELECT * FROM specs WHERE name = ? AND id = ?"
    assert client.blockers("specs") == [blocker]
    assert client.blockers("other") == []
    session.rollback()
    assert client.blockers() == []


def test_an_advisory_lock_has_one_holder_and_names_it(client, database):
    with client.advisory_lock("migration"):
        with pytest.raises(Conflict, match=r"held by caretaker \(pid \d+\) since"):
            Postgres(SecretStr(database)).advisory_lock("migration").__enter__()
        with client.advisory_lock("another"):
            pass
    with client.advisory_lock("migration"):
        pass


def test_an_advisory_lock_blocks_no_statement_of_the_application(client, session):
    with client.advisory_lock("migration"):
        session.execute("CREATE TABLE t (id int)")
        session.commit()


def test_rows_are_counted_by_table(client, session):
    session.execute('CREATE SCHEMA s; CREATE TABLE s."odd name" (id int); CREATE TABLE specs (id int)')
    session.execute("INSERT INTO specs SELECT generate_series(1, 3)")
    session.commit()
    assert client.table_counts(["specs", "s.odd name"]) == {"specs": 3, "s.odd name": 0}


def test_a_table_that_is_not_there_is_missing(client):
    with pytest.raises(Missing, match="counting the rows of nothing on postgres@"):
        client.table_counts(["nothing"])


def test_a_lock_that_is_not_given_is_worth_a_retry(client, session, monkeypatch):
    monkeypatch.setattr(deadlines, "LOCK", timedelta(seconds=0.3))
    session.execute("CREATE TABLE specs (id int)")
    session.commit()
    session.execute("LOCK TABLE specs")
    with pytest.raises(TransientError, match="55P03"):
        client.table_counts(["specs"])


def test_a_wrong_password_is_not_allowed_and_is_not_told(database):
    wrong = database.replace("postgres:", "postgres:s3cret-", 1)
    with pytest.raises(NotAllowed, match=r"asking whether it answers on postgres@.* password authentication") as caught:
        Postgres(SecretStr(wrong)).ping()
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(caught.value.__cause__)


def test_a_database_that_does_not_exist_is_missing(database):
    with pytest.raises(Missing, match='database "nowhere" does not exist'):
        Postgres(SecretStr(database.replace(database.rsplit("/", 1)[1].split("?")[0], "nowhere", 1))).ping()


def test_a_server_that_is_down_is_worth_a_retry(tmp_path):
    with pytest.raises(TransientError, match="asking whether it answers on u@d failed"):
        Postgres(SecretStr(f"postgresql://u:p@/d?host={tmp_path}")).ping()


def test_a_connection_string_that_is_no_url_is_bad_input_and_is_not_told():
    with pytest.raises(BadInput, match="it is no URL") as caught:
        Postgres(SecretStr("hunter2 is my password")).ping()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "shown"),
    [("SELECT 1", "SELECT ?"), ("UPDATE t\n  SET a='x''y', b = 2.5", "UPDATE t SET a=?, b = ?"),
     ("SELECT 'cut off in the mid", "SELECT ?"), ("SELECT $tag$secret$tag$, $1", "SELECT ?, $?"),
     ("SELECT col1 FROM t2", "SELECT col1 FROM t2"), ("S" * 200, "S" * 60)],
)  # fmt: skip
def test_a_statement_is_shown_without_its_literals(query, shown):
    assert masked(query) == shown


@pytest.mark.parametrize(
    "query",
    [
        r"ALTER ROLE app PASSWORD E'a\'hunter2'", "/* don't */ ALTER ROLE app PASSWORD 'hunter2'",
        "-- it's the new one\nALTER ROLE app PASSWORD 'hunter2'", "/* /* ' */ ' */ ALTER ROLE app PASSWORD 'hunter2'",
        """ALTER ROLE "o'neil" PASSWORD 'hunter2'""", "ALTER ROLE app PASSWORD $a$hunter2$a$",
        "ALTER ROLE app PASSWORD $$hunter2 'and more$$", "ALTER ROLE app PASSWORD U&'hunter2'",
        "CREATE USER MAPPING FOR app SERVER s OPTIONS (user 'app', password 'hunter2", "SELECT 1 -- hunter2",
        "SELECT dblink('host=h password=hunter2')", "/* the password is hunter2",
    ],
)  # fmt: skip
def test_no_literal_and_no_comment_is_shown_whatever_quotes_stand_before_it(query: str) -> None:
    assert "hunter2" not in masked(query, 500)


def test_what_tells_statements_apart_is_shown() -> None:
    query = """SELECT "it's", a$b, c1 FROM "T" -- all\n WHERE d = $1 AND e = 'x' /* one */ AND f = 4.5"""
    assert masked(query, 500) == """SELECT "it's", a$b, c1 FROM "T" WHERE d = $? AND e = ? AND f = ?"""
