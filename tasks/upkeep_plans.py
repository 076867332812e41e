"""Makes the plan of a database's care from what was seen, what the ledger knows, and what a killed run left.

Safety property: reads only. The same sight gives the same plan, and the same digest.
"""

from __future__ import annotations

import asyncio
import statistics
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tasks.analysis import upkeep_plan, upkeep_statements
from tasks.analysis.days_left import MULTIXACTS, MXID_LIMIT, TRANSACTION_IDS, XID_LIMIT, days_left, oldest, until
from tasks.estate import Database
from tasks.maintenance_facts import Facts, TableFacts
from tasks.maintenance_models import DaysLeft, Effect, KeptStatements, MaintenancePlan, WindowState
from tasks.models import Measurement
from tasks.site import Site
from tasks.upkeep_store import (
    MXID,
    SEQUENCE,
    USED,
    XID,
    effects_since,
    read_effects,
    read_history,
    read_statements,
    settled,
    subject_of,
)

#: A sequence is told from here on, and a multixact age from here on.
SHOWN_PERCENT, SHOWN_MXIDS = 10.0, 1_000_000
#: Effects on less tell nothing of the speed.
LEAST_BYTES = 8_000_000
LEAST_EFFECTS = 3
#: Older ones were of another disk, or of another tier.
SPEEDS_OF = timedelta(days=400)
#: A table of so many rows has counters, unless they were lost in a crash.
COUNTED_ROWS = 1000


async def make_plan(site: Site, database: Database, facts: Facts, before: WindowState | None) -> MaintenancePlan:
    """The plan, gone on with where a window was broken off."""
    left, kept, speeds = await asyncio.gather(
        forecasts(site, database, facts), read_statements(site, database), asyncio.to_thread(_speeds, site, database)
    )
    then, means = (kept.snapshot, kept.means) if kept else (None, {})
    told = upkeep_statements.changes(facts.statements, then, means) if facts.statements else ()
    since = upkeep_statements.since(facts.statements, then) if facts.statements else ""
    fresh = upkeep_plan.plan(
        database.name, facts, database.maintenance, counters_lost=counters_lost(facts.tables), speeds=speeds,
        days_left=left, statements=told, statements_since=since,
    ).model_copy(update={"compared_at": then.at if then else None, "oldest": oldest(facts.tables, left)})  # fmt: skip
    if before is None:
        return fresh
    done = settled(await effects_since(site, database, before.began))
    lately = settled(await effects_since(site, database, before.since))
    lately = frozenset() if before.is_over(datetime.now(UTC)) else lately
    return upkeep_plan.merged(fresh, before.actions, done, lately, facts, database.maintenance)


def next_statements(facts: Facts, kept: KeptStatements | None) -> KeptStatements | None:
    """What is compared with next time; None where pg_stat_statements is not there."""
    if facts.statements is None:
        return None
    means = upkeep_statements.means(facts.statements, kept.snapshot if kept else None)
    return KeptStatements(snapshot=facts.statements, means=means)


def counters_lost(tables: Sequence[TableFacts]) -> bool:
    """Whether the server's statistics were lost in a crash: most tables that have rows say that they have none."""
    filled = [table for table in tables if not table.is_system and table.tuples >= COUNTED_ROWS]
    silent = [table for table in filled if not (table.live or table.vacuumed or table.analyzed)]
    return bool(filled) and len(silent) >= len(filled) / 2


async def forecasts(site: Site, database: Database, facts: Facts) -> tuple[DaysLeft, ...]:
    """When transaction ids, multixacts, sequences and the disk run out, the soonest first."""
    subject, server = subject_of(site, database), facts.server
    found = [await _ids(site, subject, facts)]
    if (age := max((table.mxid_age for table in facts.tables), default=0)) >= SHOWN_MXIDS:
        found.append(days_left(MULTIXACTS, age, MXID_LIMIT, await _history(site, MXID, subject, server.at)))
    for one in facts.sequences:
        if one.used_percent >= SHOWN_PERCENT and not one.cycles:
            history = await _history(site, SEQUENCE, f"{subject}/{one.name}", server.at)
            found.append(days_left(f"sequence {one.name}", one.last, one.limit, history, one.why_limit))
    if server.used_bytes is not None and server.disk_bytes:
        history = await _history(site, USED, subject, server.at)
        found.append(days_left("disk", server.used_bytes, server.disk_bytes, history))
    return tuple(sorted(found, key=lambda one: (one.days is None, one.days or 0, -one.used_percent)))


async def _history(site: Site, name: str, subject: str, now: datetime) -> list[Measurement]:
    return until(now, await read_history(site, name, subject))


async def _ids(site: Site, subject: str, facts: Facts) -> DaysLeft:
    first = max(facts.tables, key=lambda table: table.xid_age)
    history = await _history(site, XID, subject, facts.server.at)
    return days_left(f"{TRANSACTION_IDS}, {first.name} being the oldest", first.xid_age, XID_LIMIT, history)


def _speeds(site: Site, database: Database) -> dict[str, float]:
    """Bytes a second of each kind of action, as past effects on this database show them."""
    found: dict[str, list[float]] = defaultdict(list)
    for effect in read_effects(site, database, datetime.now(UTC) - SPEEDS_OF):
        if _tells_speed(effect):
            found[effect.action.kind].append(effect.action.bytes / effect.seconds)
    return {kind: statistics.median(speeds) for kind, speeds in found.items() if len(speeds) >= LEAST_EFFECTS}


def _tells_speed(effect: Effect) -> bool:
    return effect.ended == "done" and effect.action.bytes >= LEAST_BYTES and effect.seconds > 0
