"""Compares the content of a restored copy with what a manifest saw on production.

A manifest belongs to one moment and a backup to another. What is comparable is said by the table's rule (see
``tasks/estate/drills.py``): rows of an ``exact`` table are the same; of one that ``grows``, every range of the key that
the manifest saw is the same, but the newest ones, where a transaction that was under way may have added rows since; of
one that ``varies``, only the number of rows is compared, and the evidence says so; of partitions, their sum. Rows
without a key have no place in its order: some may come, none may go. Safety property: a table of the manifest that is
not in the copy, or cannot be read, is a failure, whatever its rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from tasks.analysis.units import counted
from tasks.backup_models import Beat, Chunk, Evidence, Manifest, TableContent

#: The range of the rows whose key is NULL.
WITHOUT_KEY = -1
#: In so many of the newest ranges, rows may have been added: transactions under way when the manifest was taken.
LENIENT = 2
SHOWN = 20


def compare(manifest: Manifest, found: Iterable[TableContent]) -> list[Evidence]:
    """One line for each table that is not as it was, and one for each rule whose tables all are."""
    copies = {content.table: content for content in found}
    good: dict[str, list[TableContent]] = {}
    bad = [_differs(what) for what in _sums_apart(manifest.tables, copies.values())]
    for table in manifest.tables:
        copy = copies.pop(table.table, None)
        what = _wrong(table, copy)
        if what:
            unread = copy is not None and bool(copy.why)
            bad.append(Evidence(what=what, ok=False, compared=not unread))
        else:
            good.setdefault(table.compare, []).append(table)
    bad += [_differs(f"table {name} is in the copy and not in the manifest") for name in sorted(copies)]
    return [*bad, *(_agreed(rule, tables) for rule, tables in sorted(good.items()))]


def not_empty(wanted: Sequence[str], found: Iterable[TableContent]) -> list[Evidence]:
    """Whether the tables without whose rows a backup proves nothing have rows."""
    rows = _rows_by_name(found)
    evidence = []
    for name in wanted:
        full = name if "." in name else f"public.{name}"
        count = rows[full]
        evidence.append(Evidence(what=f"{full} holds {count:,} rows" if count else f"{full} is empty", ok=count > 0))
    return evidence


def heartbeat(
    found: Beat | None, expected: bool, origin: str, moment: datetime, gap: timedelta, ended: datetime | None = None
) -> list[Evidence]:
    """Whether the newest heartbeat is one of this instance, just before the moment that the copy claims to be from.

    ``moment`` is when the backup began (or the point in time), ``ended`` when it was over: a physical backup holds what
    was committed up to its end.
    """
    if found is None:
        what = "the copy holds no heartbeat" + ("" if expected else ", nor did production: RPO not measured")
        return [Evidence(what=what, ok=not expected)]
    age, of = moment - found.at, "backup" if ended else "point in time"
    late = "" if age <= gap else f": more than {in_time(gap)} before it"
    said = f"the newest heartbeat is of {found.at:%Y-%m-%d %H:%M:%S} UTC, {in_words(age)} the {of}{late}"
    lines = [Evidence(what=said, ok=age <= gap)]
    last = (ended or moment) + timedelta(seconds=5)
    if found.at > last:
        lines.append(Evidence(what=f"the newest heartbeat is younger than {last:%Y-%m-%d %H:%M:%S} UTC", ok=False))
    if found.origin != origin:
        lines.append(Evidence(what=f"the heartbeat is one of {found.origin}, not of {origin}", ok=False))
    return lines


def in_words(age: timedelta) -> str:
    """How far something lies before (or after) something else."""
    return f"{in_time(abs(age))} {'before' if age >= timedelta() else 'into'}"


def in_time(span: timedelta) -> str:
    """A span as a person says it."""
    seconds = span.total_seconds()
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _differs(what: str) -> Evidence:
    return Evidence(what=what, ok=False, compared=True)


def _wrong(table: TableContent, copy: TableContent | None) -> str:
    if copy is None:
        return f"table {table.table} is missing ({table.rows:,} rows in the manifest)"
    if copy.why:
        return f"table {table.table} cannot be read: {copy.why}"
    if table.why:
        return f"table {table.table} could not be read on production: {table.why}"
    return {"exact": _exact, "grows": _grown, "varies": _varied}[table.compare](table, copy)


def _exact(table: TableContent, copy: TableContent) -> str:
    if copy.rows != table.rows:
        return f"table {table.table} holds {copy.rows:,} rows, {table.rows:,} in the manifest"
    if copy.checksum != table.checksum:
        return f"table {table.table} holds {copy.rows:,} rows as in the manifest, but other ones: its checksum differs"
    return ""


def _varied(table: TableContent, copy: TableContent) -> str:
    return "" if table.root else _apart(table.table, table.rows, copy.rows, table.tolerance_percent)


def _sums_apart(tables: Iterable[TableContent], copies: Iterable[TableContent]) -> list[str]:
    """The partitioned tables of which the sum of the rows is too far from the manifest's: one part may be anyhow."""
    parts = [table for table in tables if table.root and table.compare == "varies"]
    before, after = _rows_by_name(parts), _rows_by_name(copies)
    rules = {table.root: table.tolerance_percent for table in parts}
    return [
        said for root, percent in sorted(rules.items()) if (said := _apart(root, before[root], after[root], percent))
    ]


def _apart(table: str, before: int, after: int, percent: float) -> str:
    if abs(after - before) <= before * percent / 100:
        return ""
    return f"table {table} holds {after:,} rows, {before:,} in the manifest: more than {percent:g} % apart"


def _rows_by_name(contents: Iterable[TableContent]) -> Counter[str]:
    """The number of rows of each table, and of each partitioned one the sum over its partitions."""
    rows = Counter[str]()
    for content in contents:
        rows[content.table] += content.rows
        rows[content.root] += content.rows
    return rows


def _grown(table: TableContent, copy: TableContent) -> str:
    there = {chunk.number: chunk for chunk in copy.chunks}
    ordered = [chunk.number for chunk in table.chunks if chunk.number != WITHOUT_KEY]
    newest = {WITHOUT_KEY, *ordered[-LENIENT:]}
    for chunk in table.chunks:
        other = there.pop(chunk.number, Chunk(number=chunk.number, rows=0, checksum="0"))
        may_have_more = chunk.number in newest and other.rows > chunk.rows
        if other.rows < chunk.rows:
            return f"{_part(table, chunk)} holds {other.rows:,} rows, {chunk.rows:,} in the manifest"
        if not may_have_more and (other.rows, other.checksum) != (chunk.rows, chunk.checksum):
            return f"{_part(table, chunk)} holds other rows than in the manifest: rows were changed or added there"
    oldest = min(ordered[-LENIENT:], default=0)
    strangers = [chunk for number, chunk in there.items() if WITHOUT_KEY < number < oldest]
    return f"{_part(table, strangers[0])} holds rows, none in the manifest" if strangers else ""


def _part(table: TableContent, chunk: Chunk) -> str:
    part = "rows without" if chunk.number == WITHOUT_KEY else f"part {chunk.number} of"
    return f"table {table.table}, {part} its key {table.key},"


def _agreed(rule: str, tables: list[TableContent]) -> Evidence:
    rows = sum(table.rows for table in tables)
    count = f"{counted(len(tables), 'table')}, {counted(rows, 'row')}"
    names = ", ".join(table.table for table in tables[:SHOWN])
    match rule:
        case "exact":
            return Evidence(what=f"{count}: the same rows")
        case "grows":
            return Evidence(what=f"{count}: all that the manifest saw is there ({names})")
        case _:
            return Evidence(what=f"{count}: their number is within its tolerance; content not compared ({names})")
