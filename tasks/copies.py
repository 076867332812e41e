"""Looks at a restored copy: what it is made of (L3), what it holds (L4), whether its structure is sound (L5).

Safety property: everything here reads the copy; ``amcheck`` is installed on it where it is missing, and on nothing
else. What cannot be checked is said and never counts as passed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Protocol, TypeVar

from prefect import task

from tasks import progress
from tasks.analysis import catalogue, content, ladder
from tasks.analysis.backups import began
from tasks.backup_models import Beat, Catalogue, Corruption, Evidence, LevelResult, Manifest, TableContent, Target
from tasks.clients.inspection import ForeignKey, Relation, Session
from tasks.errors import NotAllowed, PermanentError, TimedOut
from tasks.estate import Database, TableRule
from tasks.policies import READ, WAIT
from tasks.scratch import Copy

SHOWN = 20


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Item = TypeVar("Item", bound=_Named)
Answer = TypeVar("Answer")


@task(**READ)
async def copy_size(copy: Copy) -> int | None:
    """The size of the copy on its disk in bytes; None where it cannot be told: the levels say what is wrong with it."""
    return await asyncio.to_thread(_size, copy)


def _size(copy: Copy) -> int | None:
    try:
        with copy.inspector.session() as session:
            return session.size_bytes()
    except PermanentError:
        return None


@task(**WAIT)
async def check_schema(copy: Copy, expected: Catalogue) -> LevelResult:
    """L3: compare what the copy is made of with production. Safe to repeat: it only reads."""
    return await asyncio.to_thread(_check_schema, copy, expected)


def _check_schema(copy: Copy, expected: Catalogue) -> LevelResult:
    started = time.monotonic()
    with copy.inspector.session() as session:
        evidence = [
            *catalogue.compare(expected, session.catalogue()),
            *catalogue.sequences(session.sequences()),
            *catalogue.invalid_indexes(session.invalid_indexes(), expected),
        ]
    return ladder.judged(3, evidence, time.monotonic() - started)


@task(**WAIT)
async def check_content(
    copy: Copy, database: Database, manifest: Manifest, target: Target
) -> tuple[LevelResult, datetime | None]:
    """L4: compare what the copy holds with the manifest; the time of its newest heartbeat.

    Safe to repeat: it only reads.
    """
    return await asyncio.to_thread(_check_content, copy, database, manifest, target)


def _check_content(
    copy: Copy, database: Database, manifest: Manifest, target: Target
) -> tuple[LevelResult, datetime | None]:
    started = time.monotonic()
    with copy.inspector.session() as session:
        tables, beat = session.tables(), session.heartbeat()
    known = {table.table: table for table in manifest.tables}
    found, slow = _each_in_time(
        copy, tables, lambda session, table: _content(session, table, known.get(table.name), len(tables)),
        database.drill.jobs,
    )  # fmt: skip
    read = manifest.model_copy(update={"tables": tuple(table for table in manifest.tables if table.table not in slow)})
    filled = content.not_empty(database.must_not_be_empty, found)
    evidence = [
        *content.compare(read, found),
        *(line for line in filled if line.ok or not slow),  # what was not read in time need not be empty
        *_heartbeat(beat, database, manifest, target),
    ]
    return _judged(4, evidence, slow, started), beat.at if beat else None


def _content(session: Session, table: Relation, known: TableContent | None, of: int) -> TableContent:
    """The content of a table by the manifest's rule; why it could not be read where it could not."""
    progress.report("content", table.name, f"counting and hashing, one of {of} tables")
    if known is None:
        return TableContent(table=table.name, root=table.root)
    rule = TableRule.model_construct(
        table=table.name, compare=known.compare, key=known.key or None, tolerance_percent=known.tolerance_percent
    )
    try:
        return session.content(table, rule, known.low, known.high)
    except TimedOut:
        raise
    except PermanentError as error:
        return TableContent(table=table.name, root=table.root, compare=known.compare, why=str(error))


def _heartbeat(beat: Beat | None, database: Database, manifest: Manifest, target: Target) -> list[Evidence]:
    moment = target.moment or (began(target.backup) if target.backup else manifest.taken)
    ended = target.backup.ended or moment if target.backup else None
    gap = database.drill.heartbeat_gap
    return content.heartbeat(beat, manifest.heartbeat is not None, manifest.origin, moment, gap, ended)


@task(**WAIT)
async def check_structure(copy: Copy, database: Database) -> LevelResult:
    """L5: run ``amcheck`` over every heap and B-tree, and look for rows whose foreign keys lead nowhere.

    Safe to repeat: it only reads, but for ``amcheck`` itself, which is installed on the copy where it is missing.
    """
    return await asyncio.to_thread(_check_structure, copy, database)


def _check_structure(copy: Copy, database: Database) -> LevelResult:
    started, jobs = time.monotonic(), database.drill.jobs
    with copy.inspector.session() as session:
        keys = session.foreign_keys()
    orphans, slow = _each_in_time(copy, keys, _orphans, jobs)
    foreign = orphans or [Evidence(what=f"no row refers to one that is not there; foreign keys: {len(keys)}")]
    try:
        with copy.administrator.session(writes=True) as session:
            schema = session.amcheck_schema()
            relations = session.checked_relations()
    except PermanentError as error:
        if any(not line.ok for line in orphans):
            return ladder.judged(5, [*foreign, Evidence(what=f"amcheck was not possible: {error}", ok=False)])
        return ladder.not_possible(5, f"amcheck cannot run: {error}", foreign)
    said, late = _each_in_time(
        copy, relations, lambda session, relation: _check(session, relation, schema), jobs, administrator=True
    )
    return _judged(5, [*_corruptions(said, relations), *foreign], slow | late, started)


def _orphans(session: Session, key: ForeignKey) -> Evidence | None:
    try:
        rows = session.orphans(key)
    except (NotAllowed, TimedOut):
        raise
    except PermanentError as error:
        return Evidence(what=f"foreign key {key.name} cannot be checked: {error}", ok=False)
    if not rows:
        return None
    if not key.validated:  # nobody promised it: L3 compares the mark with production, and L4 the rows
        return Evidence(what=f"foreign key {key.name} is NOT VALID: {rows:,} rows lead nowhere, which it allows")
    return Evidence(what=f"foreign key {key.name}: {rows:,} rows lead nowhere", ok=False)


def _check(session: Session, relation: Relation, schema: str) -> Corruption | None:
    progress.report("structure", relation.name, "amcheck")
    return session.check(relation, schema)


def _corruptions(found: list[Corruption], relations: list[Relation]) -> list[Evidence]:
    if found:
        return [Evidence(what=f"{one.relation}: {one.said}", ok=False) for one in found[:SHOWN]]
    heaps = sum(not relation.is_index for relation in relations)
    size = sum(relation.bytes for relation in relations) / 1e6
    return [
        Evidence(what=f"amcheck finds nothing in {heaps} heaps and {len(relations) - heaps} B-trees, {size:,.0f} MB")
    ]


def _each_in_time(
    copy: Copy, items: Iterable[Item], work: Callable[[Session, Item], Answer | None], jobs: int,
    administrator: bool = False,
) -> tuple[list[Answer], dict[str, Evidence]]:
    """Do some work on every item: the answers, and by name what took too long, which does not end the others' work."""
    slow: dict[str, Evidence] = {}

    def in_time(session: Session, item: Item) -> Answer | None:
        try:
            return work(session, item)
        except TimedOut as error:
            slow[item.name] = Evidence(what=str(error), ok=False)
            return None

    inspector = copy.administrator if administrator else copy.inspector
    return [answer for answer in inspector.each(items, in_time, jobs) if answer is not None], slow


def _judged(level: int, evidence: list[Evidence], slow: Mapping[str, Evidence], started: float) -> LevelResult:
    """Failed by what was seen; not possible where all that was seen is good, but not everything could be."""
    result = ladder.judged(level, [*evidence, *slow.values()], time.monotonic() - started)
    return result if any(not line.ok for line in evidence) else ladder.excused(result, "it took too long")
