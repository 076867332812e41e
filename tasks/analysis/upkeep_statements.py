"""What statements did between two looks at pg_stat_statements.

Safety property: counters that were set to zero in between are never subtracted from: a reset of all, an entry that was
evicted and came back. What was counted since is told instead, and that it is less than the whole stretch.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from tasks.maintenance_facts import StatementFacts, StatementsSnapshot
from tasks.maintenance_models import StatementChange
from tasks.models import Measurement

#: A statement that takes less of the whole is not told.
SHOWN = 15


def changes(
    now: StatementsSnapshot, then: StatementsSnapshot | None, before: dict[str, float]
) -> tuple[StatementChange, ...]:
    """The statements that took the most time since the last look, with their mean of the stretch before.

    ``before``: the mean time in milliseconds of each statement in the stretch that ended with the last look.
    """
    earlier = {} if then is None or _reset_since(now, then) else {one.id: one for one in then.statements}
    found = [_change(one, earlier.get(one.id), before) for one in now.statements]
    ordered = sorted((one for one in found if one.calls), key=lambda one: (-one.total_ms, one.id))
    return tuple(ordered[:SHOWN])


def means(now: StatementsSnapshot, then: StatementsSnapshot | None) -> dict[str, float]:
    """The mean time in milliseconds of each statement since the last look."""
    earlier = {} if then is None or _reset_since(now, then) else {one.id: one for one in then.statements}
    found = [_change(one, earlier.get(one.id), {}) for one in now.statements]
    return {one.id: one.mean_ms for one in found if one.calls}


def mean_times(calls: Sequence[Measurement], milliseconds: Sequence[Measurement]) -> list[tuple[datetime, float]]:
    """The mean time of what ran between two looks at the counters; nothing of a stretch in which they were reset."""
    totals = {one.at: one.value for one in milliseconds}
    looks = [(one.at, one.value, totals[one.at]) for one in calls if one.at in totals]
    return [
        (at, (total - total_before) / (count - count_before))
        for (_, count_before, total_before), (at, count, total) in pairwise(looks)
        if count > count_before and total >= total_before
    ]


def since(now: StatementsSnapshot, then: StatementsSnapshot | None) -> str:
    """Which stretch the changes are of, in words."""
    if then is None:
        return f"since {now.reset:%Y-%m-%d}, the last reset" if now.reset else "since they were first counted"
    if _reset_since(now, then):
        assert now.reset is not None
        return f"since the reset at {now.reset:%Y-%m-%d %H:%M} UTC; what was before it is not known"
    return f"since {then.at:%Y-%m-%d}"


def _reset_since(now: StatementsSnapshot, then: StatementsSnapshot) -> bool:
    return now.reset is not None and now.reset > then.at


def _change(one: StatementFacts, earlier: StatementFacts | None, before: dict[str, float]) -> StatementChange:
    fresh = earlier is None or earlier.calls > one.calls or (one.since or earlier.since) != earlier.since
    calls = one.calls - (0 if fresh or earlier is None else earlier.calls)
    total = one.total_ms - (0.0 if fresh or earlier is None else earlier.total_ms)
    mean = total / calls if calls else 0.0
    return StatementChange(
        id=one.id, text=one.text, calls=calls, total_ms=total, mean_ms=mean, before_ms=before.get(one.id)
    )
