"""What is seen of a database that is to be cared for: frozen values, without a client.

Safety property: a statement's text is kept as pg_stat_statements normalises it, with literals masked once more; no
value of a row is ever in here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from tasks.models import Finding, Frozen


class TableFacts(Frozen):
    """A table as the catalogues and the statistics tell it. ``dead``, ``modified``, ``inserted`` are counters of rows.

    ``bytes`` is the table with its TOAST and without its indexes; ``visible_pages`` those that index-only scans need
    not look at. ``free_percent`` was measured by pgstattuple, and is None where nothing was.
    """

    oid: int
    name: str
    quoted: str
    bytes: int = 0
    pages: int = 0
    tuples: float = 0
    visible_pages: int = 0
    live: int = 0
    dead: int = 0
    modified: int = 0
    inserted: int = 0
    vacuumed: datetime | None = None
    analyzed: datetime | None = None
    xid_age: int = 0
    mxid_age: int = 0
    columns: int = 0
    columns_known: int = 0
    row_width: float = 0
    may_maintain: bool = True
    is_system: bool = False
    is_parent: bool = False
    free_percent: float | None = None


class IndexFacts(Frozen):
    """An index. ``columns`` are the attribute numbers of its key in order, 0 for an expression.

    ``shape`` is all that makes two indexes the same, but the columns. ``density`` was measured by pgstattuple.
    """

    oid: int
    name: str
    quoted: str
    table: str
    table_oid: int
    method: str = "btree"
    columns: tuple[int, ...] = ()
    shape: str = ""
    bytes: int = 0
    pages: int = 0
    tuples: float = 0
    entry_width: float = 0
    distinct: float | None = None
    fillfactor: int = 90
    unique: bool = False
    constraint: bool = False
    valid: bool = True
    building: bool = False
    scans: int = 0
    last_scan: datetime | None = None
    density: float | None = None
    may_maintain: bool = True


class ForeignKeyFacts(Frozen):
    """A foreign key that no index of its table begins with. ``columns`` are quoted."""

    name: str
    table: str
    parent: str
    columns: tuple[str, ...]
    bytes: int


class SequenceFacts(Frozen):
    """A sequence: the last value given, the last that can be given, by the sequence or by its column's type.

    Of one that counts down, both are told from its beginning.
    """

    name: str
    last: int
    limit: int
    step: int = 1
    cycles: bool = False
    column: str = ""
    why_limit: str = ""

    @property
    def used_percent(self) -> float:
        """How much of its values are gone."""
        return 100.0 * self.last / self.limit if self.limit else 0.0


class Holder(Frozen):
    """What keeps VACUUM from removing rows: a session, a prepared transaction, a slot, a replica.

    ``since``: when its transaction began. ``holds_since``: from when at the latest it holds; a transaction takes its
    snapshot or its id with a later statement, and at READ COMMITTED another snapshot with each.
    """

    kind: Literal["session", "prepared transaction", "replication slot", "replica"]
    name: str
    pid: int = 0
    since: datetime | None = None
    holds_since: datetime | None = None
    xid_age: int = 0
    way_out: str = ""

    @property
    def words(self) -> str:
        """Who it is, for a person."""
        return f"{self.kind} {self.name}"


class ServerFacts(Frozen):
    """The server and the database as a whole. Sizes in bytes; ``disk_bytes`` is what the instance has."""

    at: datetime
    version: int
    in_recovery: bool = False
    is_replica: bool = False
    read_only: bool = False
    monitors: bool = False
    owns_database: bool = False
    user: str = ""
    extensions: tuple[str, ...] = ()
    database_bytes: int = 0
    used_bytes: int | None = None
    disk_bytes: int = 0
    tier: str = ""
    connections: int = 0
    max_connections: int = 0
    next_xid: int = 0
    next_mxid: int = 0
    cache_hit: float | None = None
    stats_reset: datetime | None = None
    checkpoints_forced: float | None = None
    settings: dict[str, str] = Field(default_factory=dict)
    replicas: int = 0


class StatementFacts(Frozen):
    """One normalised statement's counters since ``since``."""

    id: str
    text: str
    calls: int
    total_ms: float
    rows: int = 0
    blocks_read: int = 0
    blocks_hit: int = 0
    since: datetime | None = None


class StatementsSnapshot(Frozen):
    """Every statement's counters at a time; ``reset`` is when all were last set to zero."""

    at: datetime
    reset: datetime | None = None
    statements: tuple[StatementFacts, ...] = ()


class Facts(Frozen):
    """All that was seen of a database. ``missing`` says what a right or an extension would be needed for."""

    server: ServerFacts
    tables: tuple[TableFacts, ...] = ()
    indexes: tuple[IndexFacts, ...] = ()
    foreign_keys: tuple[ForeignKeyFacts, ...] = ()
    sequences: tuple[SequenceFacts, ...] = ()
    holders: tuple[Holder, ...] = ()
    statements: StatementsSnapshot | None = None
    missing: tuple[Finding, ...] = ()
