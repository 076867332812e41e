"""Looks at a restored copy: what it is made of (L3), what it holds (L4), whether its structure is sound (L5).

Safety property: everything here reads the copy; ``amcheck`` is installed on it where it is missing, and on nothing
else. What cannot be checked is said and never counts as passed.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

from prefect import task

from tasks import progress
from tasks.analysis import catalogue, content, ladder
from tasks.analysis.backups import began
from tasks.backup_models import Beat, Catalogue, Corruption, Evidence, LevelResult, Manifest, TableContent, Target
from tasks.clients.inspection import ForeignKey, Relation, Session
from tasks.errors import BadInput, NotAllowed, PermanentError
from tasks.estate import Database, TableRule
from tasks.policies import READ, WAIT
from tasks.scratch import Copy

SHOWN = 20


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
    found = copy.inspector.each(
        tables, lambda session, table: _content(session, table, known.get(table.name), len(tables)), database.drill.jobs
    )
    evidence = [
        *content.compare(manifest, found),
        *content.not_empty(database.must_not_be_empty, found),
        *_heartbeat(beat, database, manifest, target),
    ]
    return ladder.judged(4, evidence, time.monotonic() - started), beat.at if beat else None


def _content(session: Session, table: Relation, known: TableContent | None, of: int) -> TableContent:
    """The content of a table by the manifest's rule; why it could not be read where it could not."""
    progress.report("content", table.name, f"counting and hashing, one of {of} tables")
    if known is None:
        return TableContent(table=table.name)
    rule = TableRule.model_construct(
        table=table.name, compare=known.compare, key=known.key or None, tolerance_percent=known.tolerance_percent
    )
    try:
        return session.content(table, rule, known.low, known.high)
    except PermanentError as error:
        return TableContent(table=table.name, compare=known.compare, why=str(error))


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
    orphans = [line for line in copy.inspector.each(keys, _orphans, jobs) if line is not None]
    foreign = orphans or [Evidence(what=f"no row refers to one that is not there; foreign keys: {len(keys)}")]
    try:
        with copy.administrator.session(writes=True) as session:
            schema = session.amcheck_schema()
            relations = session.checked_relations()
    except (PermanentError, BadInput) as error:
        if any(not line.ok for line in orphans):
            return ladder.judged(5, [*foreign, Evidence(what=f"amcheck was not possible: {error}", ok=False)])
        return ladder.not_possible(5, f"amcheck cannot run: {error}", foreign)
    said = copy.administrator.each(relations, lambda session, relation: _check(session, relation, schema), jobs)
    evidence = [*_corruptions([one for one in said if one is not None], relations), *foreign]
    return ladder.judged(5, evidence, time.monotonic() - started)


def _orphans(session: Session, key: ForeignKey) -> Evidence | None:
    try:
        rows = session.orphans(key)
    except NotAllowed:
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
