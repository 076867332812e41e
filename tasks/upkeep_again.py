"""Looks once more after the light work: an index that was full of dead entries is empty and bloated by then.

Safety property: what a person has approved already, beforehand or in this window, is not planned anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.analysis.upkeep_plan import with_heavy
from tasks.estate import Database
from tasks.maintenance_models import Effect, MaintenancePlan, WindowState
from tasks.site import Site
from tasks.upkeep_look import look, prove_ground
from tasks.upkeep_plans import make_plan
from tasks.upkeep_store import write_window


async def look_again(
    site: Site, database: Database, plan: MaintenancePlan, window: WindowState, done: Sequence[Effect], given: str
) -> tuple[MaintenancePlan, WindowState]:
    """The plan with what is heavy as it is after the light work, and the window that knows of it."""
    if is_decided(plan, window, given) or not any(_vacuumed(effect) for effect in done):
        return plan, window
    facts = await look(site, database, await prove_ground(site, database))
    again = with_heavy(plan, await make_plan(site, database, facts, window), facts, database.maintenance)
    return again, await write_window(site, database, window.model_copy(update={"actions": again.actions}))


def is_decided(plan: MaintenancePlan, window: WindowState, given: str) -> bool:
    """Whether a person has approved what is heavy in a plan."""
    statements = {action.statement for action in plan.heavy}
    beforehand = bool(given) and plan.digest.startswith(given)
    return bool(statements) and (beforehand or statements <= set(window.approved))


def _vacuumed(effect: Effect) -> bool:
    return effect.action.kind == "vacuum" and effect.ended == "done"
