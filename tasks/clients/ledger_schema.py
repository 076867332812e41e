"""The ledger's tables.

Safety property: the database itself refuses to change or delete a line of ``changes``, whoever asks.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    DateTime,
    Double,
    Engine,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    text,
)

VERSION = 3
#: The key under which schema creation and appending take turns, per database.
TURN = 7_201_455_811_903_412

metadata = MetaData()
_id = BigInteger().with_variant(Integer, "sqlite")

changes = Table(
    "changes", metadata,
    Column("id", _id, primary_key=True, autoincrement=False, comment="1, 2, 3 … without a gap"),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("inputs", JSON, nullable=False),
    Column("before", JSON, nullable=False),
    Column("after", JSON, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("key", Text, nullable=False, unique=True),
    Column("previous", Text, nullable=False, comment="hash of the line before; empty on the first"),
    Column("hash", Text, nullable=False, comment="SHA-256 over this line and the hash before"),
    Index("changes_by_subject", "subject", "id"),
)

measurements = Table(
    "measurements", metadata,
    Column("id", _id, primary_key=True, autoincrement=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("name", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("value", Double, nullable=False),
    Column("unit", Text, nullable=False),
    Column("labels", JSON, nullable=False),
    Index("measurements_by_name", "name", "subject", "at"),
)

deliveries = Table(
    "deliveries", metadata,
    Column("id", _id, primary_key=True, autoincrement=True),
    Column("project", Text, nullable=False),
    Column("source", Text, nullable=False, comment="the sender, by its name in the estate"),
    Column("delivery", Text, nullable=False, comment="the sender's id of it"),
    Column("event", Text, nullable=False),
    Column("digest", Text, nullable=False, comment="SHA-256 of what was signed"),
    Column("branch", Text, nullable=False),
    Column("commit", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("ignored", Text, nullable=False),
    Column("ticket", Text, nullable=False, unique=True, comment="what its status URL ends with"),
    Column("received", DateTime(timezone=True), nullable=False),
    Column("due", DateTime(timezone=True), nullable=False, comment="not before this is it looked at"),
    Column("settled", DateTime(timezone=True), nullable=True),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("run", Text, nullable=False, server_default=""),
    Column("note", Text, nullable=False, server_default=""),
    Column("secret_version", Integer, nullable=False, server_default="0", comment="which one proved it; no value"),
    UniqueConstraint("project", "source", "delivery"),
    UniqueConstraint("project", "source", "digest"),
    Index("deliveries_by_status", "project", "status", "id"),
)
#: Two processes that both think that they have the turn cannot both begin a release: the database refuses the second.
Index(
    "deliveries_one_under_way", deliveries.c.project, unique=True,
    postgresql_where=deliveries.c.status.in_(("chosen", "running")),
    sqlite_where=deliveries.c.status.in_(("chosen", "running")),
)

ledger_schema = Table("ledger_schema", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

_POSTGRES_GUARD = (
    """
    CREATE OR REPLACE FUNCTION refuse_change_of_the_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'the ledger is append-only: % refused', TG_OP USING ERRCODE = 'restrict_violation'; END $$
    """,
    """
    CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_the_ledger()
    """,
)
_SQLITE_GUARD = tuple(
    f"CREATE TRIGGER IF NOT EXISTS no_{verb} BEFORE {verb} ON changes "
    "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
    for verb in ("update", "delete")
)


def ensure(engine: Engine) -> None:
    """Create what is missing. Safe to repeat and to run from several processes at once: they take turns."""
    if _version(engine) >= VERSION:
        return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": TURN})
        _bring_the_inbox_up(connection)
        metadata.create_all(connection)
        for statement in _POSTGRES_GUARD if engine.dialect.name == "postgresql" else _SQLITE_GUARD:
            connection.execute(text(statement))
        connection.execute(ledger_schema.delete())
        connection.execute(ledger_schema.insert().values(version=VERSION))


def _bring_the_inbox_up(connection: Connection) -> None:
    """Version 1 had an inbox of another shape into which nothing was ever written; version 2 lacks a column."""
    version = _read_version(connection)
    if version == 1:
        connection.execute(text("DROP TABLE deliveries"))
    elif version == 2:
        connection.execute(text("ALTER TABLE deliveries ADD COLUMN secret_version INTEGER NOT NULL DEFAULT 0"))


def _version(engine: Engine) -> int:
    """The version that an earlier start finished, 0 before: it is written in the same transaction, last."""
    with engine.connect() as connection:
        return _read_version(connection)


def _read_version(connection: Connection) -> int:
    if not inspect(connection).has_table(ledger_schema.name):
        return 0
    return int(connection.execute(text("SELECT max(version) FROM ledger_schema")).scalar_one() or 0)
