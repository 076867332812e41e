"""The ways in which a backup, or what is restored from it, can be wrong, and the level that must find each.

One list for two suites: the quick one damages copies in a plain PostgreSQL, the long one damages real backups and runs
the whole flow. ``level`` is the lowest that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests import pages


@dataclass(frozen=True)
class Damage:
    """One kind of damage: statements of a superuser, or a change of a relation's file; what must be said of it."""

    name: str
    level: int
    says: str
    sql: tuple[str, ...] = ()
    relation: str = ""
    page: Callable[[Path], None] | None = None
    undo: tuple[str, ...] = ()
    also: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.name


#: The sample content that is damaged: two tables, a key between them, an index, a view of who may read it.
CONTENT = (
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",
    "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
    "INSERT INTO alembic_version VALUES ('0006_code_lines')",
    "CREATE TABLE specs (id text PRIMARY KEY, title text NOT NULL, weight int NOT NULL DEFAULT 1)",
    "CREATE TABLE events (id bigserial PRIMARY KEY, spec text NOT NULL REFERENCES specs,"
    " at timestamptz NOT NULL DEFAULT now())",
    "CREATE INDEX ix_specs_title ON specs (title)",
    "CREATE INDEX ix_events_at ON events (at)",
    "INSERT INTO specs SELECT 'spec-' || i, 'title ' || i FROM generate_series(1, 300) i",
    "INSERT INTO events (spec) SELECT 'spec-' || (i % 300 + 1) FROM generate_series(1, 4000) i",
    "GRANT SELECT ON specs, events TO reader",
)
ROLES = ("CREATE ROLE reader NOLOGIN", "CREATE ROLE auditor NOLOGIN")
RULES = 'tables = [{ table = "events", compare = "grows", key = "id" }]'

DAMAGES = (
    Damage("a missing table", 3, "constraint public.events.events_pkey is missing", ("DROP TABLE events",), also=(4,)),
    Damage("a truncated table", 4, "table public.events", ("TRUNCATE events",)),
    Damage("a table that lost its newest rows", 4, "table public.events", ("DELETE FROM events WHERE id > 3900",)),
    Damage(
        "rows changed in place", 4, "table public.specs holds 300 rows as in the manifest, but other ones",
        ("UPDATE specs SET weight = weight + 1 WHERE id = 'spec-7'",),
    ),
    Damage(
        "old rows of a growing table changed in place", 4, "holds other rows than in the manifest",
        ("UPDATE events SET spec = 'spec-1' WHERE id = 50",),
    ),
    Damage("a missing extension", 3, "extension pg_trgm is missing", ("DROP EXTENSION pg_trgm",)),
    Damage(
        "a sequence behind its column", 3, "sequence public.events_id_seq is behind",
        ("SELECT setval('events_id_seq', 17)",),
    ),
    Damage(
        "an invalid index", 3, "index ix_specs_title is invalid",
        ("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_specs_title'::regclass",),
    ),
    Damage("a missing index", 3, "index public.ix_events_at is missing", ("DROP INDEX ix_events_at",)),
    Damage("a lost grant", 3, "grant table public.specs to reader is missing", ("REVOKE SELECT ON specs FROM reader",)),
    Damage("a lost role", 3, "role auditor is missing", ("DROP ROLE auditor",), undo=("CREATE ROLE auditor NOLOGIN",)),
    Damage("a wrong owner", 3, "owner table public.specs is auditor", ("ALTER TABLE specs OWNER TO auditor",)),
    Damage(
        "a wrong alembic head", 3, "schema revision alembic is 0005_drop_notes instead of 0006_code_lines",
        ("UPDATE alembic_version SET version_num = '0005_drop_notes'",), also=(4,),
    ),
    Damage(
        "a lost constraint", 3, "constraint public.events.events_spec_fkey is missing",
        ("ALTER TABLE events DROP CONSTRAINT events_spec_fkey",),
    ),
    Damage(
        "rows that refer to nothing", 4, "table public.specs holds 299 rows",
        (
            "SET session_replication_role = replica", "DELETE FROM specs WHERE id = 'spec-9'",
            "RESET session_replication_role",
        ),
        also=(5,),
    ),
    Damage(
        "stale content", 4, "the newest heartbeat is of",
        ("UPDATE caretaker.heartbeat SET at = at - interval '2 days'",),
    ),
    Damage(
        "a copy of another instance", 4, "the heartbeat is one of other:europe-west4:other-db/pyplots",
        ("UPDATE caretaker.heartbeat SET origin = 'other:europe-west4:other-db/pyplots'",),
    ),
    Damage(
        "a corrupted heap page", 4, "table public.specs cannot be read", relation="specs", page=pages.scribble,
        also=(5,),
    ),
    Damage(
        "a corrupted row that still reads", 5, "number of attributes 2047 exceeds maximum", relation="specs",
        page=pages.too_many_attributes,
    ),
    Damage(
        "a corrupted B-tree page", 5, "item order invariant violated", relation="ix_specs_title",
        page=pages.out_of_order,
    ),
)  # fmt: skip
