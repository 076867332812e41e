"""L7: whether the objects that a copy's rows refer to are in their bucket as the rows remember them.

Every night one share of them, by the hash of their names: the one that was looked at the longest ago, so that all are
looked at once in thirty nights. Safety property: of the bucket it reads metadata only. What the copy and the bucket
disagree about is held against production's rows of now: an object that the application itself has replaced or removed
since the backup is no damage. A source of which no row refers to anything proves nothing, and never passes.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from prefect import task

from tasks import progress
from tasks.analysis import drills, ladder
from tasks.analysis.references import Tally
from tasks.backup_models import Evidence, LevelResult, Reference
from tasks.clients.inspection_rows import Referred
from tasks.clients.stored_objects import StoredObjects
from tasks.estate import Database, ObjectReferences
from tasks.policies import WAIT
from tasks.scratch import Copy
from tasks.site import Site

#: So many looks at shares are asked of the ledger: the last at each is among them.
REMEMBERED = 20 * drills.SHARES


@task(**WAIT)
async def check_objects(site: Site, copy: Copy, database: Database, whole: bool = False) -> LevelResult:
    """L7: look at tonight's share of the objects that rows refer to, or at all of them.

    Safe to repeat: it reads; that a share was looked at is written down when it was, once more for each look.
    """
    return await asyncio.to_thread(_check_objects, site, copy, database, whole)


def _check_objects(site: Site, copy: Copy, database: Database, whole: bool) -> LevelResult:
    started, evidence, empty = time.monotonic(), list[Evidence](), list[str]()
    for source in database.objects:
        referred, lines = _check_source(site, copy, database, source, whole)
        evidence += lines
        empty += [] if referred.named else [f"no row refers to an object of {source.name}: there is nothing to look at"]
    result = ladder.judged(7, evidence, time.monotonic() - started)
    return ladder.not_possible(7, "; ".join(empty), evidence) if empty and result.verdict == "passed" else result


def _check_source(
    site: Site, copy: Copy, database: Database, source: ObjectReferences, whole: bool
) -> tuple[Referred, list[Evidence]]:
    now, subject = datetime.now(UTC), f"{site.estate.google.project}/{database.name}/{source.name}"
    looked = site.ledger.measurements(ladder.SHARE, subject, limit=REMEMBERED)
    share, shares = (0, 1) if whole else (drills.next_share(looked, now), drills.SHARES)
    bucket, tally = StoredObjects(site.google, source.bucket), Tally()
    with copy.inspector.session(snapshot=True) as session:
        referred = session.referred(source)
        for part in session.references(source, share, shares):
            tally.add(part, bucket.all_facts({reference.name for reference in part}))
            progress.report("objects", source.name, f"{tally.seen} looked at")
    for number in range(drills.SHARES) if whole else (share,):
        site.ledger.measure(ladder.SHARE, subject, number, "share", now)
    looked = site.ledger.measurements(ladder.SHARE, subject, limit=REMEMBERED)
    which = "all of them" if whole else f"share {share + 1} of {shares}"
    lines = tally.evidence(source.name, source.bucket, which, _now(site, database, source, tally.names))
    return referred, [*lines, _total(source, referred, drills.coverage(looked, now))]


def _total(source: ObjectReferences, referred: Referred, coverage: str) -> Evidence:
    without = referred.rows - referred.named
    more = f"; {without:,} rows name none" if without else ""
    return Evidence(what=f"{source.name}: {referred.named:,} rows of the copy refer to an object{more}; {coverage}")


def _now(site: Site, database: Database, source: ObjectReferences, names: list[str]) -> list[Reference]:
    """What production's rows say today of the objects that are not as the copy's rows say."""
    if not names:
        return []
    with site.inspector(database).session() as session:
        return session.references_named(source, names)
