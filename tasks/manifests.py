"""Takes down what production holds at one moment, so that a restored backup can be compared with it later.

Safety property: it only reads production, in a READ ONLY snapshot of one session; what it writes is an object of its
own in the estate's bucket, which is never written over.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from prefect import task

from tasks import progress
from tasks.analysis import backups
from tasks.backup_models import Catalogue, Manifest, ManifestTold, TableContent
from tasks.clients.inspection import Inspector, Relation, Session
from tasks.errors import BadInput
from tasks.estate import Database
from tasks.policies import READ, WAIT
from tasks.site import Site

#: A larger table is read in a snapshot of its own: a long snapshot keeps VACUUM from its work.
ONE_SNAPSHOT_BYTES = 1024**3
FOLDER = "manifests"


@task(**WAIT)
async def write_manifest(site: Site, database: Database) -> Manifest:
    """Read production's structure and content and keep it in the bucket.

    Safe to repeat: it is another manifest, of another moment.
    """
    return await asyncio.to_thread(_take, site, database)


@task(**READ)
async def list_manifests(site: Site, database: Database) -> tuple[datetime, ...]:
    """When the manifests of a database were taken, oldest first; what else lies in their folder is left aside."""
    return await asyncio.to_thread(_list, site, database)


@task(**READ)
async def read_manifest(site: Site, database: Database, name: str) -> Manifest:
    """Read a manifest by its name. Raises Missing, and BadInput for one that is not understood."""
    return await asyncio.to_thread(_read, site, database, name)


@task(**READ)
async def read_catalogue(site: Site, database: Database) -> Catalogue:
    """What production is made of now: what a copy is compared with where there is no manifest."""
    return await asyncio.to_thread(_catalogue, site, database)


def told(database: Database, manifests: tuple[datetime, ...], taken: Manifest | None = None) -> ManifestTold:
    """What a flow says of the manifest that it took, or of the newest that there is."""
    newest = max(manifests, default=None)
    return ManifestTold(
        verdict="taken" if taken else "planned", database=database.name, newest=newest,
        tables=len(taken.tables) if taken else 0, rows=sum(table.rows for table in taken.tables) if taken else 0,
        unread=tuple(table.table for table in taken.tables if table.why) if taken else (),
    )  # fmt: skip


def origin(site: Site, database: Database) -> str:
    """Where a database lives: ``project:region:instance/database``."""
    return f"{site.estate.google.project}:{site.estate.google.region}:{database.instance}/{database.database}"


def _take(site: Site, database: Database) -> Manifest:
    inspector = site.inspector(database)
    with inspector.session(snapshot=True) as session:
        taken = session.now()
        tables = session.tables()
        small = [table for table in tables if table.bytes <= ONE_SNAPSHOT_BYTES]
        contents = [_content(session, table, database).model_copy(update={"at": taken}) for table in small]
        catalogue, beat, size = session.catalogue(), session.heartbeat(), session.size_bytes()
    contents += [_alone(inspector, table, database) for table in tables if table.bytes > ONE_SNAPSHOT_BYTES]
    manifest = Manifest(
        database=database.name, origin=origin(site, database), taken=taken, finished=datetime.now(UTC),
        catalogue=catalogue, tables=tuple(contents), heartbeat=beat.at if beat else None, size_bytes=size,
    )  # fmt: skip
    name = _object(database, backups.stamp(taken))
    site.bucket.put_if_absent(name, manifest.model_dump_json().encode(), "application/json")
    return manifest


def _alone(inspector: Inspector, table: Relation, database: Database) -> TableContent:
    with inspector.session(snapshot=True) as session:
        at = session.now()
        return _content(session, table, database).model_copy(update={"at": at})


def _content(session: Session, table: Relation, database: Database) -> TableContent:
    progress.report("manifest", table.name, "counting and hashing")
    rule = database.manifest.rule(table.name, table.root)
    if not session.may_read(table):
        why = "the user may not read all of its rows"
        return TableContent(table=table.name, root=table.root, compare=rule.compare, why=why)
    return session.content(table, rule)


def _list(site: Site, database: Database) -> tuple[datetime, ...]:
    found = site.bucket.list(f"{FOLDER}/{database.name}/")
    taken = (backups.taken_at(name.rpartition("/")[2].removesuffix(".json")) for name in found)
    return tuple(sorted(at for at in taken if at is not None))


def _read(site: Site, database: Database, name: str) -> Manifest:
    text = site.bucket.get(_object(database, name))
    try:
        return Manifest.model_validate_json(text)
    except ValueError as error:
        raise BadInput(
            f"reading the manifest {name} of {database.name} failed: it is of another version of caretaker; take a new "
            "one: caretaker run take-manifest"
        ) from error


def _catalogue(site: Site, database: Database) -> Catalogue:
    with site.inspector(database).session() as session:
        return session.catalogue()


def _object(database: Database, name: str) -> str:
    return f"{FOLDER}/{database.name}/{name}.json"
