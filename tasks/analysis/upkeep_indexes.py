"""Which indexes are bloated, broken, left over, double, idle or missing.

Safety property: an index is only ever rebuilt or, if it is the invalid leftover of a rebuild, dropped. Whether one is
superfluous is told and never acted upon: indexes are the application's schema, and belong to its migrations.

The estimate counts what a fresh build would need: 8 bytes of header and the key, rounded to 8, and a line pointer of 4
an entry; with deduplication a key once and 6 bytes a row. See "B-Tree Indexes: Implementation" in PostgreSQL's manual.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from tasks.analysis.units import megabytes
from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_facts import ForeignKeyFacts, IndexFacts, TableFacts
from tasks.maintenance_models import Advice

PAGE = 8192
USABLE = PAGE - 24 - 16
HEADER, POINTER, ROW_POINTER = 8, 4, 6
#: The names that REINDEX CONCURRENTLY gives to what is not finished: https://www.postgresql.org/docs/18/sql-reindex.html
_LEFTOVER = re.compile(r"_cc(new|old)\d*$")
#: An estimate must say so much before an index is read whole to be measured.
SUSPECT_PERCENT = 25
#: Without a measurement the estimate decides, and must be the clearer for it.
SURE_WITHOUT_MEASURING = 15
MEBIBYTE = 1 << 20
#: A child of fewer bytes is read whole in no time.
SMALL_TABLE = MEBIBYTE


def is_leftover(index: IndexFacts) -> bool:
    """Whether an index is what a broken-off REINDEX CONCURRENTLY left; one that is being built now is none."""
    return not index.valid and not index.building and bool(_LEFTOVER.search(index.name))


def is_broken(index: IndexFacts) -> bool:
    """Whether no query uses an index, though it must be kept up to date: left by a CREATE INDEX CONCURRENTLY."""
    return not index.valid and not index.building and not is_leftover(index)


def estimated_bloat(index: IndexFacts) -> float | None:
    """The share of a B-tree that a fresh build would not need, in percent; None where nothing can be said."""
    if index.method != "btree" or index.pages < 2 or index.tuples <= 0 or index.entry_width <= 0:
        return None
    pages = fresh_pages(index)
    return max(0.0, 100 * (1 - pages / index.pages))


def fresh_pages(index: IndexFacts) -> float:
    """The pages that a fresh build of a B-tree would need."""
    key = HEADER + 8 * math.ceil(index.entry_width / 8) + POINTER
    whole = index.tuples * key
    if index.distinct and not index.unique and index.tuples > 2 * index.distinct:
        whole = index.tuples * ROW_POINTER + index.distinct * key
    return 1 + math.ceil(whole / (USABLE * index.fillfactor / 100))


def suspects(indexes: Iterable[IndexFacts], policy: MaintenancePolicy) -> tuple[IndexFacts, ...]:
    """The indexes that are worth being measured: large enough, and estimated to be bloated."""
    large = (index for index in indexes if index.valid and index.bytes >= policy.bloat_mb * MEBIBYTE)
    return tuple(index for index in large if (estimated_bloat(index) or 0) >= SUSPECT_PERCENT)


def bloat(index: IndexFacts, policy: MaintenancePolicy) -> str:
    """Why an index is to be rebuilt; empty where it is not. Measured where it was, else estimated."""
    if not index.valid or index.bytes < policy.bloat_mb * MEBIBYTE:
        return ""
    if index.density is not None:
        wasted, how, least = 100 - index.density, "measured", policy.bloat_percent
    else:
        wasted, how = estimated_bloat(index) or 0.0, "estimated, not measured"
        least = min(95.0, policy.bloat_percent + SURE_WITHOUT_MEASURING)
    spare = wasted / 100 * index.bytes
    if wasted < least or spare < policy.bloat_mb * MEBIBYTE:
        return ""
    return f"{wasted:.0f} % of {megabytes(index.bytes)} is bloat ({how})"


def wants(index: IndexFacts, policy: MaintenancePolicy) -> bool:
    """Whether an index is left over, broken or bloated."""
    return is_leftover(index) or is_broken(index) or bool(bloat(index, policy))


def wasted_bytes(index: IndexFacts) -> int:
    """What a rebuild would give back."""
    share = 1 - index.density / 100 if index.density is not None else (estimated_bloat(index) or 0) / 100
    return int(index.bytes * share)


def advice(
    indexes: Sequence[IndexFacts], keys: Sequence[ForeignKeyFacts], policy: MaintenancePolicy,
    stats_reset: datetime | None, now: datetime,
) -> tuple[Advice, ...]:
    """What a person should change in the schema."""
    doubles = dict(_duplicates(indexes))
    said = [
        Advice(
            kind="duplicate index", subject=name, what=f"does what {other} does, and takes {megabytes(size)}",
            way_out=f"drop it in a migration: DROP INDEX CONCURRENTLY {quoted}", severity="info",
        )
        for name, (other, quoted, size) in doubles.items()
    ]  # fmt: skip
    said += [one for one in _unused(indexes, policy, stats_reset, now) if one.subject not in doubles]
    return (*said, *_missing(keys))


def _duplicates(indexes: Sequence[IndexFacts]) -> Iterator[tuple[str, tuple[str, str, int]]]:
    """Of indexes that are the same, or of which one begins with the other, those that are not needed."""
    by_table: dict[int, list[IndexFacts]] = defaultdict(list)
    for index in indexes:
        if index.valid:
            by_table[index.table_oid].append(index)
    for group in by_table.values():
        for index in group:
            if index.unique or index.constraint:
                continue
            better = next((other for other in sorted(group, key=_worth) if _covers(other, index)), None)
            if better is not None:
                yield index.name, (better.name, index.quoted, index.bytes)


def _worth(index: IndexFacts) -> tuple[bool, bool, str]:
    return not index.constraint, not index.unique, index.name


def _covers(other: IndexFacts, index: IndexFacts) -> bool:
    """Whether ``other`` answers whatever ``index`` does; of two that are the same, the one with the lesser name."""
    if other.oid == index.oid:
        return False
    if other.columns == index.columns:
        return other.shape == index.shape and _worth(other) < _worth(index)
    prefix = other.columns[: len(index.columns)] == index.columns and 0 not in other.columns
    return prefix and other.method == index.method == "btree" and _plain(other, index)


def _plain(other: IndexFacts, index: IndexFacts) -> bool:
    """Whether neither has a predicate, an included column or an order of its own, and the common classes agree."""
    if "where " in other.shape or "where " in index.shape or "include " in index.shape:
        return False
    ours, theirs = index.shape.split(), other.shape.split()
    size, more = len(index.columns), len(other.columns)
    if len(ours) != 1 + 3 * size or len(theirs) < 1 + 3 * more:
        return False
    return all(ours[1 + part * size :][:size] == theirs[1 + part * more :][:size] for part in range(3))


def _unused(
    indexes: Sequence[IndexFacts], policy: MaintenancePolicy, stats_reset: datetime | None, now: datetime
) -> Iterator[Advice]:
    if stats_reset is None or now - stats_reset < timedelta(days=policy.unused_days):
        return
    for index in indexes:
        last = index.last_scan if index.scans else None
        idle = index.scans == 0 or (last is not None and now - last >= timedelta(days=policy.unused_days))
        if index.valid and not index.unique and not index.constraint and idle:
            since = f"{last:%Y-%m-%d}" if last else f"{stats_reset:%Y-%m-%d}, or since it was made"
            yield Advice(
                kind="unused index", subject=index.name,
                what=f"was not used since {since}, and takes {megabytes(index.bytes)}",
                way_out="look at the replicas too, then drop it in a migration", severity="info",
            )  # fmt: skip


def _missing(keys: Sequence[ForeignKeyFacts]) -> Iterator[Advice]:
    for key in keys:
        columns = ", ".join(key.columns)
        if key.bytes >= SMALL_TABLE:
            yield Advice(
                kind="missing index", subject=f"{key.table}.{key.name}",
                what=f"no index begins with {columns}: each delete in {key.parent} reads the whole table",
                way_out=f"in a migration: CREATE INDEX CONCURRENTLY ON {key.table} ({columns})",
            )  # fmt: skip


# --- tables ----------------------------------------------------------------------------------------------------------

ROW_HEADER = 24


def suspect_tables(tables: Iterable[TableFacts], policy: MaintenancePolicy) -> tuple[TableFacts, ...]:
    """The tables whose pages hold far less than they could, by what pg_stats knows of their rows."""
    found = []
    for table in tables:
        if table.is_system or table.tuples <= 0 or table.row_width <= 0 or table.pages * PAGE < 8 * MEBIBYTE:
            continue
        row = ROW_HEADER + POINTER + 8 * math.ceil(table.row_width / 8)
        if 100 * (1 - table.tuples * row / USABLE / table.pages) >= policy.bloat_percent:
            found.append(table)
    return tuple(found)


def table_bloat(tables: Iterable[TableFacts], policy: MaintenancePolicy) -> Iterator[Advice]:
    """Tables that VACUUM cannot make smaller: free space within is reused, and given back by a rewrite alone."""
    for table in tables:
        if table.free_percent is not None and table.free_percent >= policy.bloat_percent:
            yield Advice(
                kind="table bloat", subject=table.name, severity="info",
                what=f"{table.free_percent:.0f} % of {megabytes(table.pages * PAGE)} is free or dead (measured)",
                way_out="it is reused as rows come; to give it back, rewrite the table online with pg_repack",
            )  # fmt: skip
