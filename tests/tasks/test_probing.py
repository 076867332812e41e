"""A canary step against two real HTTP servers: healthy, failing, slow, and slowed down together."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.clients.probes import Prober
from tasks.errors import TransientError
from tasks.estate import Canary, CanaryStep, Probe, Service
from tasks.models import RequestLog
from tasks.probing import CanaryWatch

#: Four times the default's, to be quick: 80 pairs a second.
CANARY = Canary(requests_per_second=160)
SERVICE = Service(name="api", source="api", probes=(Probe(name="specs", path="/"),), revision_header="x-revision")
#: Ended by the verdict; long, since the machine may be busy with other tests.
STEP = CanaryStep(percent=50, max_seconds=60)


class NoLogs:
    """A request log without real requests."""

    def requests(self, *_: object) -> list[Any]:
        return []


class Revision(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.name, self.url = name, f"http://127.0.0.1:{self.server_port}"
        self.error_rate = self.delay = 0.0
        self.answers = 0


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Revision

    def do_GET(self) -> None:
        time.sleep(self.server.delay)
        self.server.answers += 1
        self.send_response(500 if random.random() < self.server.error_rate else 200)
        self.send_header("x-revision", self.server.name)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def revisions() -> Iterator[tuple[Revision, Revision]]:
    with Revision("api-2") as candidate, Revision("api-1") as stable:
        for server in (candidate, stable):
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield candidate, stable
        candidate.shutdown()
        stable.shutdown()


class BrokenLogs:
    """A request log that does not answer."""

    def requests(self, *_: object) -> list[Any]:
        raise TransientError("reading the request log failed: 503")


class UsersErrors:
    """A request log in which users see errors that the probes do not."""

    def requests(self, service: str, revision: str, since: datetime, *_: object) -> list[Any]:
        line = RequestLog(
            timestamp=datetime.now(UTC), service=service, revision=revision, status=500, latency=0.1, method="GET",
            url="/", insert_id="",
        )  # fmt: skip
        return [line.model_copy(update={"insert_id": f"{revision}-{number}"}) for number in range(20)]


async def watched(candidate: Revision, stable: Revision, logs: Any = None) -> Any:
    site: Any = SimpleNamespace(prober=Prober(), logs=logs or NoLogs(), estate=SimpleNamespace(canary=CANARY))
    return await CanaryWatch(site, SERVICE, STEP, candidate.name).run(candidate.url, stable.url, stable.name)


async def test_a_candidate_like_the_stable_revision_is_healthy(revisions):
    step = await watched(*revisions)
    assert (step.verdict, step.failures) == ("healthy", 0)
    assert step.candidate_latency == pytest.approx(step.stable_latency, abs=0.02)


async def test_a_candidate_150_ms_slower_is_unhealthy(revisions):
    candidate, _ = revisions
    candidate.delay = 0.15
    step = await watched(*revisions)
    assert (step.verdict, step.failures) == ("unhealthy", 0)
    assert step.candidate_latency - step.stable_latency == pytest.approx(0.15, abs=0.1)
    assert "slower than allowed" in step.reasons[1]


async def test_a_candidate_that_fails_is_unhealthy_and_is_asked_more_than_the_stable_revision(revisions):
    candidate, stable = revisions
    candidate.error_rate = 0.15
    step = await watched(*revisions)
    assert step.verdict == "unhealthy"
    assert candidate.answers > stable.answers


class StuckLogs:
    """A request log that fails once, and hangs ever after."""

    def __init__(self) -> None:
        self.reads = 0
        self.over = threading.Event()

    def requests(self, *_: object) -> list[Any]:
        self.reads += 1
        if self.reads > 1:
            self.over.wait(100)
        raise TransientError("reading the request log failed: 503")


async def test_a_bad_candidate_is_told_at_once_though_the_request_log_hangs(
    revisions: tuple[Revision, Revision], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.probing.LOG_INTERVAL_SECONDS", 0.001)
    candidate, _ = revisions
    candidate.error_rate = 0.3
    logs = StuckLogs()
    async with asyncio.timeout(50):
        step = await watched(*revisions, logs=logs)
    logs.over.set()
    assert (step.verdict, logs.reads >= 1) == ("unhealthy", True)


async def test_a_canary_whose_request_log_cannot_be_read_is_not_called_healthy(
    revisions: tuple[Revision, Revision], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.probing.LOG_INTERVAL_SECONDS", 0.2)
    step = await watched(*revisions, BrokenLogs())
    assert step.verdict == "undecided"
    assert "request log could not be read" in step.reasons[-1]


async def test_errors_that_only_users_see_make_a_canary_unhealthy(
    revisions: tuple[Revision, Revision], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.probing.LOG_INTERVAL_SECONDS", 0.2)
    step = await watched(*revisions, UsersErrors())
    assert step.verdict == "unhealthy"
    assert step.failures >= 3
