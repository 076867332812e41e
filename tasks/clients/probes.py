"""Asks services over HTTP, as their users would.

Safety property: an answer counts as good only when status, body and, where it is asked for, the revision that the
answer itself names are all as declared. Nothing raises: no answer is a bad answer.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from tasks.models import ProbeResult

if TYPE_CHECKING:
    import httpx

USER_AGENT = "caretaker-probe"
#: Questions under way at once; beyond it the stream slows down instead of piling up.
IN_FLIGHT = 64
EXCERPT = 120
#: Never asked through a proxy of the environment; whatever is elsewhere may be.
LOOPBACK = ("all://127.0.0.1", "all://localhost", "all://*.localhost")

#: A base URL and the revision that is to answer there.
Target = tuple[str, str]


class Probe(Protocol):
    """One question, as the estate declares it."""

    @property
    def name(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def status(self) -> int: ...
    @property
    def body(self) -> str: ...
    @property
    def timeout_seconds(self) -> float: ...


class Prober:
    """Asks probes, one at a time or as a steady stream."""

    def __init__(self) -> None:
        self._agent = f"{USER_AGENT}/{uuid4().hex[:8]}"

    def is_ours(self, user_agent: str) -> bool:
        """Whether a line of a request log is a probe's, by whichever run of ours."""
        return user_agent.startswith(USER_AGENT)

    def probe(self, url: str, rule: Probe, revision_header: str = "", expect_revision: str = "") -> ProbeResult:
        """Ask once, at a base URL. ``expect_revision``: the revision that must name itself in ``revision_header``."""
        began = time.monotonic()
        try:
            answer = self._client.request(
                rule.method, _join(url, rule), headers=dict(rule.headers), timeout=rule.timeout_seconds
            )
        except _lost() as error:
            return _unanswered(url, rule, expect_revision, error, began)
        return judge(url, rule, answer, revision_header, expect_revision, time.monotonic() - began)

    async def aprobe(
        self, client: httpx.AsyncClient, url: str, rule: Probe, revision_header: str = "", expect_revision: str = ""
    ) -> ProbeResult:
        """Ask once with a client of the caller's."""
        began = time.monotonic()
        try:
            answer = await client.request(
                rule.method, _join(url, rule), headers=dict(rule.headers), timeout=rule.timeout_seconds
            )
        except _lost() as error:
            return _unanswered(url, rule, expect_revision, error, began)
        return judge(url, rule, answer, revision_header, expect_revision, time.monotonic() - began)

    async def stream(
        self, pair: tuple[Target, Target], rules: Sequence[Probe], revision_header: str, rate: float,
        first_alone: Callable[[], bool] = lambda: False,
    ) -> AsyncGenerator[tuple[ProbeResult, ...], None]:
        """Ask without end, ``rate`` questions a second over all, with every rule in turn.

        Both targets are asked at the same instant, in random order, so that what slows the machine slows both; while
        ``first_alone()``, only the first one, twice as often. Each answer is given when it is there, after the one to
        the same question that was there before, if any. Answers are not waited for before the next question, so a slow
        target does not slow the other down. Leaving the loop stops the asking.
        """
        finished: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()
        under_way: set[asyncio.Task[Any]] = set()
        async with self._async_client() as client:

            async def answer(rule: Probe, target: Target, before: list[ProbeResult]) -> tuple[ProbeResult, ...]:
                before.append(await self.aprobe(client, target[0], rule, revision_header, target[1]))
                return tuple(before)

            def ask(rule: Probe, target: Target, before: list[ProbeResult]) -> asyncio.Task[Any]:
                task = asyncio.create_task(answer(rule, target, before))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                task.add_done_callback(finished.put_nowait)
                return task

            sender = asyncio.create_task(_ask_pairs(ask, pair, rules, rate, first_alone))
            sender.add_done_callback(finished.put_nowait)
            try:
                while True:
                    yield (await finished.get()).result()
            finally:
                await _stop(sender, *under_way)

    @cached_property
    def _client(self) -> httpx.Client:
        import httpx

        return httpx.Client(headers={"User-Agent": self._agent}, mounts=dict.fromkeys(LOOPBACK))

    def _async_client(self) -> httpx.AsyncClient:
        import httpx

        limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        return httpx.AsyncClient(headers={"User-Agent": self._agent}, mounts=dict.fromkeys(LOOPBACK), limits=limits)


async def _ask_pairs(
    ask: Callable[[Probe, Target, list[ProbeResult]], asyncio.Task[Any]], pair: tuple[Target, Target],
    rules: Sequence[Probe], rate: float, first_alone: Callable[[], bool],
) -> None:
    """Ask at a steady rate. A question that is late is not made up for: a burst would measure itself."""
    free = asyncio.Semaphore(IN_FLIGHT)
    due = time.monotonic()
    for rule in itertools.cycle(rules):
        targets = pair[:1] if first_alone() else random.sample(pair, 2)
        for _ in targets:
            await free.acquire()
        answers: list[ProbeResult] = []
        for target in targets:
            ask(rule, target, answers).add_done_callback(lambda _: free.release())
        due = max(due + len(targets) / rate, time.monotonic())
        await asyncio.sleep(due - time.monotonic())


async def _stop(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def judge(url: str, rule: Probe, answer: Any, header: str, expected: str, latency: float) -> ProbeResult:
    """Whether an answer is as declared, and if not, why."""
    revision = answer.headers.get(header, "") if header else ""
    why = _why_bad(rule, answer, header, expected, revision)
    return ProbeResult(
        probe=rule.name, url=_join(url, rule), ok=not why, status=answer.status_code, latency=latency,
        revision=revision, why=why, of=expected, at=datetime.now(UTC),
    )


def _why_bad(rule: Probe, answer: Any, header: str, expected: str, revision: str) -> str:
    if answer.status_code != rule.status:
        return f"status {answer.status_code} instead of {rule.status}: {_excerpt(answer.text)}"
    if rule.body and rule.body not in answer.text:
        return f"the answer does not contain {rule.body!r}: {_excerpt(answer.text)}"
    if header and expected and revision != expected:
        return f"{revision or 'a revision that did not name itself'} answered instead of {expected}"
    return ""


def _unanswered(url: str, rule: Probe, expected: str, error: Exception, began: float) -> ProbeResult:
    why = f"no answer: {type(error).__name__} {_excerpt(str(error))}".strip()
    return ProbeResult(
        probe=rule.name, url=_join(url, rule), ok=False, latency=time.monotonic() - began, why=why, of=expected,
        at=datetime.now(UTC),
    )


def _excerpt(text: str) -> str:
    return " ".join(text.split())[:EXCERPT]


def _join(url: str, rule: Probe) -> str:
    return f"{url.rstrip('/')}{rule.path}"


def _lost() -> tuple[type[Exception], ...]:
    import httpx

    return httpx.HTTPError, httpx.InvalidURL
