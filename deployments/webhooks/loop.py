"""What goes on beside the requests: the secrets are renewed, what waits is handed over, what was lost is found.

Safety property: neither ends because of an error; what fails is said once and tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import anyio

from deployments.webhooks.known_secrets import RENEWAL_SECONDS, KnownSecrets
from tasks.clients.inbox import Inbox
from tasks.errors import OpsError
from tasks.hand_over import GATHER, HandOver
from tasks.lost_deliveries import Lookout

#: With something under way, and with nothing: another receiver may have written a delivery down.
BUSY_SECONDS = 1.0
IDLE_SECONDS = 5.0
#: After a pass it rests for so much of what the pass took, so that senders who come meanwhile are answered first.
REST = 2.0
#: A secret that was never read may be made this moment, as in a stack that starts.
EAGER_SECONDS = 1.0
EAGER_FOR_SECONDS = 300.0
FORGET_EVERY_SECONDS = 3600.0
#: A lost delivery is to be healed within five minutes, the release itself with it.
LOOKOUT_SECONDS = 120.0
#: A delivery may come a moment after the branch shows its commit; it is the one that people look for.
GRACE_SECONDS = 20.0
log = logging.getLogger("caretaker.webhooks")


class Doorbell:
    """Rung by each new delivery; heard after the moment in which more may come with it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return when it was rung, or after this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
                self._event.clear()
                await asyncio.sleep(GATHER.total_seconds() + 0.05)


@asynccontextmanager
async def renewing(secrets: KnownSecrets) -> AsyncIterator[None]:
    """Keep the secrets renewed while inside; at the beginning they were read once."""
    await anyio.to_thread.run_sync(secrets.renew)
    async with _beside(_renew(secrets)):
        yield


@asynccontextmanager
async def handing_over(hand_over: HandOver, inbox: Inbox, bell: Doorbell) -> AsyncIterator[None]:
    """Hand deliveries over while inside."""
    async with _beside(_hand_over(hand_over, bell), _forget(inbox), _look_out(Lookout(hand_over), bell)):
        yield


@asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _renew(secrets: KnownSecrets) -> None:
    began, survivor = time.monotonic(), Survivor()
    while True:
        eager = secrets.incomplete and time.monotonic() - began < EAGER_FOR_SECONDS
        await asyncio.sleep(EAGER_SECONDS if eager else RENEWAL_SECONDS)
        await survivor.take(secrets.renew)


async def _hand_over(hand_over: HandOver, bell: Doorbell) -> None:
    survivor = Survivor()
    while True:
        begun = time.monotonic()
        busy = await survivor.take(hand_over.step)
        await asyncio.sleep(min(time.monotonic() - begun, BUSY_SECONDS) * REST)
        await bell.wait(BUSY_SECONDS if busy else IDLE_SECONDS)


async def _look_out(lookout: Lookout, bell: Doorbell) -> None:
    """Look for what no delivery told of."""
    survivor = Survivor()
    while True:
        await asyncio.sleep(LOOKOUT_SECONDS)
        if await survivor.take(lookout.moved):
            await asyncio.sleep(GRACE_SECONDS)
            if await survivor.take(lookout.look):
                bell.ring()


async def _forget(inbox: Inbox) -> None:
    survivor = Survivor()
    while True:
        await asyncio.sleep(FORGET_EVERY_SECONDS)
        await survivor.take(lambda: inbox.forget(datetime.now(UTC)))


class Survivor:
    """Takes one kind of step again and again: what fails is said once, and once more after it went well again."""

    def __init__(self) -> None:
        self._said = ""

    async def take(self, step: Callable[[], Any]) -> Any:
        """Take a step; None where it failed."""
        try:
            done = await anyio.to_thread.run_sync(step)
        except OpsError as error:
            self._say(str(error))
        except Exception as error:  # noqa: BLE001  a fault of the program must not end what goes on beside the requests
            self._say(f"{type(error).__name__}: {error}", exc_info=True)
        else:
            self._said = ""
            return done
        return None

    def _say(self, line: str, exc_info: bool = False) -> None:
        if line != self._said:
            log.warning("%s", line, exc_info=exc_info)
        self._said = line
