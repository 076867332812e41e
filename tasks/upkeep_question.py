"""Words the question of a database's care: what a person approves, each statement with its price.

Prefect shows it in a narrow dialogue, so it is a list and no table. Safety property: every statement that is approved
is in it, however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.analysis.units import counted, megabytes
from tasks.approvals import Question
from tasks.maintenance_models import Action, MaintenancePlan
from tasks.markdown import cell
from tasks.upkeep_text import seconds


def question(plan: MaintenancePlan) -> Question:
    """The question of what is heavier than VACUUM and ANALYZE in a plan."""
    title = f"maintaining {plan.database}: {named(plan.heavy)}"
    parts = [f"# Care of {plan.database}: {named(plan.heavy)}", *map(_asked, plan.heavy), *_refused(plan.refused)]
    parts.append(f"VACUUM and ANALYZE need no approval. The digest of this plan is `{plan.digest[:12]}`.")
    return Question(kind="maintain-database", title=title, plan="\n\n".join(parts), digest=plan.digest)


def named(actions: Sequence[Action]) -> str:
    """How many of what."""
    drops = sum(action.kind == "drop_leftover" for action in actions)
    rebuilds = counted(len(actions) - drops, "rebuild of an index", "rebuilds of indexes")
    dropped = counted(drops, "leftover to drop", "leftovers to drop")
    return ", ".join([rebuilds] * (len(actions) > drops) + [dropped] * (drops > 0))


def _asked(action: Action) -> str:
    disk = f", {megabytes(action.disk_bytes)} of disk meanwhile" if action.disk_bytes else ""
    lines = (
        f"**why**: {cell('; '.join(action.reasons))}", f"**gain**: {cell(action.gain)}",
        f"**lock**: {cell(action.lock)}", f"**takes**: about {seconds(action)}{disk}",
    )  # fmt: skip
    return "\n".join([f"`{action.statement}`", "", *(f"- {line}" for line in lines)])


def _refused(actions: Sequence[Action]) -> list[str]:
    if not actions:
        return []
    lines = [f"- `{action.statement}`: {cell(action.refused)}" for action in actions]
    return ["\n".join(["## Not done, whatever you decide", "", *lines])]
