"""L7: whether the objects that a copy's rows refer to are in their bucket as the rows remember them.

Every night one share of them, by the hash of their names, so that all are looked at once in thirty nights. Safety
property: it reads metadata only. What the copy and the bucket disagree about is held against production's rows of now:
an object that the application itself has replaced or removed since the backup is no damage.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from prefect import task

from tasks import progress
from tasks.analysis import drills, ladder
from tasks.analysis.references import Disagreement, judge, outdated
from tasks.backup_models import Evidence, LevelResult, Reference
from tasks.clients.stored_objects import StoredObjects
from tasks.estate import Database, ObjectReferences
from tasks.policies import WAIT
from tasks.scratch import Copy
from tasks.site import Site

SHOWN = 20


@task(**WAIT)
async def check_objects(site: Site, copy: Copy, database: Database, whole: bool = False) -> LevelResult:
    """L7: look at tonight's share of the objects that rows refer to, or at all of them.

    Safe to repeat: it only reads.
    """
    return await asyncio.to_thread(_check_objects, site, copy, database, whole)


def _check_objects(site: Site, copy: Copy, database: Database, whole: bool) -> LevelResult:
    started, evidence = time.monotonic(), list[Evidence]()
    for source in database.objects:
        evidence += _check_source(site, copy, database, source, whole)
    return ladder.judged(7, evidence, time.monotonic() - started)


def _check_source(site: Site, copy: Copy, database: Database, source: ObjectReferences, whole: bool) -> list[Evidence]:
    shares = 1 if whole else drills.SHARES
    share = drills.share_of(datetime.now(UTC)) % shares
    bucket, seen, wrong = StoredObjects(site.google, source.bucket), 0, list[Disagreement]()
    with copy.inspector.session(snapshot=True) as session:
        for part in session.references(source, share, shares):
            wrong += _disagreements(bucket, part)
            seen += len(part)
            progress.report("objects", source.name, f"{seen} looked at")
    real, since = _held_against_production(site, database, source, wrong)
    which = "all of them" if whole else f"share {share + 1} of {shares}"
    lines = [Evidence(what=f"{item.said} (gs://{source.bucket})", ok=False) for item in real[:SHOWN]]
    lines.append(Evidence(what=f"{source.name}: {seen:,} objects looked at, {which}, {len(real)} of them wrong"))
    if since:
        lines.append(Evidence(what=f"{source.name}: {since} were replaced or removed by the application since"))
    return lines


def _disagreements(bucket: StoredObjects, part: list[Reference]) -> list[Disagreement]:
    facts = bucket.all_facts({reference.name for reference in part})
    return [found for reference in part if (found := judge(reference, facts[reference.name]))]


def _held_against_production(
    site: Site, database: Database, source: ObjectReferences, wrong: list[Disagreement]
) -> tuple[list[Disagreement], int]:
    if not wrong:
        return [], 0
    with site.inspector(database).session() as session:
        now = session.references_named(source, [item.reference.name for item in wrong])
    real = [item for item in wrong if not outdated(item, now)]
    return real, len(wrong) - len(real)
