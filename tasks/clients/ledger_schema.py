"""The ledger's tables.

Safety property: the database itself refuses to change or delete a line of ``changes``, whoever asks.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
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

VERSION = 1
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
    Column("source", Text, nullable=False, comment="github, monitoring …"),
    Column("delivery", Text, nullable=False, comment="the sender's id of it"),
    Column("event", Text, nullable=False),
    Column("received", DateTime(timezone=True), nullable=False),
    Column("payload", JSON, nullable=False),
    Column("status", Text, nullable=False, server_default="received"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("run", Text, nullable=False, server_default=""),
    Column("note", Text, nullable=False, server_default=""),
    UniqueConstraint("source", "delivery"),
    Index("deliveries_by_status", "status", "id"),
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
    if _is_there(engine):
        return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": TURN})
        metadata.create_all(connection)
        for statement in _POSTGRES_GUARD if engine.dialect.name == "postgresql" else _SQLITE_GUARD:
            connection.execute(text(statement))
        if connection.execute(text("SELECT count(*) FROM ledger_schema")).scalar_one() == 0:
            connection.execute(ledger_schema.insert().values(version=VERSION))


def _is_there(engine: Engine) -> bool:
    """Whether an earlier start finished the schema: its version is written in the same transaction, last."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(ledger_schema.name):
            return False
        return bool(connection.execute(text("SELECT count(*) FROM ledger_schema")).scalar_one())
