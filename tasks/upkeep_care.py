"""Cares for a database in its window: what a killed run left, the light work, what a person approved, a rehearsal.

Safety property: whoever works holds the ledger's lock of the database and one in the database itself, so two runs never
overlap, wherever they run. Sessions of ours that outlived a killed run are ended before anything new begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

from prefect import task

from tasks import progress
from tasks.analysis.units import counted
from tasks.analysis.upkeep_plan import arranged, digest
from tasks.approvals import approve
from tasks.clients.upkeep_work import Workshop
from tasks.drill_plan import plan_drill
from tasks.errors import Refused
from tasks.estate import Database
from tasks.estate.maintenance import MaintenancePolicy
from tasks.locks import drill_locked, services_locked
from tasks.maintenance_facts import Facts
from tasks.maintenance_models import Action, Effect, GuardNote, MaintenancePlan, WindowState
from tasks.models import SecretPin
from tasks.policies import WAIT, WRITE
from tasks.runs import run_name
from tasks.scratch import Copy, open_copy, restore
from tasks.scratch_removal import scratch_instance, sweep
from tasks.site import Site
from tasks.upkeep_look import upkeep
from tasks.upkeep_question import question
from tasks.upkeep_store import keep_effect, read_effects, settled, write_window
from tasks.upkeep_window import Window

LOCK = "caretaker-maintenance"


@asynccontextmanager
async def care_locked(site: Site, database: Database) -> AsyncIterator[None]:
    """Hold the locks of the care of a database. Raises Conflict, naming the holder, where one is held."""
    async with services_locked(site, (f"maintenance/{database.name}",)):
        with ExitStack() as held:
            await asyncio.to_thread(held.enter_context, site.database(database).advisory_lock(LOCK))
            yield


def workshop(site: Site, database: Database) -> Workshop:
    """Where the sessions that work on production are opened."""
    url = site.secrets.access(SecretPin(secret=database.url_secret, version="latest"))
    with upkeep(site, database).session() as look:
        schema = look.statistics_schema()
    return Workshop(url, schema)


@task(**WRITE)
async def settle(site: Site, database: Database, before: WindowState | None) -> tuple[str, ...]:
    """End sessions of ours that outlived a killed run, and drop what its rebuilds left; what that was.

    Safe to repeat: what is gone stays gone. The caller holds the lock, so no such session is another run's.
    """
    return await asyncio.to_thread(_settle, site, database, before)


def _settle(site: Site, database: Database, before: WindowState | None) -> tuple[str, ...]:
    shop, swept = workshop(site, database), []
    with shop.worker() as worker:
        swept += [f"session {pid}" for pid in worker.end_strays()]
        for table in sorted({action.table_oid for action in begun(before)}):
            gone, left = worker.drop_leftovers(table, database.maintenance.lock_timeout)
            swept += gone
            for why in left:
                progress.report("maintain", database.name, f"left for later: {why}")
    return tuple(swept)


def begun(before: WindowState | None) -> list[Action]:
    """The rebuilds that a killed run may have begun: those that were approved."""
    known = before.actions if before else ()
    return [one for one in known if before and one.kind == "reindex" and one.statement in before.approved]


@task(**WAIT)
async def care(
    site: Site, database: Database, actions: tuple[Action, ...], window: WindowState
) -> tuple[tuple[Effect, ...], tuple[GuardNote, ...]]:
    """Work through actions until the window ends; the effects, and the guard's pauses.

    Safe to repeat: what was done since the window began is looked up in the ledger and not done again; VACUUM, ANALYZE
    and REINDEX may be run any number of times.
    """
    return await asyncio.to_thread(_care, site, database, actions, window)


def _care(
    site: Site, database: Database, actions: Sequence[Action], window: WindowState
) -> tuple[tuple[Effect, ...], tuple[GuardNote, ...]]:
    done = settled(read_effects(site, database, window.since))
    todo = [action for action in actions if action.key not in done]
    progress.report("maintain", database.name, f"{counted(len(todo), 'action')} until {window.until:%H:%M:%S} UTC")
    keep = partial(keep_effect, site, database, run_name())
    work = Window(workshop(site, database), database.maintenance, window.until, keep)
    work.run(todo)
    wanted = {action.key for action in actions}
    effects = read_effects(site, database, window.since)
    return tuple(effect for effect in effects if effect.action.key in wanted), tuple(work.pauses)


async def approved(
    site: Site, database: Database, plan: MaintenancePlan, window: WindowState, given: str
) -> tuple[str, WindowState]:
    """Why what is heavier than VACUUM and ANALYZE may not run, empty where a person approved it; and the window.

    The window keeps what was approved: a run that goes on with it does the rest of that without asking again.
    """
    statements = tuple(action.statement for action in plan.heavy)
    if set(statements) <= set(window.approved):
        return "", window
    try:
        await approve(site, question(plan), given)
    except Refused as refusal:
        return str(refusal), window
    known = window.model_copy(update={"approved": (*window.approved, *statements)})
    return "", await write_window(site, database, known)


def not_approved(actions: Sequence[Action], why: str) -> tuple[Effect, ...]:
    """The effects of what waits for a person; none where it was approved."""
    if not why:
        return ()
    return tuple(Effect(action=action, ended="not_approved", why=why, attempts=0) for action in actions)


# --- rehearsal -------------------------------------------------------------------------------------------------------


async def rehearse(
    site: Site, database: Database, plan: MaintenancePlan, facts: Facts, before: WindowState | None
) -> MaintenancePlan:
    """Do all of it on a restored copy of the newest backup; the plan with what that took instead of estimates.

    A run that goes on with another takes over what that has rehearsed: an approval would be too old after hours more.
    """
    known = {action.key: action for action in before.actions if action.rehearsed} if before else {}
    if plan.actions and all(action.key in known for action in plan.actions):
        return rehearsed(plan, [known[action.key] for action in plan.actions], facts, database.maintenance)
    async with drill_locked(site, database.name):
        await sweep(site, database)
        drill = await plan_drill(site, database, "newest")
        if drill.target is None:
            raise Refused(f"rehearsing on a copy of {database.name} refused: {drill.why_no_target}")
        async with scratch_instance(site, drill.scratch):
            restored = await restore(site, database, drill.state, drill.target, drill.scratch)
            copy = await open_copy(site, database, restored)
            effects = await try_on(copy, database, plan.actions)
    return rehearsed(plan, measured(plan.actions, effects), facts, database.maintenance)


@task(**WAIT)
async def try_on(copy: Copy, database: Database, actions: tuple[Action, ...]) -> tuple[Effect, ...]:
    """Do everything on a copy that nobody uses. Safe to repeat: it is a copy."""
    return await asyncio.to_thread(_try_on, copy, database, actions)


def _try_on(copy: Copy, database: Database, actions: Sequence[Action]) -> tuple[Effect, ...]:
    until = datetime.now(UTC) + timedelta(hours=1)
    alone = [action.model_copy(update={"refused": ""}) for action in actions]
    work = Window(Workshop(copy.url, None), database.maintenance, until, lambda _: None, guarded=False)
    work.run(alone)
    return tuple(work.effects)


def rehearsed(
    plan: MaintenancePlan, actions: Sequence[Action], facts: Facts, policy: MaintenancePolicy
) -> MaintenancePlan:
    """The plan with its actions as they were measured; whether the disk has room for them is judged anew."""
    checked = arranged(actions, facts, policy)
    return plan.model_copy(update={"actions": checked, "digest": digest(checked)})


def measured(actions: Sequence[Action], effects: Sequence[Effect]) -> list[Action]:
    """The actions with times, sizes and gains as the copy showed them; what failed there says so."""
    by_key = {effect.action.key: effect for effect in effects}
    return [_measured(action, by_key.get(action.key)) for action in actions]


def _measured(action: Action, effect: Effect | None) -> Action:
    if effect is None or effect.ended not in ("done", "held_back"):
        why = "not rehearsed" if effect is None else f"on the copy: {effect.ended}, {effect.why}"
        return action.model_copy(update={"gain": f"{action.gain} ({why})", "rehearsed": effect is not None})
    changes: dict[str, object] = {"seconds": effect.seconds, "measured": True, "rehearsed": True}
    if action.kind == "reindex" and "bytes" in effect.after:
        changes["disk_bytes"] = int(2 * effect.after["bytes"])
        changes["gain"] = f"{(effect.before.get('bytes', 0) - effect.after['bytes']) / 1e6:,.1f} MB on the copy"
    elif "dead_rows" in effect.before:
        changes["gain"] = f"{action.gain}; on the copy {effect.seconds:.1f} s"
    return action.model_copy(update=changes)
