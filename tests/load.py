"""A client that asks a service at a steady rate while something else goes on, and remembers every bad answer.

It talks only to a server that the test started, and ends with the block.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass

import httpx

#: A busy machine may ask for less than was meant, but not for less than this share of it: of 50 a second, every 100 ms.
LEAST_SHARE = 0.2


@dataclass(frozen=True)
class Answer:
    """One answer: when it was asked (seconds since the load began), its status (0: none came), who answered."""

    at: float
    status: int
    revision: str
    seconds: float
    why: str = ""


class Load:
    """``with Load(url, 50) as load:`` asks 50 times a second; afterwards ``load.answers`` holds every answer."""

    def __init__(self, url: str, rate: float = 50, path: str = "/specs?fresh=1", timeout: float = 30) -> None:
        self._url, self._rate, self._timeout = url.rstrip("/") + path, rate, timeout
        self.answers: list[Answer] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)
        self.began = 0.0

    def __enter__(self) -> Load:
        self.began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop.set()
        seconds = time.monotonic() - self.began
        self._thread.join(self._timeout + 10)
        if kind is None:
            self._prove(seconds)

    def _prove(self, seconds: float) -> None:
        """Fail where too little was asked, or an answer is still awaited: "no failure" would mean nothing."""
        assert not self._thread.is_alive(), "the load did not end"
        rate = len(self.answers) / seconds
        assert rate >= self._rate * LEAST_SHARE, f"{rate:.0f} requests a second were made, {self._rate:.0f} were meant"

    @property
    def failures(self) -> list[Answer]:
        """Every answer that a user would call an error."""
        return [answer for answer in self.answers if answer.status != 200]

    def failures_of(self, revision: str) -> list[Answer]:
        """The errors of one revision, and those of which nobody knows whose they are."""
        return [answer for answer in self.failures if answer.revision in ("", revision)]

    def by_revision(self) -> Counter[str]:
        return Counter(answer.revision for answer in self.answers)

    def first_failure(self) -> float | None:
        """When the first bad answer came, on the clock of ``time.monotonic``."""
        return min((self.began + a.at + a.seconds for a in self.failures), default=None)

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=400, max_keepalive_connections=100)
        async with httpx.AsyncClient(timeout=self._timeout, limits=limits, trust_env=False) as client:
            pending: set[asyncio.Task[None]] = set()
            next_at = time.monotonic()
            while not self._stop.is_set():
                task = asyncio.create_task(self._ask(client))
                pending.add(task)
                task.add_done_callback(pending.discard)
                next_at = max(next_at + 1 / self._rate, time.monotonic() - 0.5)
                await asyncio.sleep(max(0.0, next_at - time.monotonic()))
            if pending:
                await asyncio.wait(pending)  # each ends by its own timeout, as a failure

    async def _ask(self, client: httpx.AsyncClient) -> None:
        began = time.monotonic()
        try:
            answer = await client.get(self._url)
            status, revision, why = answer.status_code, answer.headers.get("x-revision", ""), ""
            if status != 200:
                why = answer.text[:200]
        except httpx.HTTPError as error:
            status, revision, why = 0, "", f"{type(error).__name__}: {error}"
        self.answers.append(Answer(began - self.began, status, revision, time.monotonic() - began, why))
