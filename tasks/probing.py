"""Asks a service whether it works, and judges a canary while it runs.

Safety property: a revision counts as working only when every declared probe answered as declared, and, where the
service tells its revision, when it was this revision that answered.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from prefect import task

from tasks import progress
from tasks.analysis.canary import CanaryJudge
from tasks.clients.probes import USER_AGENT
from tasks.errors import PermanentError, TransientError
from tasks.estate import Canary, Probe, Service
from tasks.estate import CanaryStep as StepRule
from tasks.models import ProbeResult, RequestLog
from tasks.policies import READ, WAIT
from tasks.release_models import CanaryStep
from tasks.site import Site

#: How often the request log is read during a canary: entries.list allows 60 calls a minute per project, and two
#: services of one release may be watched at once.
LOG_INTERVAL_SECONDS = 3.0
LOG_LINES = 1000
#: Lines may come late: so much is read again, and told apart by their ids.
LOG_OVERLAP = timedelta(seconds=10)


@task(**READ)
async def probe(site: Site, service: Service, url: str, revision: str = "", times: int = 1) -> tuple[ProbeResult, ...]:
    """Ask every probe of a service ``times`` times at a base URL. Bad answers are results, not exceptions."""
    return await asyncio.to_thread(_probe, site, service, url, revision, times)


def _probe(site: Site, service: Service, url: str, revision: str, times: int) -> tuple[ProbeResult, ...]:
    return tuple(
        site.prober.probe(url, rule, service.revision_header, revision)
        for _ in range(times)
        for rule in service.probes
    )


@task(**READ)
async def require_probes(site: Site, service: Service, url: str, revision: str = "", times: int = 3) -> None:
    """Ask every probe and raise PermanentError when one answers otherwise than declared."""
    results = await asyncio.to_thread(_probe, site, service, url, revision, times)
    bad = [result for result in results if not result.ok]
    if bad:
        raise PermanentError(
            f"probing {revision or service.name} failed: {len(bad)} of {len(results)} probes, first {describe(bad[0])}"
        )


def describe(result: ProbeResult) -> str:
    """One bad answer in words."""
    return f"{result.probe} at {result.url}: {result.why}"


@task(**WAIT)
async def observe_canary(
    site: Site, service: Service, rule: StepRule, candidate: str, stable: str, candidate_url: str, stable_url: str
) -> CanaryStep:
    """Watch one canary step until the judge has a verdict or the step's time is over.

    Candidate and stable revision are asked in pairs on their tag URLs; real requests to the candidate are read from the
    request log. Safe to repeat: it only looks.
    """
    watch = CanaryWatch(site, service, rule, candidate)
    return await watch.run(candidate_url, stable_url, stable)


class CanaryWatch:
    """One canary step: the judge, what it was shown, and since when."""

    def __init__(self, site: Site, service: Service, rule: StepRule, candidate: str) -> None:
        self._site, self._service, self._rule, self._candidate = site, service, rule, candidate
        self._canary: Canary = service.canary or site.estate.canary
        self._judge = CanaryJudge(self._canary)
        self._since = datetime.now(UTC)
        self._seen: set[str] = set()
        self._unread = ""

    async def run(self, candidate_url: str, stable_url: str, stable: str) -> CanaryStep:
        began = time.monotonic()
        reader = asyncio.create_task(self._read_log())
        try:
            async with asyncio.timeout(self._rule.max_seconds):
                await self._ask(candidate_url, stable_url, stable)
        except TimeoutError:
            progress.report("canary", self._service.name, "the step's time is over")
        finally:
            reader.cancel()
            ended = await asyncio.gather(reader, return_exceptions=True)
        if isinstance(ended[0], Exception):
            raise ended[0]
        if self._unread and self._judge.verdict() == "healthy":  # a bad one does not wait for a read that may hang
            await self._read_once()
        return self._result(time.monotonic() - began)

    async def _ask(self, candidate_url: str, stable_url: str, stable: str) -> None:
        pair = ((candidate_url, self._candidate), (stable_url, stable))
        header, rate = self._service.revision_header, self._canary.requests_per_second
        stream = self._site.prober.stream(pair, self._probes(), header, rate, lambda: self._judge.suspects_errors)
        async with aclosing(stream) as results:
            async for answers in results:
                self._observe(answers)
                if self._judge.verdict() != "undecided":
                    return
                if self._judge.requests % 10 == 0:
                    progress.report("canary", self._service.name, self._text(), self._fraction())

    def _observe(self, answers: tuple[ProbeResult, ...]) -> None:
        """Take the newest answer into account, and the pair that it completes."""
        self._judge.observe(answers[-1].of == self._candidate, answers[-1].ok)
        latency = {answer.of: answer.latency for answer in answers if answer.ok}
        if len(latency) == 2:
            self._judge.observe_pair(latency.pop(self._candidate), *latency.values())

    def _probes(self) -> tuple[Probe, ...]:
        deep = tuple(rule for rule in self._service.probes if rule.touches_database)
        return deep or self._service.probes

    async def _read_log(self) -> None:
        while True:
            await asyncio.sleep(LOG_INTERVAL_SECONDS)
            await self._read_once()

    async def _read_once(self) -> None:
        """Read what is new in the request log. A read that fails for now is remembered until one succeeds."""
        try:
            lines = await asyncio.to_thread(
                self._site.logs.requests, self._service.name, self._candidate, self._since, LOG_LINES, USER_AGENT
            )
        except TransientError as error:
            self._unread = str(error)
            return
        self._unread = ""
        for line in lines:
            self._observe_line(line)
            self._since = max(self._since, line.timestamp - LOG_OVERLAP)

    def _observe_line(self, line: RequestLog) -> None:
        if line.insert_id in self._seen or self._site.prober.is_ours(line.user_agent):
            return
        self._seen.add(line.insert_id)
        self._judge.observe_request(line.status < 500)

    def _text(self) -> str:
        return f"{self._rule.percent} %: {self._judge.requests} requests, {self._judge.failures} failed"

    def _fraction(self) -> float:
        return min(1.0, self._judge.fraction())

    def _result(self, seconds: float) -> CanaryStep:
        """What the step saw. Without the request log it is at best undecided: users' errors would go unseen."""
        verdict = self._judge.verdict()
        blind = (f"the request log could not be read: {self._unread}",) if self._unread else ()
        return CanaryStep(
            percent=self._rule.percent,
            verdict="undecided" if blind and verdict == "healthy" else verdict,
            requests=self._judge.requests,
            failures=self._judge.failures,
            seconds=round(seconds, 2),
            candidate_latency=self._judge.candidate_median,
            stable_latency=self._judge.stable_median,
            reasons=(*self._judge.reasons(), *blind),
        )
