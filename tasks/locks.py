"""One change of a service at a time.

Safety property: the lock is a session lock of the ledger's database, so it is gone the moment its holder is, and needs
no clean-up after a ``kill -9``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from tasks.record import run_name
from tasks.site import Site


@asynccontextmanager
async def services_locked(site: Site, services: tuple[str, ...]) -> AsyncIterator[None]:
    """Hold the lock of each service, in the order of names. Raises Conflict, naming the holder, where one is held."""
    with ExitStack() as held:
        for name in sorted(services):
            lock = site.ledger.lock(f"{site.estate.google.project}/{name}", holder=f"caretaker {run_name()}")
            await asyncio.to_thread(held.enter_context, lock)
        yield


@asynccontextmanager
async def drill_locked(site: Site, database: str) -> AsyncIterator[None]:
    """Hold the lock of the drills of a database. Raises Conflict, naming the holder, where it is held."""
    async with services_locked(site, (f"drill/{database}",)):
        yield
