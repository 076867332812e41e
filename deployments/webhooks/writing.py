"""Writes deliveries into the inbox: those that come while a transaction is under way go together into the next one.

What a delivery costs is a transaction, so the more come at once the less each costs. Safety property: each is
acknowledged after the transaction that it is in was committed, and none is where it failed.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import anyio

from tasks.clients.inbox import Inbox
from tasks.delivery_models import Arrival, Delivery

MOST_TOGETHER = 200
Written = asyncio.Future[Delivery]


class Writer:
    """One inbox, written to by one transaction at a time."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._waiting: list[tuple[Arrival, Written]] = []
        self._writing: asyncio.Task[None] | None = None

    async def write(self, arrival: Arrival) -> Delivery:
        """Return the delivery once it is on disk. Raises OpsError."""
        written: Written = asyncio.get_running_loop().create_future()
        self._waiting.append((arrival, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        return await written

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                together, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
                await self._write(together)
        finally:
            self._writing = None

    async def _write(self, together: list[tuple[Arrival, Written]]) -> None:
        arrivals = [arrival for arrival, _ in together]
        try:
            found = await anyio.to_thread.run_sync(self._inbox.accept_all, arrivals, datetime.now(UTC))
        except Exception as error:  # noqa: BLE001  it is each sender's answer, and raised there
            for _, written in together:
                if not written.done():
                    written.set_exception(error)
            return
        for (_, written), delivery in zip(together, found, strict=True):
            if not written.done():  # who hung up meanwhile has its delivery in the inbox all the same
                written.set_result(delivery)
