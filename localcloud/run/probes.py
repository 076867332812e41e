"""Startup and liveness probes, with the defaults and the meaning that Cloud Run gives them.

Source: https://cloud.google.com/run/docs/configuring/healthchecks
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from localcloud.run.conditions import RevisionReason, StartFailure

#: A container is looked at this often until it answers, so that it is ready as soon as it listens.
POLL_SECONDS = 0.025
DEFAULT_STARTUP_SECONDS = 240


@dataclass(frozen=True)
class Probe:
    """A probe as it is run: an HTTP path, or none for a TCP connection."""

    path: str | None
    headers: dict[str, str]
    initial_delay: float
    timeout: float
    period: float
    failure_threshold: int

    @classmethod
    def of(cls, message: Any) -> Probe:
        """From the API's message; unset numbers are Google's defaults."""
        http = "http_get" in message
        return cls(
            path=(message.http_get.path or "/") if http else None,
            headers={header.name: header.value for header in message.http_get.http_headers} if http else {},
            initial_delay=float(message.initial_delay_seconds),
            timeout=float(message.timeout_seconds or 1),
            period=float(message.period_seconds or 10),
            failure_threshold=message.failure_threshold or 3,
        )

    @property
    def patience(self) -> float:
        """Seconds after which a container that never answered has failed to start."""
        return self.initial_delay + self.failure_threshold * max(self.period, self.timeout)

    async def ask(self, http: aiohttp.ClientSession, port: int) -> bool:
        """Look once."""
        try:
            async with asyncio.timeout(self.timeout):
                return await (_connects(port) if self.path is None else self._answers(http, port))
        except (OSError, TimeoutError, aiohttp.ClientError):
            return False

    async def _answers(self, http: aiohttp.ClientSession, port: int) -> bool:
        url = f"http://127.0.0.1:{port}{self.path}"
        async with http.get(url, headers=self.headers, allow_redirects=False) as answer:
            return 200 <= answer.status < 400


DEFAULT_STARTUP = Probe(None, {}, 0, DEFAULT_STARTUP_SECONDS, DEFAULT_STARTUP_SECONDS, 1)


async def _connects(port: int) -> bool:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return True


async def started(
    probe: Probe, http: aiohttp.ClientSession, port: int, over: asyncio.Event, declared_port: int
) -> None:
    """Return as soon as a starting container answers. Raises StartFailure when it ended or did not answer in time.

    A failed look is repeated at once and not only after the probe's period: nothing is gained by waiting here.
    """
    deadline = asyncio.get_running_loop().time() + probe.patience
    await asyncio.sleep(probe.initial_delay)
    while not over.is_set() and asyncio.get_running_loop().time() < deadline:
        # A TCP look that succeeds just as the process ends was answered by a foreign process on the same port.
        if await probe.ask(http, port) and not over.is_set():
            return
        await asyncio.sleep(POLL_SECONDS)
    raise not_started(declared_port)


def not_started(declared_port: int) -> StartFailure:
    return StartFailure(
        "The user-provided container failed to start and listen on the port defined provided by the "
        f"PORT={declared_port} environment variable within the allocated timeout. This can happen when the container "
        "port is misconfigured or if the timeout is too short. The health check timeout can be extended. Logs for this "
        "revision might contain more information.",
        RevisionReason.HEALTH_CHECK_CONTAINER_ERROR,
    )


async def watch(probe: Probe, http: aiohttp.ClientSession, port: int, fail: Callable[[], Awaitable[None]]) -> None:
    """Run a liveness probe until it has failed as often as its threshold says; then call ``fail``."""
    failures = 0
    await asyncio.sleep(probe.initial_delay)
    while failures < probe.failure_threshold:
        failures = 0 if await probe.ask(http, port) else failures + 1
        if failures < probe.failure_threshold:
            await asyncio.sleep(probe.period)
    await fail()
