"""The plan: what is done, in which order, at which price; what a person is advised; what runs out.

Safety property: an action without head-room is refused here, before anything runs, and one that is held back by
somebody's transaction says so. Whatever is heavier than VACUUM and ANALYZE is covered by the digest that is approved:
another index in the plan is another digest, another size is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import timedelta

from tasks.analysis import upkeep_indexes as indexes
from tasks.analysis.units import megabytes
from tasks.analysis.upkeep_advice import held_back, tuning
from tasks.analysis.upkeep_needs import Need, needs
from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_facts import Facts, IndexFacts, ServerFacts
from tasks.maintenance_models import Action, DaysLeft, MaintenancePlan, StatementChange
from tasks.models import SEVEREST_FIRST

VACUUM_LOCK = "SHARE UPDATE EXCLUSIVE: reads and writes go on"
REINDEX_LOCK = "SHARE UPDATE EXCLUSIVE: reads and writes go on; it waits for older transactions"
#: What has a VACUUM leave out the mark of the database's oldest table; PostgreSQL 16 and later.
SKIPS_THE_MARK = "SKIP_DATABASE_STATS"
#: Bytes a second, until the ledger knows better.
SPEEDS = {"vacuum": 60e6, "analyze": 120e6, "reindex": 25e6, "drop_leftover": 1e9}
#: A rebuild writes the new index and as much again into the log.
LOGGED_AGAIN = 2.0


def plan(
    database: str, facts: Facts, policy: MaintenancePolicy, *, counters_lost: bool = False,
    speeds: dict[str, float] | None = None, days_left: Sequence[DaysLeft] = (),
    statements: Sequence[StatementChange] = (), statements_since: str = "",
) -> MaintenancePlan:
    """The whole plan of what was seen."""
    pace = {**SPEEDS, **(speeds or {})}
    needed = needs(facts.tables, policy, facts.holders, counters_lost)
    of_tables, rebuilds = _tables(needed, facts.server, pace), _rebuilds(facts.indexes, policy, pace)
    ordered = arranged([*of_tables, *_leftovers(facts.indexes), *rebuilds], facts, policy)
    said = (
        *held_back(facts, needed),
        *indexes.advice(facts.indexes, facts.foreign_keys, policy, facts.server.stats_reset, facts.server.at),
        *indexes.table_bloat(facts.tables, policy),
        *tuning(facts, days_left, policy),
    )
    own = [table for table in facts.tables if not table.is_system]
    return MaintenancePlan(
        database=database, at=facts.server.at, actions=ordered, days_left=tuple(days_left),
        advice=tuple(sorted(said, key=lambda one: SEVEREST_FIRST.index(one.severity))),
        statements=tuple(statements), statements_since=statements_since, missing=facts.missing,
        digest=digest(ordered), tables=len(own),
        healthy=len(own) - len({action.table for action in ordered} & {table.name for table in own}),
    )  # fmt: skip


def digest(actions: Iterable[Action]) -> str:
    """What an approval is given for: the statements heavier than VACUUM and ANALYZE; empty where there is none."""
    heavy = sorted(action.statement for action in actions if not action.light and not action.refused)
    return hashlib.sha256(json.dumps(heavy).encode()).hexdigest() if heavy else ""


def arranged(actions: Sequence[Action], facts: Facts, policy: MaintenancePolicy) -> tuple[Action, ...]:
    """A plan's actions in order, with what the disk has no room for *now* refused, whatever an earlier look said.

    The estate's reserve is kept free. One rebuild runs at a time.
    """
    used, disk = facts.server.used_bytes, facts.server.disk_bytes
    ordered = _in_order(actions)
    return tuple(one.model_copy(update={"refused": _no_room(one, used, disk, policy)}) for one in ordered)


def _no_room(action: Action, used: int | None, disk: int, policy: MaintenancePolicy) -> str:
    """Why there is no room for an action; empty where there is."""
    if not action.disk_bytes:
        return ""
    if used is None or not disk:
        return "how full the disk is needs pg_monitor to know" if disk else "the disk's size is not known"
    free = disk * (1 - policy.reserve_percent / 100) - used
    if action.disk_bytes <= free:
        return ""
    return (
        f"no head-room: it needs {megabytes(action.disk_bytes)}, and {megabytes(max(0.0, free))} are free beside "
        f"{policy.reserve_percent:g} % of reserve"
    )


def _in_order(actions: Sequence[Action]) -> list[Action]:
    """Freezes, VACUUM, ANALYZE, the neediest first; then leftovers, which only cost; rebuilds, the smallest first.

    What is held back comes last among its kind: whoever holds it may be gone by then.
    """
    kinds = {"vacuum": 0, "analyze": 1, "drop_leftover": 2, "reindex": 3}

    def place(numbered: tuple[int, Action]) -> tuple[object, ...]:
        number, action = numbered
        size = action.bytes if action.kind == "reindex" else 0
        return kinds[action.kind], bool(action.held_by), not action.freeze, size, number

    ordered = [action for _, action in sorted(enumerate(actions), key=place)]
    return [action.model_copy(update={"rank": rank}) for rank, action in enumerate(ordered, 1)]


def _tables(found: Sequence[Need], server: ServerFacts, pace: dict[str, float]) -> Iterable[Action]:
    for need in found:
        if not need.table.may_maintain:
            continue
        kind = "vacuum" if need.vacuum else "analyze"
        table = need.table
        yield Action(
            kind=kind, target=table.name, quoted=table.quoted, oid=table.oid, table=table.name,
            table_oid=table.oid,
            statement=vacuum_statement(table.quoted, server, freeze=need.freeze, analyze=need.analyze) if need.vacuum
            else f"ANALYZE {table.quoted}",
            reasons=need.reasons, gain=_gain(need), lock=VACUUM_LOCK, bytes=table.bytes,
            seconds=_seconds(table.bytes, pace[kind]), freeze=need.freeze, analyze=need.analyze, dead=need.dead,
            held_by=need.held_by, held_pid=need.holder.pid if need.holder else 0,
            held_since=need.holder.since if need.holder and need.holder.pid else None,
        )  # fmt: skip


def vacuum_statement(quoted: str, server: ServerFacts, *, freeze: bool, analyze: bool) -> str:
    """The statement of a VACUUM. The database's own mark of its oldest table is set once, at the end.

    Cutting off a table's empty end takes ACCESS EXCLUSIVE. The primary gives way at once to whoever waits; a replica
    that replays it cancels its queries. https://www.postgresql.org/docs/18/hot-standby.html#HOT-STANDBY-CONFLICT
    """
    options = ["FREEZE"] * freeze + ["ANALYZE"] * analyze + ["TRUNCATE FALSE"] * (server.replicas > 0)
    options += [SKIPS_THE_MARK] * (server.version >= 160000)
    return f"VACUUM ({', '.join(options)}) {quoted}" if options else f"VACUUM {quoted}"


def _gain(need: Need) -> str:
    table = need.table
    parts = [f"{table.dead:,} dead rows removed" if need.vacuum and table.dead else ""]
    parts.append("no forced freeze for another cycle" if need.freeze else "")
    parts.append("plans on today's statistics" if need.analyze else "")
    parts.append("index-only scans, small freezes" if need.vacuum and not (table.dead or need.freeze) else "")
    return "; ".join(filter(None, parts))


def _leftovers(found: Sequence[IndexFacts]) -> Iterable[Action]:
    for index in found:
        if indexes.is_leftover(index) and index.may_maintain:
            yield Action(
                kind="drop_leftover", target=index.name, quoted=index.quoted, oid=index.oid, table=index.table,
                table_oid=index.table_oid,
                statement=f"DROP INDEX CONCURRENTLY IF EXISTS {index.quoted}",
                reasons=("what a broken-off REINDEX CONCURRENTLY left: kept up to date and used by no query",),
                gain=f"{megabytes(index.bytes)}, and one index less to write", lock=VACUUM_LOCK, bytes=index.bytes,
                seconds=1,
            )  # fmt: skip


def _rebuilds(found: Sequence[IndexFacts], policy: MaintenancePolicy, pace: dict[str, float]) -> Iterable[Action]:
    for index in found:
        if not index.may_maintain or index.building:
            continue
        broken = indexes.is_broken(index)
        why = "invalid: kept up to date and used by no query" if broken else indexes.bloat(index, policy)
        if not why:
            continue
        fresh = index.bytes if broken else index.bytes - indexes.wasted_bytes(index)
        yield Action(
            kind="reindex", target=index.name, quoted=index.quoted, oid=index.oid, table=index.table,
            table_oid=index.table_oid, statement=f"REINDEX INDEX CONCURRENTLY {index.quoted}", reasons=(why,),
            gain="usable again" if broken else f"{megabytes(index.bytes - fresh)} and shorter scans",
            lock=REINDEX_LOCK, bytes=index.bytes, seconds=_seconds(index.bytes, pace["reindex"]),
            disk_bytes=int(max(fresh, 8192) * LOGGED_AGAIN),
        )  # fmt: skip


def _seconds(size: int, pace: float) -> float:
    return round(0.05 + size / pace, 2)


def fits(action: Action, left: timedelta) -> bool:
    """Whether an action is likely to end in what is left of the window. A VACUUM may begin: it may be broken off."""
    return action.light or action.seconds <= left.total_seconds()


def with_heavy(
    plan: MaintenancePlan, later: MaintenancePlan, facts: Facts, policy: MaintenancePolicy
) -> MaintenancePlan:
    """A plan whose heavy part, and advice, are of a later look. What a rehearsal has measured stays measured."""
    measured = {action.key: action for action in plan.actions if action.measured}
    heavy = [measured.get(action.key, action) for action in later.actions if not action.light]
    actions = arranged([*(action for action in plan.actions if action.light), *heavy], facts, policy)
    return plan.model_copy(update={"actions": actions, "advice": later.advice, "digest": digest(actions)})


def merged(
    fresh: MaintenancePlan, before: Sequence[Action], done: frozenset[str], lately: frozenset[str], facts: Facts,
    policy: MaintenancePolicy,
) -> MaintenancePlan:
    """A plan that goes on with one that was broken off: what the counters forgot is in again, unless it is ``done``.

    What is seen as needed is out where it was done ``lately``, in the same window.
    """
    known = {action.key for action in fresh.actions}
    again = [action for action in before if action.key not in known | done and not action.refused]
    actions = arranged([*(one for one in fresh.actions if one.key not in lately), *again], facts, policy)
    return fresh.model_copy(update={"actions": actions, "digest": digest(actions)})
