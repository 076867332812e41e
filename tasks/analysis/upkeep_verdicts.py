"""How an action ended, by what its object looks like before and after.

Safety property: a statement that ended without an error is no proof: what it was for is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks.maintenance_models import Action, Ended

#: Of the dead rows that were there, so many are left: nothing worth speaking of was removed.
LEFT = 0.9


def judged(
    action: Action, skip: str, before: Mapping[str, float], after: Mapping[str, float]
) -> tuple[Ended, str]:
    """How an action ended, and why it did not do what it is for. ``skip``: why the server did nothing."""
    if skip:
        return "skipped", skip
    if action.kind == "reindex" and not after.get("valid"):
        return "failed", "it is still invalid"
    if action.kind == "drop_leftover" and after:
        return "failed", "it is still there"
    dead = before.get("dead_rows", 0), after.get("dead_rows", 0)
    if action.kind == "vacuum" and action.dead and dead[1] >= LEFT * dead[0] > 0:
        who = action.held_by or "an older transaction"
        return "held_back", f"{dead[1]:,.0f} dead rows are still seen by {who}"
    return "done", ""
