"""What the care of a database keeps: the window under way, the statements of the last look, and figures in the ledger.

Safety property: a window is written down before the first statement runs in it, and each effect as soon as it is there,
so a run that goes on with a killed one knows what was done. What is written here is written again without harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from prefect import task

from tasks.estate import Database
from tasks.maintenance_facts import Facts
from tasks.maintenance_models import Action, Effect, KeptStatements, MaintenanceVerdict, WindowState
from tasks.models import Measurement
from tasks.policies import READ, WRITE
from tasks.site import Site

WINDOW, STATEMENTS = "window.json", "statements.json"
#: A window that was broken off longer ago is history: what was done in it may be needed again.
RESUMED_WITHIN = timedelta(hours=24)
#: What is compared with next time is replaced by a look that is so much younger.
COMPARED_AFTER = timedelta(days=1)
ACTION, XID, MXID, SEQUENCE = "maintenance: action", "maintenance: next xid", "maintenance: next multixact", \
    "maintenance: sequence"  # fmt: skip
SIZE, USED, DEAD = "maintenance: database size", "maintenance: disk used", "maintenance: dead rows"
#: Counters of all statements: two looks give the mean time of what ran between them.
CALLS, MILLISECONDS = "maintenance: statement calls", "maintenance: statement milliseconds"
CHARTED = (SIZE, USED, DEAD, CALLS, MILLISECONDS)
#: As many as a day for a year, and a sequence's less.
HISTORY = 400
#: More than a window can hold.
MOST_EFFECTS = 20_000


def subject_of(site: Site, database: Database) -> str:
    """A database's name in the ledger, which estates share."""
    return f"{site.estate.google.project}/{database.name}"


def path_of(database: Database, name: str) -> str:
    """Where the bucket keeps something of a database's care."""
    return f"maintenance/{database.name}/{name}"


# --- the window ------------------------------------------------------------------------------------------------------


@task(**READ)
async def broken_off(site: Site, database: Database) -> WindowState | None:
    """The window that a killed or suspended run left; None where there is none, or where it is history."""
    found = await asyncio.to_thread(site.bucket.find, path_of(database, WINDOW))
    if found is None:
        return None
    window = WindowState.model_validate_json(found[0])
    return window if datetime.now(UTC) - window.until < RESUMED_WITHIN else None


@task(**WRITE)
async def write_window(site: Site, database: Database, window: WindowState) -> WindowState:
    """Write down that a window is under way. Safe to repeat: the same window is the same bytes."""
    data = window.model_dump_json().encode()
    await asyncio.to_thread(site.bucket.converge, path_of(database, WINDOW), data, "application/json")
    return window


@task(**WRITE)
async def close_window(site: Site, database: Database, verdict: MaintenanceVerdict) -> None:
    """Forget the window, unless some of it is left to do. Safe to repeat: deleting what is gone succeeds."""
    if verdict.verdict != "incomplete":
        await asyncio.to_thread(site.bucket.delete, path_of(database, WINDOW))


def opened(database: Database, before: WindowState | None, length: timedelta, actions: Sequence[Action]) -> WindowState:
    """The window of this run: the one that was broken off, as long as it is not over, else a new one.

    One that is over is given more time, and goes on: what was done in it is told with the rest. What is needed once
    more is done once more, since it was seen after that.
    """
    now = datetime.now(UTC)
    if before is None:
        return WindowState(database=database.name, began=now, until=now + length, actions=tuple(actions))
    more = {"until": now + length, "renewed": now} if before.is_over(now) else {}
    return before.model_copy(update={**more, "actions": tuple(actions)})


# --- effects ---------------------------------------------------------------------------------------------------------


def keep_effect(site: Site, database: Database, run: str, effect: Effect) -> None:
    """Write an effect into the ledger. Written twice, the later one counts."""
    labels = {"effect": effect.model_dump_json(), "run": run, "kind": effect.action.kind}
    site.ledger.measure(ACTION, subject_of(site, database), effect.seconds, "s", datetime.now(UTC), labels)


@task(**READ)
async def effects_since(site: Site, database: Database, since: datetime) -> tuple[Effect, ...]:
    """What was done since a time, the last word of each action, in the order in which it was begun."""
    return await asyncio.to_thread(read_effects, site, database, since)


def read_effects(site: Site, database: Database, since: datetime) -> tuple[Effect, ...]:
    """What was done since a time, read from the ledger."""
    found = site.ledger.measurements(ACTION, subject_of(site, database), since=since, limit=MOST_EFFECTS)
    effects = [Effect.model_validate_json(one.labels["effect"]) for one in found]
    return tuple({effect.action.key: effect for effect in effects}.values())


def settled(effects: Sequence[Effect]) -> frozenset[str]:
    """The keys of what is not to be done again in the same window."""
    return frozenset(one.action.key for one in effects if one.ended in ("done", "skipped", "failed", "disturbed"))


# --- figures ---------------------------------------------------------------------------------------------------------


@task(**READ)
async def read_history(site: Site, name: str, subject: str) -> list[Measurement]:
    """A figure over time, the oldest first."""
    return await asyncio.to_thread(site.ledger.measurements, name, subject, None, HISTORY)


@task(**WRITE)
async def measure(site: Site, database: Database, facts: Facts) -> None:
    """Write what was seen into the ledger. Safe to repeat: a look that is there already is left as it is."""
    await asyncio.to_thread(_measure, site, database, facts)


def _measure(site: Site, database: Database, facts: Facts) -> None:
    subject, at = subject_of(site, database), facts.server.at
    for name, of, value, unit in _figures(subject, facts):
        known = site.ledger.measurements(name, of, since=at)
        if not any(one.at == at for one in known):
            site.ledger.measure(name, of, float(value), unit, at)


def _figures(subject: str, facts: Facts) -> list[tuple[str, str, float, str]]:
    server = facts.server
    found: list[tuple[str, str, float, str]] = [
        (XID, subject, server.next_xid, "1"), (MXID, subject, server.next_mxid, "1"),
        (SIZE, subject, server.database_bytes, "bytes"),
        (DEAD, subject, sum(table.dead for table in facts.tables), "1"),
    ]  # fmt: skip
    if server.used_bytes is not None:
        found.append((USED, subject, server.used_bytes, "bytes"))
    if facts.statements is not None:
        counted = facts.statements.statements
        found.append((CALLS, subject, sum(one.calls for one in counted), "1"))
        found.append((MILLISECONDS, subject, sum(one.total_ms for one in counted), "ms"))
    found += [(SEQUENCE, f"{subject}/{one.name}", one.last, "1") for one in facts.sequences]
    return found


# --- statements ------------------------------------------------------------------------------------------------------


@task(**READ)
async def read_statements(site: Site, database: Database) -> KeptStatements | None:
    """The statements as they stood at the last look that is compared with."""
    found = await asyncio.to_thread(site.bucket.find, path_of(database, STATEMENTS))
    return None if found is None else KeptStatements.model_validate_json(found[0])


@task(**WRITE)
async def keep_statements(site: Site, database: Database, kept: KeptStatements) -> None:
    """Keep the statements for the next quarter. Safe to repeat: the same look is the same bytes."""
    data = kept.model_dump_json().encode()
    await asyncio.to_thread(site.bucket.converge, path_of(database, STATEMENTS), data, "application/json")
