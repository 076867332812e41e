"""Proves that a database can be cared for, and looks at it: reads only.

Safety property: a replica, a server in recovery, a database without tables or without rights stops the flow here, in
one line, before anything runs. What could not be seen for want of a right is said, and never counts as healthy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from typing import TypeVar

from prefect import task

from tasks.analysis import upkeep_indexes as indexes
from tasks.analysis.units import counted
from tasks.clients.upkeep import Look, Upkeep
from tasks.errors import BadInput, Missing, NotAllowed, Refused, TimedOut, TransientError
from tasks.estate import Database
from tasks.maintenance_facts import Facts, IndexFacts, ServerFacts, TableFacts
from tasks.models import Finding, SecretPin
from tasks.policies import READ, WAIT
from tasks.site import Site

One = TypeVar("One", TableFacts, IndexFacts)
#: So many suspects of each kind are measured, each is read whole, and all of it may take so long.
MOST_MEASURED = 20
#: ``pg_locks.waitstart``, by which the guard knows who waits for us, is there since PostgreSQL 14.
OLDEST = 140_000
MEASURING = timedelta(minutes=20)


def length_of(minutes: int) -> timedelta:
    """The length of the window. Raises BadInput for one of no length, in which nothing can be done."""
    if minutes <= 0:
        raise BadInput("caring for a database failed: the window has no length; pass window_minutes of 1 or more")
    return timedelta(minutes=minutes)


@task(**READ)
async def prove_ground(site: Site, database: Database) -> ServerFacts:
    """The server's state. Raises Refused for a replica, for a server in recovery and for one that is read-only."""
    return await asyncio.to_thread(_prove, site, database)


def _prove(site: Site, database: Database) -> ServerFacts:
    instance = site.sql.instance(database.instance)
    if instance.state != "RUNNABLE":
        raise Refused(f"caring for {database.name} refused: {instance.name} is {instance.state}; start it first")
    with upkeep(site, database).session() as look:
        server = look.server()
    refuse_unfit(server, database.name, instance.name)
    return server.model_copy(update={"disk_bytes": instance.disk_gb * 1024**3, "tier": instance.tier})


def refuse_unfit(server: ServerFacts, database: str, instance: str) -> None:
    """Raise Refused where no VACUUM can run, or where the server's views are not those that are read here."""
    if server.version < OLDEST:
        raise Refused(
            f"caring for {database} refused: {instance} runs PostgreSQL {server.version // 10000}, and the oldest that "
            f"is known here is {OLDEST // 10000}; upgrade it: PostgreSQL itself has given it up"
        )
    if server.is_replica:
        raise Refused(f"caring for {database} refused: {instance} is a read-only replica; name its primary instead")
    if server.in_recovery:
        raise Refused(f"caring for {database} refused: {instance} is in recovery; wait until it is over")
    if server.read_only:
        raise Refused(
            f"caring for {database} refused: {instance} is read-only; set default_transaction_read_only off, or wait "
            "until its disk is no longer full"
        )


@task(**WAIT)
async def look(site: Site, database: Database, server: ServerFacts) -> Facts:
    """Look at everything. Raises Missing where there is no table, and NotAllowed where none may be vacuumed.

    Safe to repeat: it only reads.
    """
    return await asyncio.to_thread(_look, site, database, server)


def _look(site: Site, database: Database, server: ServerFacts) -> Facts:
    with upkeep(site, database).session() as session:
        return see(session, database, server)


def see(session: Look, database: Database, server: ServerFacts) -> Facts:
    """Everything that one session can see of a database."""
    tables, found = session.tables(server.version), session.indexes(server.version)
    _refuse_empty(database, server, [table for table in tables if not table.is_system])
    schema = session.pgstattuple()
    suspects = indexes.suspects(found, database.maintenance)
    statements, no_statistics = session.statements(), session.why_no_statistics()
    sequences, unseen = session.sequences()
    until = time.monotonic() + MEASURING.total_seconds()
    with session.giving_way() if schema else nullcontext():
        measured_indexes = _with_density(session, found, suspects if schema else (), schema or "", until)
        measured_tables = _with_space(session, tables, database if schema else None, schema or "", until)
    denied = [one.name for one in measured_indexes if not one.may_maintain and indexes.wants(one, database.maintenance)]
    return Facts(
        server=server, indexes=measured_indexes, tables=measured_tables,
        foreign_keys=tuple(session.foreign_keys()), sequences=tuple(sequences),
        holders=tuple(session.holders()), statements=statements,
        missing=tuple(_missing(server, tables, denied, unseen, bool(suspects) and schema is None, no_statistics)),
    )  # fmt: skip


def upkeep(site: Site, database: Database) -> Upkeep:
    """The client that looks at production."""
    return Upkeep(site.secrets.access(SecretPin(secret=database.url_secret, version="latest")))


def _refuse_empty(database: Database, server: ServerFacts, tables: list[TableFacts]) -> None:
    if not tables:
        raise Missing(f"caring for {database.name} failed: {server.user} sees no table; deploy the application first")
    if not any(table.may_maintain for table in tables):
        raise NotAllowed(
            f"caring for {database.name} failed: {server.user} may vacuum none of its {len(tables)} tables; "
            f"as their owner: GRANT {_maintain(server)} TO {server.user}"
        )


def _maintain(server: ServerFacts) -> str:
    return "MAINTAIN ON ALL TABLES IN SCHEMA public" if server.version >= 170000 else "<the tables' owner>"


def _with_density(
    session: Look, found: list[IndexFacts], suspects: Sequence[IndexFacts], schema: str, until: float
) -> tuple[IndexFacts, ...]:
    """The indexes, with the largest suspects measured."""
    density = _measured(suspects, lambda index: session.measure_index(index, schema), until)
    return tuple(index.model_copy(update={"density": density.get(index.oid)}) for index in found)


def _with_space(
    session: Look, tables: list[TableFacts], database: Database | None, schema: str, until: float
) -> tuple[TableFacts, ...]:
    """The tables, with the largest suspects measured."""
    suspects = indexes.suspect_tables(tables, database.maintenance) if database else ()
    free = _measured(suspects, lambda table: session.measure_table(table, schema), until)
    return tuple(table.model_copy(update={"free_percent": free.get(table.oid)}) for table in tables)


def _measured(
    suspects: Sequence[One], measure: Callable[[One], float | None], until: float
) -> dict[int, float | None]:
    """What the largest suspects measure. One that is not, for want of time or because it is locked, is estimated."""
    found: dict[int, float | None] = {}
    for one in sorted(suspects, key=lambda one: -one.bytes)[:MOST_MEASURED]:
        if time.monotonic() < until:
            found[one.oid] = _unless_locked(partial(measure, one))
    return found


def _unless_locked(measure: Callable[[], float | None]) -> float | None:
    """What a measurement gives; None where somebody has locked what it reads, or it took too long."""
    try:
        return measure()
    except TimedOut:
        return None
    except TransientError as error:
        if "55P03" in str(error) or "57014" in str(error):
            return None
        raise


def _missing(
    server: ServerFacts, tables: list[TableFacts], indexes_denied: Sequence[str], unseen: Mapping[str, str],
    wants_pgstattuple: bool, no_statistics: str,
) -> list[Finding]:
    """What a right or an extension would be needed for."""
    denied = [table.name for table in tables if not table.may_maintain and not table.is_system]
    found = (
        (not server.monitors, server.user, "others' transactions, replicas and the size of the log are not seen",
         f"GRANT pg_monitor TO {server.user}"),
        (bool(denied), ", ".join(denied[:3]), f"{server.user} may not vacuum {len(denied)} of the tables",
         f"as their owner: GRANT {_maintain(server)} TO {server.user}"),
        (bool(indexes_denied), ", ".join(indexes_denied[:3]),
         f"bloated or broken, and not rebuilt: {server.user} is no owner, and could not drop what a broken-off rebuild "
         "leaves; or it is an exclusion constraint's, which REINDEX CONCURRENTLY cannot rebuild",
         f"GRANT <the tables' owner> TO {server.user}; an exclusion constraint is made anew in a migration"),
        (bool(unseen), ", ".join(sorted(unseen)[:3]),
         f"{counted(len(unseen), 'sequence')} not seen: {'; '.join(sorted(set(unseen.values())))}",
         f"as their owner: GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {server.user}; or look again later"),
        (bool(no_statistics), "pg_stat_statements",
         "no statement's time is known, and the guard sees its own probe alone", no_statistics),
        (wants_pgstattuple, "pgstattuple", "bloat is estimated, not measured", "CREATE EXTENSION pgstattuple"),
    )  # fmt: skip
    return [
        Finding(severity="info", subject=subject, what=what, way_out=way_out)
        for is_missing, subject, what, way_out in found
        if is_missing
    ]
