"""Which tables need VACUUM, ANALYZE or a freeze, and why.

Safety property: a table gets into the plan for a reason that is a number, and a healthy one never does. The rules are
those of autovacuum itself, with the estate's thresholds, so that what autovacuum keeps up with is left alone:
https://www.postgresql.org/docs/18/routine-vacuuming.html
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_facts import Holder, TableFacts
from tasks.models import Frozen

#: A table of fewer pages is read whole in no time: whether its pages are all-visible changes nothing.
FEW_PAGES = 128
#: Below this share of all-visible pages an index-only scan is none any more.
VISIBLE_PERCENT = 50


class Need(Frozen):
    """What a table needs, and why. ``urgency`` orders: the larger, the sooner."""

    table: TableFacts
    vacuum: bool = False
    analyze: bool = False
    freeze: bool = False
    dead: bool = False
    reasons: tuple[str, ...] = ()
    urgency: float = 0
    holder: Holder | None = None

    @property
    def held_by(self) -> str:
        """Who keeps its dead rows, in words; empty where nobody does."""
        return self.holder.words if self.holder else ""


def needs(
    tables: Sequence[TableFacts], policy: MaintenancePolicy, holders: Sequence[Holder], counters_lost: bool = False
) -> tuple[Need, ...]:
    """The needs of those tables that have one, the most urgent first.

    ``counters_lost``: the server's statistics were lost in a crash, so that the visibility map speaks instead.
    """
    found = [_need(table, policy, counters_lost) for table in tables]
    held = [need.model_copy(update={"holder": holding(need.table, holders)}) for need in found if need is not None]
    return tuple(sorted(held, key=lambda need: (-need.urgency, need.table.name)))


def holding(table: TableFacts, holders: Sequence[Holder]) -> Holder | None:
    """Who keeps every dead row of a table from being removed; None where a VACUUM can remove some.

    Certain only where the last VACUUM ran while the holder was there already: what it left, and all that died since,
    the holder may still see.
    """
    if table.vacuumed is None or not table.dead:
        return None
    before = (one for one in holders if one.holds_since is not None and one.holds_since < table.vacuumed)
    return next(before, None)


def _need(table: TableFacts, policy: MaintenancePolicy, counters_lost: bool) -> Need | None:
    if table.is_parent:
        return _parent(table)
    dead = _dead(table, policy)
    # Of its own catalogues PostgreSQL keeps the statistics well enough; their dead rows and their age may need us.
    inserted, stale = ("", "") if table.is_system else (_inserted(table, policy), _stale(table, policy))
    frozen, hidden = _old(table, policy), _hidden(table) if counters_lost else ""
    reasons = tuple(filter(None, (frozen, dead, inserted, hidden, stale)))
    if not reasons:
        return None
    vacuum = bool(dead or inserted or frozen or hidden)
    urgency = (1e9 if frozen else 0) + (1e6 if vacuum else 0) + table.dead + table.inserted + table.modified
    # What a VACUUM reads anyhow is cheap to take statistics from: as autovacuum's two thresholds, they go together.
    analyze = bool(stale) or (bool(dead) and table.modified > 0)
    return Need(
        table=table, vacuum=vacuum, analyze=analyze, freeze=bool(frozen), dead=bool(dead), reasons=reasons,
        urgency=urgency
    )


def _parent(table: TableFacts) -> Need | None:
    """A partitioned table: autovacuum never analyzes it, and has nothing to vacuum."""
    if table.columns == 0 or table.columns_known > 0:
        return None
    return Need(table=table, analyze=True, reasons=("a partitioned table without statistics of its own",), urgency=1)


def _dead(table: TableFacts, policy: MaintenancePolicy) -> str:
    whole = max(table.live, 0) + table.dead
    if table.dead < policy.dead_rows or not whole:
        return ""
    percent = 100 * table.dead / whole
    return f"{table.dead:,} dead rows, {percent:.0f} %" if percent >= policy.dead_percent else ""


def _inserted(table: TableFacts, policy: MaintenancePolicy) -> str:
    """Rows that only came: their pages are neither all-visible nor frozen until a VACUUM."""
    before = max(table.live - table.inserted, 1)
    if table.inserted < policy.inserted_rows or 100 * table.inserted / before < policy.inserted_percent:
        return ""
    return f"{table.inserted:,} rows inserted since the last VACUUM: no index-only scan, a large freeze to come"


def _stale(table: TableFacts, policy: MaintenancePolicy) -> str:
    if table.columns and not table.columns_known and max(table.live, table.tuples) >= policy.stale_rows:
        return "no statistics at all"
    if table.modified < policy.stale_rows or 100 * table.modified / max(table.live, 1) < policy.stale_percent:
        return ""
    when = f" since {_day(table.analyzed)}" if table.analyzed else ""
    return f"stale statistics: {table.modified:,} rows changed{when}"


def _old(table: TableFacts, policy: MaintenancePolicy) -> str:
    if table.xid_age >= policy.freeze_age:
        return f"{table.xid_age:,} transactions old: to be frozen before wraparound protection comes"
    if table.mxid_age >= policy.freeze_age:
        return f"{table.mxid_age:,} multixacts old: to be frozen before wraparound protection comes"
    return ""


def _hidden(table: TableFacts) -> str:
    if table.pages < FEW_PAGES or 100 * table.visible_pages / table.pages >= VISIBLE_PERCENT:
        return ""
    return f"only {table.visible_pages:,} of {table.pages:,} pages all-visible, and the counters were lost"


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"
