"""Looks at a database that is to be cared for: tables, indexes, sequences, what holds VACUUM back, statements, server.

Safety property: sessions here are read-only. They act as the login user itself (``role = none``), whatever role the
application takes on, since the rights to see others' sessions belong to logins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from tasks.clients import deadlines
from tasks.clients import upkeep_index_sql as index_sql
from tasks.clients import upkeep_sql as sql
from tasks.clients.postgres import masked
from tasks.clients.statements import Statements, escaped
from tasks.clients.upkeep_giving_way import giving_way
from tasks.maintenance_facts import (
    ForeignKeyFacts,
    Holder,
    IndexFacts,
    SequenceFacts,
    ServerFacts,
    StatementFacts,
    StatementsSnapshot,
    TableFacts,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

APPLICATION = "caretaker-look"
#: As the login user: ``ALTER ROLE … SET role`` would take pg_monitor away.
AS_LOGIN = {"role": "none"}
#: Of pg_stat_statements: the first version with all that is read, and the first that tells since when it counts each.
STATEMENTS_LEAST, STATEMENTS_SINCE = (1, 9), (1, 11)
#: So much of a statement tells it from others that begin with the same columns.
STATEMENT_SHOWN = 200
GivingWay = Callable[[], AbstractContextManager[None]]


class Upkeep:
    """One database as its login user."""

    def __init__(self, url: SecretStr, application: str = APPLICATION) -> None:
        self._url, self._application = url, application

    @contextmanager
    def session(self) -> Iterator[Look]:
        """A read-only session, each statement for itself."""
        from sqlalchemy import text

        from tasks.clients import engines
        from tasks.clients.database_errors import translated

        engine = engines.postgres(
            engines.parse(self._url, "a database"), self._application, deadlines.MEASUREMENT, AS_LOGIN
        ).execution_options(isolation_level="AUTOCOMMIT")
        with translated("connecting", self.where):
            connection = engine.connect()
        with connection:
            with translated("making the session read-only", self.where):
                given = connection.execute(text(sql.READ_ONLY)).scalar_one()
                connection.execute(text(sql.BE_READ_ONLY))
            yield Look(connection, self.where, given == "on", partial(giving_way, engine, self.where, connection))

    @cached_property
    def where(self) -> str:
        """``user@database``, for messages."""
        from tasks.clients import engines

        return engines.where(engines.parse(self._url, "a database"))


class Look(Statements):
    """What one session can tell. Not to be used by two threads at once.

    ``giving_way``: while inside, a measurement that somebody waits for is broken off.
    """

    def __init__(self, connection: Connection, where: str, read_only: bool, giving_way: GivingWay) -> None:
        super().__init__(connection, where, deadlines.MEASUREMENT)
        self._server_is_read_only, self.giving_way = read_only, giving_way

    def server(self) -> ServerFacts:
        """The server and the database as a whole; of one in recovery, only that it is."""
        row = self._one("reading the server's state", sql.SERVER)
        facts = ServerFacts(
            at=_utc(row.at), version=row.version, in_recovery=row.in_recovery,
            is_replica=row.is_replica, monitors=row.monitors, user=row.user,
            read_only=self._server_is_read_only, owns_database=row.owns_database,
            extensions=tuple(row.extensions or ()), database_bytes=row.database_bytes, connections=row.connections,
            max_connections=row.max_connections, replicas=row.replicas,
        )  # fmt: skip
        return facts if facts.in_recovery else self._counted(facts)

    def _counted(self, facts: ServerFacts) -> ServerFacts:
        row = self._one("reading the counters", sql.COUNTERS)
        forced = self._one("reading the checkpoints", sql.CHECKPOINTS)[0] if facts.version >= 170000 else None
        used = self._one("reading the used disk", sql.USED)[0] if facts.monitors else None
        return facts.model_copy(
            update={
                "next_xid": row.next_xid, "next_mxid": row.next_mxid, "cache_hit": row.cache_hit,
                "stats_reset": _utc_or_none(row.stats_reset), "checkpoints_forced": forced,
                "used_bytes": None if used is None else int(used),
                "settings": {row.name: row.value for row in self._rows("reading the settings", sql.SETTINGS)},
            }
        )  # fmt: skip

    def tables(self, version: int) -> list[TableFacts]:
        """Every table of the database, the largest first; its own catalogues too."""
        right = sql.MAY_MAINTAIN if version >= 170000 else sql.MAY_MAINTAIN_BEFORE_17
        return [_table(row) for row in self._rows("looking at the tables", sql.TABLES.format(maintain=right))]

    def indexes(self, version: int) -> list[IndexFacts]:
        """Every index of the application's tables."""
        last = index_sql.LAST_SCAN if version >= 160000 else "NULL::timestamptz"
        statement = index_sql.INDEXES.format(last_scan=last)
        return [_index(row) for row in self._rows("looking at the indexes", statement)]

    def foreign_keys(self) -> list[ForeignKeyFacts]:
        """The foreign keys that no index of their table begins with."""
        rows = self._rows("looking at the foreign keys", index_sql.FOREIGN_KEYS_WITHOUT_INDEX)
        return [
            ForeignKeyFacts(
                name=row.name, table=row.table_name, parent=row.parent, columns=tuple(row.columns), bytes=row.bytes
            )
            for row in rows
        ]

    def sequences(self) -> tuple[list[SequenceFacts], dict[str, str]]:
        """Every sequence that was used; and those that could not be read, each with the reason."""
        rows = self._rows("looking at the sequences", sql.SEQUENCES)
        unseen = {row.name: row.why_unseen for row in rows if row.why_unseen}
        return [_sequence(row) for row in rows if not row.why_unseen], unseen

    def holders(self) -> list[Holder]:
        """What keeps VACUUM from removing rows, the oldest first."""
        return [_holder(row) for row in self._rows("looking for what holds VACUUM back", sql.HOLDERS)]

    def statements(self) -> StatementsSnapshot | None:
        """What pg_stat_statements has counted; None where it cannot be read."""
        schema, version = self._extension("pg_stat_statements")
        if schema is None or self.why_no_statistics():
            return None
        since = "min(stats_since)" if version >= STATEMENTS_SINCE else "NULL::timestamptz"
        rows = self._rows("reading pg_stat_statements", sql.STATEMENTS.format(schema=schema, since=since))
        reset = self._one("reading pg_stat_statements_info", sql.STATEMENTS_RESET.format(schema=schema))[0]
        now = self._one("reading the clock", "SELECT clock_timestamp()")[0]
        return StatementsSnapshot(at=_utc(now), reset=_utc_or_none(reset), statements=tuple(map(_statement, rows)))

    def statistics_schema(self) -> str | None:
        """The schema of pg_stat_statements; None where it cannot be read."""
        return None if self.why_no_statistics() else self._extension("pg_stat_statements")[0]

    def why_no_statistics(self) -> str:
        """How pg_stat_statements could be read; empty where it can. The server's upgrade does not bring its own."""
        schema, version = self._extension("pg_stat_statements")
        if schema is None:
            return "CREATE EXTENSION pg_stat_statements"
        if version < STATEMENTS_LEAST:
            return "ALTER EXTENSION pg_stat_statements UPDATE"
        if not self._rows("asking whether pg_stat_statements is loaded", sql.STATEMENTS_ARE_LOADED):
            return "add pg_stat_statements to shared_preload_libraries, and restart"
        return ""

    def pgstattuple(self) -> str | None:
        """The schema of pgstattuple; None where it is not installed or may not be run."""
        schema, _ = self._extension("pgstattuple")
        may = schema and self._one("asking for the right to run pgstattuple", sql.MAY_MEASURE)[0]
        return schema if may else None

    def measure_index(self, index: IndexFacts, schema: str) -> float | None:
        """The share of an index's pages that a fresh build would need, in percent. Reads it whole, ``giving_way``."""
        statement = index_sql.MEASURE_INDEX.format(schema=schema)
        rows = self._rows(f"measuring {index.name}", statement, oid=index.oid, fillfactor=index.fillfactor)
        return _share(rows)

    def measure_table(self, table: TableFacts, schema: str) -> float | None:
        """The share of a table that is free or dead, in percent. Skips what is all-visible, and is ``giving_way``."""
        statement = sql.MEASURE_TABLE.format(schema=schema)
        return _share(self._rows(f"measuring {table.name}", statement, oid=table.oid))

    def _extension(self, name: str) -> tuple[str | None, tuple[int, ...]]:
        """The schema of an extension, as a statement's text takes it, and its version; None where it is of no use."""
        found = self._rows(f"looking for {name}", sql.EXTENSION, name=name)
        if not found:
            return None, ()
        return escaped(found[0].schema), tuple(int(part) for part in re.findall(r"\d+", found[0].version))


def _share(rows: list[Any]) -> float | None:
    """What a measurement gave; None where its object is empty, or gone."""
    return float(rows[0][0]) if rows and rows[0][0] is not None else None


def _table(row: Any) -> TableFacts:
    return TableFacts(
        oid=row.oid, name=row.name, quoted=row.quoted, bytes=row.bytes, pages=row.pages, tuples=row.tuples,
        visible_pages=row.visible_pages, live=row.live, dead=row.dead, modified=row.modified, inserted=row.inserted,
        vacuumed=_utc_or_none(row.vacuumed), analyzed=_utc_or_none(row.analyzed), xid_age=row.xid_age,
        mxid_age=row.mxid_age, columns=row.columns, columns_known=row.columns_known, row_width=row.row_width,
        may_maintain=row.may_maintain, is_system=row.is_system, is_parent=row.is_parent,
    )  # fmt: skip


def _index(row: Any) -> IndexFacts:
    return IndexFacts(
        oid=row.oid, name=row.name, quoted=row.quoted, table=row.table_name, table_oid=row.table_oid, method=row.method,
        columns=tuple(row.columns), shape=row.shape, bytes=row.bytes, pages=row.pages,
        tuples=row.tuples, entry_width=row.width or 0, distinct=row.distinct_keys, fillfactor=row.fillfactor,
        unique=row.is_unique, constraint=row.is_constraint, valid=row.valid, building=row.building, scans=row.scans,
        last_scan=_utc_or_none(row.last_scan), may_maintain=row.may_maintain,
    )  # fmt: skip


def _sequence(row: Any) -> SequenceFacts:
    narrow = row.type_most is not None and row.type_most < row.most
    return SequenceFacts(
        name=row.name, last=int(row.last), step=row.step, cycles=row.cycles, column=row.column_name,
        limit=int(row.type_most if narrow else row.most),
        why_limit=row.column_name if row.type_most is not None else "",
    )  # fmt: skip


def _holder(row: Any) -> Holder:
    way_out = {
        "session": f"end it: SELECT pg_terminate_backend({row.name})",
        "prepared transaction": "decide it: COMMIT PREPARED or ROLLBACK PREPARED",
        "replication slot": "let its consumer catch up, or drop the slot",
        "replica": "end the long query on the replica, or switch hot_standby_feedback off",
    }[row.kind]
    who = ", ".join(filter(None, (row.of_user, row.who, row.state)))
    name = f"pid {row.name}" if row.kind == "session" else row.name
    return Holder(
        kind=row.kind, name=f"{name} ({who})" if who else name, since=_utc_or_none(row.since),
        holds_since=_utc_or_none(row.holds_since), pid=int(row.name) if row.kind == "session" else 0,
        xid_age=row.xid_age or 0, way_out=way_out,
    )  # fmt: skip


def _statement(row: Any) -> StatementFacts:
    return StatementFacts(
        id=row.id, text=masked(row.text, STATEMENT_SHOWN), calls=row.calls, total_ms=row.total_ms, rows=row.rows,
        blocks_read=row.blocks_read, blocks_hit=row.blocks_hit, since=_utc_or_none(row.since),
    )  # fmt: skip


def _utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _utc_or_none(value: datetime | None) -> datetime | None:
    return None if value is None else _utc(value)
