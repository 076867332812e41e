"""The worker's side of the warm process: what becomes of runs when it refuses, is gone, or knows older code."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prefect.runner import _starter_engine

from deployments.stack.children import Identity
from deployments.stack.forks import PATIENT, Forks
from deployments.stack.zygote import sources

ENGINE = [sys.executable, "-m", "prefect.engine"]


class Peer:
    """The other end of the socket: a zygote whose answers the test decides."""

    def __init__(self, forks: Forks, end: socket.socket) -> None:
        self.forks, self._end = forks, end

    def tell(self, **what: Any) -> None:
        self._end.sendall(json.dumps(what).encode() + b"\n")

    async def asked(self) -> dict[str, Any]:
        return json.loads(await asyncio.to_thread(self._end.recv, 1 << 20))

    def leave(self) -> None:
        self._end.close()


class Started:
    """What Prefect gives along, to be told of the process."""

    def __init__(self) -> None:
        self.process: Any = None

    def started(self, process: Any) -> None:
        self.process = process


@pytest_asyncio.fixture
async def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Peer]:
    monkeypatch.setattr(_starter_engine, "run_process", _starter_engine.run_process)
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "one.py").write_text("1")
    ours, theirs = socket.socketpair()
    sleeper = subprocess.Popen(["sleep", "60"])
    identity = Identity.of(sleeper.pid)
    assert identity
    forks = Forks(identity, ours, tmp_path, sources(tmp_path))
    await forks.open()
    theirs.sendall(b'{"ready": true}\n')
    await until(lambda: forks.ready)
    yield Peer(forks, theirs)
    theirs.close()
    sleeper.kill()
    sleeper.wait()


async def until(true: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < 10
        await asyncio.sleep(0.01)


def running(peer: Peer, command: list[str], told: Started, **env: str) -> asyncio.Task[Any]:
    prefects: dict[str, Any] = {"task_status": told, "task_status_handler": lambda process: process}
    run = peer.forks.run_process(command, **prefects, env=dict(env), cwd="/", stream_output=False)
    return asyncio.create_task(run)


async def test_a_run_has_the_process_and_the_exit_status_that_the_warm_process_tells(peer: Peer) -> None:
    told = Started()
    run = running(peer, ENGINE, told, PREFECT__FLOW_RUN_ID="r")
    asked = await peer.asked()
    assert asked["env"] == {"PREFECT__FLOW_RUN_ID": "r", **PATIENT}
    peer.tell(key=asked["key"], pid=4711)
    await until(lambda: told.process is not None)
    assert (told.process.pid, told.process.returncode) == (4711, None)
    peer.tell(key=asked["key"], status=-9)
    assert (await run).returncode == -9


@pytest.mark.parametrize("why", ["another command", "newer code", "refused", "gone"])
async def test_where_a_fork_is_not_right_a_fresh_process_is_started(peer: Peer, tmp_path: Path, why: str) -> None:
    command = ["true"] if why == "another command" else ["false", *ENGINE[1:]]
    if why == "newer code":
        (tmp_path / "flows" / "one.py").write_text("11")
    told = Started()
    run = running(peer, command, told, PATH="/usr/bin:/bin")
    if why == "refused":
        peer.tell(key=(await peer.asked())["key"], refused="it has 2 threads")
    if why == "gone":
        await peer.asked()
        peer.leave()
    ended = await run
    assert told.process.pid == ended.pid > 1
    assert ended.returncode == (0 if why == "another command" else 1)


async def test_a_run_that_outlives_the_warm_process_is_waited_for_and_ends_as_killed(peer: Peer) -> None:
    told, alive = Started(), subprocess.Popen(["sleep", "60"])
    run = running(peer, ENGINE, told)
    peer.tell(key=(await peer.asked())["key"], pid=alive.pid)
    await until(lambda: told.process is not None)
    peer.leave()
    await asyncio.sleep(0.3)
    assert not run.done(), "its process is alive"
    alive.kill()
    alive.wait()
    assert (await run).returncode == -signal.SIGKILL
    assert not peer.forks.ready


def test_a_change_of_any_file_of_the_code_is_seen(tmp_path: Path) -> None:
    for part in ("flows", "tasks", "deployments"):
        (tmp_path / part / "deeper").mkdir(parents=True)
        file = tmp_path / part / "deeper" / "module.py"
        before = sources(tmp_path)
        file.write_text("a = 1")
        added = sources(tmp_path)
        file.write_text("a = 12")
        assert before != added != sources(tmp_path)
