"""The instances of one revision: as many as its requests need, between its minimum and its maximum.

A request waits for an instance that is starting (a cold start) and is refused only when the maximum is reached and
stays busy. All of it runs on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from localcloud.run.conditions import StartFailure
from localcloud.run.instances import Blueprint, Instance, Workshop

LOG = logging.getLogger("localcloud.run.fleets")
#: Cloud Run keeps a request waiting for 10 s at least (https://cloud.google.com/run/docs/about-instance-autoscaling).
PENDING_SECONDS = 10.0
FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 30.0
#: An instance that lived this long did not fail at start; the next one is started without a pause.
SETTLED_SECONDS = 5.0
#: Cloud Run sizes a service so that instances are busy to 60 % of their concurrency, over a minute
#: (https://cloud.google.com/run/docs/about-instance-autoscaling). Here it is the peak of a shorter time.
TARGET_UTILISATION = 0.6
DEMAND_SECONDS = 10.0


class NoInstance(Exception):
    """No instance took the request: all are busy and no more are allowed."""


@dataclass(frozen=True)
class Scale:
    """The limits of a fleet. ``floor`` holds while the revision receives traffic."""

    floor: int
    most: int
    concurrency: int
    idle_seconds: float
    pending_seconds: float = PENDING_SECONDS


class Demand:
    """The most requests that were there at once, over the last seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._since = seconds, time.monotonic()
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, now: float, requests: int) -> None:
        """So many requests are there now."""
        self._seen.append((now, requests))
        while self._seen[0][0] < now - self._seconds:
            self._seen.popleft()

    def instances(self, now: float, concurrency: int) -> int | None:
        """So many instances are enough for them; None as long as too little was seen to say."""
        if now - self._since < self._seconds:
            return None
        return math.ceil(max(requests for _, requests in self._seen) / (concurrency * TARGET_UTILISATION))


class Fleet:
    """All instances of one revision."""

    def __init__(self, name: str, blueprint: Blueprint, scale: Scale, workshop: Workshop) -> None:
        self.name, self.scale = name, scale
        self._blueprint, self._workshop = blueprint, workshop
        self._ready: list[Instance] = []
        self._starting: set[asyncio.Task[None]] = set()
        self._stopping: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._demand = Demand(min(DEMAND_SECONDS, scale.idle_seconds))
        self._failures, self._not_before = 0, 0.0
        self._failure: StartFailure | None = None
        self._closed = False
        self.floor = 0

    @property
    def size(self) -> int:
        """Instances that serve or are starting."""
        return len(self._ready) + len(self._starting)

    async def acquire(self, but: Instance | None = None) -> Instance:
        """An instance with room for one more request, entered; ``but`` is one to avoid.

        Raises NoInstance, or the StartFailure of an instance that this request waited for.
        """
        deadline = time.monotonic() + self.scale.pending_seconds
        while True:
            instance = self._free(but)
            if instance is not None:
                instance.enter()
                return instance
            self._grow()
            if self.size:
                await self._turn(deadline)
            else:
                await self._pause(deadline)

    def release(self, instance: Instance) -> None:
        """A request is over."""
        instance.leave()
        self._wake(1)

    async def ensure(self) -> None:
        """Have at least one instance ready. Raises StartFailure when it cannot be started."""
        while not self._ready:
            if self._closed:
                raise asyncio.CancelledError
            if not self._starting:
                self._start()
            await asyncio.wait(self._starting, return_when=asyncio.FIRST_COMPLETED)
            if not self._ready and not self._starting and self._failure is not None:
                raise self._failure

    def tend(self) -> None:
        """Keep the floor up; stop what was idle for long enough, and one more than the requests need."""
        now = time.monotonic()
        self._demand.note(now, sum(instance.in_flight for instance in self._ready) + len(self._waiting))
        while self.size < self.floor and now >= self._not_before and not self._closed:
            self._start()
        for instance in [i for i in self._ready if not i.in_flight and now - i.idle_since > self.scale.idle_seconds]:
            if self.size > self.floor:
                self._retire(instance)
        self._scale_in(now)

    def _scale_in(self, now: float) -> None:
        """Without this, a storm of a second would leave instances that share the load, never idle, for ever."""
        enough = self._demand.instances(now, self.scale.concurrency)
        if enough is not None and len(self._ready) > max(1, enough, self.floor):
            self._retire(min(self._ready, key=lambda instance: instance.in_flight))

    async def close(self) -> None:
        """Stop every instance once its requests are answered."""
        self._closed = True
        for task in self._starting:
            task.cancel()
        for instance in list(self._ready):
            self._retire(instance)
        while self._starting or self._stopping:
            await asyncio.wait(self._starting | self._stopping)
        self._wake(len(self._waiting))

    def _free(self, but: Instance | None) -> Instance | None:
        room = [i for i in self._ready if i.in_flight < self.scale.concurrency and i is not but]
        if not room and but is not None:
            room = [i for i in self._ready if i.in_flight < self.scale.concurrency]
        return min(room, key=lambda i: i.in_flight, default=None)

    def _grow(self) -> None:
        wanted = len(self._waiting) + 1
        room = len(self._starting) * self.scale.concurrency
        if wanted > room and self.size < self.scale.most and time.monotonic() >= self._not_before and not self._closed:
            self._start()

    def _start(self) -> None:
        task = asyncio.get_running_loop().create_task(self._bring_up())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _bring_up(self) -> None:
        instance = Instance(self._blueprint, self._workshop, self._lost)
        try:
            await instance.start()
        except StartFailure as failure:
            LOG.info("%s: an instance did not start: %s", self.name, failure.message)
            self._failed(failure)
            return
        self._failures, self._failure = 0, None
        self._ready.append(instance)
        self._wake(self.scale.concurrency)

    def _failed(self, failure: StartFailure) -> None:
        self._failure = failure
        self._back_off()
        # This one is about to leave `_starting`; the others that wait may still be served by one that serves.
        if not self._ready and len(self._starting) <= 1:
            while self._waiting:
                _fail(self._waiting.popleft(), failure)

    def _back_off(self) -> None:
        pause = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**self._failures)
        self._failures += 1
        self._not_before = time.monotonic() + pause

    def _lost(self, instance: Instance) -> None:
        if instance not in self._ready:
            return
        LOG.info("%s: an instance ended by itself", self.name)
        self._ready.remove(instance)
        if time.monotonic() - instance.ready_at < SETTLED_SECONDS:
            self._back_off()
        self._background(instance.stop())
        self.tend()

    def _retire(self, instance: Instance) -> None:
        self._ready.remove(instance)
        self._background(instance.stop())

    def _background(self, stop: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(stop)
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _pause(self, deadline: float) -> None:
        """Nothing runs and nothing starts: wait for the end of the back-off after an instance was lost."""
        if self._failure is not None:
            raise self._failure
        if self._closed or time.monotonic() >= deadline:
            raise NoInstance
        await asyncio.sleep(max(0.0, min(self._not_before, deadline) - time.monotonic()))

    async def _turn(self, deadline: float) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(None if self._starting else max(0.0, deadline - time.monotonic())):
                await turn
        except TimeoutError:
            raise NoInstance from None
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)

    def _wake(self, count: int) -> None:
        while count > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                count -= 1


def _fail(turn: asyncio.Future[None], failure: StartFailure) -> None:
    if not turn.done():
        turn.set_exception(failure)
