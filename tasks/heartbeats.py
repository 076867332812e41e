"""Writes the heartbeat by which a restored copy tells how old it is.

Safety property: one row of a table of our own, in a schema of our own; see ``clients/heartbeat.py``.
"""

from __future__ import annotations

import asyncio

from prefect import task

from tasks.backup_models import HeartbeatTold
from tasks.clients.heartbeat import beat
from tasks.estate import Database
from tasks.manifests import origin
from tasks.models import SecretPin
from tasks.policies import READ, WRITE
from tasks.site import Site


@task(**WRITE)
async def write_heartbeat(site: Site, database: Database) -> HeartbeatTold:
    """Write a heartbeat into production. Safe to repeat: another one is only newer."""
    return await asyncio.to_thread(_write, site, database)


def _write(site: Site, database: Database) -> HeartbeatTold:
    url, where = site.secrets.access(SecretPin(secret=database.url_secret, version="latest")), origin(site, database)
    return HeartbeatTold(verdict="written", database=database.name, at=beat(url, where), origin=where)


@task(**READ)
async def read_heartbeat(site: Site, database: Database) -> HeartbeatTold:
    """The newest heartbeat that there is."""
    return await asyncio.to_thread(_read, site, database)


def _read(site: Site, database: Database) -> HeartbeatTold:
    with site.inspector(database).session() as session:
        newest = session.heartbeat()
    if newest is None:
        return HeartbeatTold(verdict="planned", database=database.name)
    return HeartbeatTold(verdict="planned", database=database.name, at=newest.at, origin=newest.origin)
