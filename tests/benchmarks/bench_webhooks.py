"""The webhook receiver: how soon it acknowledges, what bent requests do to it, what a kill -9 of each process leaves.

A whole stack with the sample's API, whose releases are real.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from deployments.webhooks.loop import GRACE_SECONDS, IDLE_SECONDS, LOOKOUT_SECONDS
from embedded.ports import free_port
from tests.deployments.runs import wait_until
from tests.memory import temporary_folder
from tests.stack import ROOT
from tests.webhooks import bare
from tests.webhooks.fuzz import shoot
from tests.webhooks.process import Sender
from tests.webhooks.receiver import REPOSITORY, RULES, Scene, github_headers
from tests.webhooks.scene import FollowedStack, followed_stack

PER_SECOND, SECONDS = 100, 20
GOAL_MS, CONNECTIONS = 250, 100
FUZZED, SEED = 100_000, 20261125
OUTCOMES = {"deployed", "superseded", "already_released", "ignored", "failed"}
Row = dict[str, Any]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def bench() -> list[Row]:
    """Measure on a stack of its own, then fuzz in this process."""
    with temporary_folder() as folder:
        with followed_stack(folder) as scene:
            rows = [*acknowledgements(scene), *hand_over(scene), *killed(scene), *lost(scene)]
        return [*rows, *fuzzed(folder)]


def acknowledgements(scene: FollowedStack) -> list[Row]:
    """Latencies of what is sent at a steady rate, whether or not the last answer came: to us, and to the bare route."""
    ours = asyncio.run(send_steadily(scene.receiver, scene.secret))
    with bare_route() as url:
        theirs = asyncio.run(send_steadily(url, bare.SECRET.decode()))
    against = f"a bare route that only verifies: p50 {at(theirs, 50):.1f} ms, p99 {at(theirs, 99):.1f} ms"
    name, p99 = f"acknowledged at {PER_SECOND}/s", at(ours, 99)
    return [
        row(f"{name}: p50", at(ours, 50), "ms", None, True, against),
        row(f"{name}: p99", p99, "ms", f"<= {GOAL_MS}", p99 <= GOAL_MS, against),
    ]


async def send_steadily(url: str, secret: str) -> list[float]:
    """Milliseconds from the moment at which each should have been sent. Fails when one is not acknowledged.

    The requests are made beforehand and sent over bare connections: a client that costs as much as the receiver would
    be measured with it.
    """
    requests = [made(url, secret, number) for number in range(PER_SECOND * SECONDS)]
    connections: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        connections.put_nowait(await asyncio.open_connection(httpx.URL(url).host, httpx.URL(url).port))
    begun = time.monotonic() + 0.2
    moments = [begun + number / PER_SECOND for number in range(len(requests))]
    return list(await asyncio.gather(*(_send_at(connections, *one) for one in zip(requests, moments, strict=True))))


def made(url: str, secret: str, number: int) -> bytes:
    """A whole request, of 7 kB as a small push is."""
    body = json.dumps({
        "ref": "refs/heads/elsewhere", "after": f"{number:040x}", "repository": {"full_name": REPOSITORY},
        "commits": [{"id": f"{number:040x}", "message": "x" * 800} for _ in range(8)],
    }).encode()  # fmt: skip
    headers = {**github_headers(secret, body, number=f"steady-{number}"), "content-length": str(len(body))}
    head = [f"POST /hooks/github HTTP/1.1\r\nhost: {httpx.URL(url).host}"]
    return "\r\n".join([*head, *(f"{name}: {value}" for name, value in headers.items()), "\r\n"]).encode() + body


async def _send_at(connections: asyncio.Queue[Connection], request: bytes, moment: float) -> float:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))
    reader, writer = await connections.get()
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 202 "), head
    length = re.search(rb"content-length: (\d+)", head)
    assert length is not None, head
    await reader.readexactly(int(length.group(1)))
    connections.put_nowait((reader, writer))
    return (time.monotonic() - moment) * 1000


@contextmanager
def bare_route() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.webhooks.bare", str(port)], cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url), "the bare route")
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).status_code == 404
    except httpx.HTTPError:
        return False


def hand_over(scene: FollowedStack) -> list[Row]:
    """From a delivery to its run; then fifty times the same, and an older one after a newer one."""
    seconds = []
    for number in range(3):
        commit, before = scene.commit(), len(scene.runs())
        sender = Sender(scene.receiver, scene.secret)
        begun = time.monotonic()
        for _ in range(50):
            sender.send(f"fifty-{number}", commit)
        older = sender.send(f"older-{number}", scene.commits[0])
        assert older is not None
        wait_until(lambda: len(scene.runs()) > before, "the run")  # noqa: B023
        seconds.append(time.monotonic() - begun)
        wait_until(lambda: sender.status(f"fifty-{number}")["status"] == "deployed", "the release", 180)  # noqa: B023
        assert [run.parameters["request"]["ref"] for run in scene.runs()[before:]] == [commit]
        assert sender.status(f"older-{number}")["status"] in ("superseded", "already_released")
    return [
        row("delivery → its run is made", float(np.median(seconds)), "s", None, True, "0.4 s are for more pushes"),
        row("the same delivery 50 times: deploys", 1, "", "1", True, "and an older commit after it: none"),
    ]


def killed(scene: FollowedStack) -> list[Row]:
    """Deliveries go on while receiver, Prefect's server and worker are killed in turn; then outcomes are counted."""
    sender, stop, sent = Sender(scene.receiver, scene.secret), threading.Event(), Counter[str]()
    before = len(scene.runs())

    def load() -> None:
        number = 0
        while not stop.wait(0.1):
            number += 1
            name = f"load-{number}"
            sent[name] += 1
            while sender.send(name, scene.commits[-1 - number % 3]) is None and not stop.wait(0.1):
                sent[name] += 1

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for name in ("webhooks", "prefect", "worker"):
            scene.commit()
            runs = len(scene.runs())
            wait_until(lambda: len(scene.runs()) > runs, "a release to be under way", 180)  # noqa: B023
            time.sleep(2)
            scene.kill(name)
        scene.commit()
        time.sleep(5)
    finally:
        stop.set()
        thread.join()
    newest = scene.commits[-1]
    sender.send("last", newest)

    outcomes: dict[str, str] = {}

    def settled() -> bool:
        for number in sender.acknowledged.keys() - outcomes.keys():
            time.sleep(0.01)  # status URLs have a limit too
            if (status := sender.status(number)["status"]) not in OUTCOMES:
                return False
            outcomes[number] = status
        return True

    wait_until(settled, "every delivery to have its outcome", 600)
    found = Counter(outcomes.values())
    runs = scene.runs()[before:]
    places = [scene.commits.index(run.parameters["request"]["ref"]) for run in runs]
    final = scene.version() == str(len(scene.commits))
    well = set(found) <= OUTCOMES and places == sorted(places) and final
    return [
        row("kill -9 of receiver, server, worker: acknowledged with one outcome", 100.0 * sum(found.values())
            / len(sender.acknowledged), "%", "100", well, f"{dict(found)}; {len(runs)} runs; none older after newer: "
            f"{places == sorted(places)}; the newest serves: {final}"),
    ]  # fmt: skip


def lost(scene: FollowedStack) -> list[Row]:
    """A commit that nobody tells of: the receiver finds it by its own look. At the worst it was made just after one."""
    before, begun = len(scene.runs()), time.monotonic()
    commit = scene.commit()
    wait_until(lambda: len(scene.runs()) > before, "the receiver to find it", 240)
    found = time.monotonic() - begun
    wait_until(lambda: scene.version() == str(len(scene.commits)), "the release", 240)
    healed = time.monotonic() - begun
    assert scene.runs()[-1].parameters["request"]["ref"] == commit
    worst = LOOKOUT_SECONDS + GRACE_SECONDS + IDLE_SECONDS + healed - found
    release = f"{healed - found:.0f} s the release"
    against = f"this time {healed:.0f} s, of it {release}; looks come every {LOOKOUT_SECONDS:g} s"
    return [row("a lost delivery: released at the latest after", worst, "s", "<= 300", worst <= 300, against)]


def fuzzed(folder: Path) -> list[Row]:
    """Bent requests, in this process: what is let in, what is answered, what is kept."""
    (folder / "fuzz").mkdir()
    rules = RULES.model_copy(update={"burst": 100_000, "requests_per_second": 10_000.0})
    scene = Scene(folder / "fuzz", rules)
    asyncio.run(shoot(scene, 5000, SEED + 1))
    before = psutil.Process().memory_info().rss
    tally = asyncio.run(shoot(scene, FUZZED, SEED))
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    answers = dict(sorted(tally.statuses.items()))
    against = f"{tally.forgeries} forgeries, {tally.let_in} true ones let in; answers {answers}"
    return [
        row(f"{FUZZED} bent requests: answers that may not be", len(tally.faults), "", "0", not tally.faults,
            "; ".join([against, *tally.faults[:3]])),
        row("memory grown meanwhile", grown, "MiB", "<= 20", grown <= 20, "after 5,000 to warm up"),
    ]  # fmt: skip


def at(values: list[float], percent: float) -> float:
    return float(np.percentile(values, percent))


def row(name: str, value: float, unit: str, goal: str | None, ok: bool, against: str) -> Row:
    return {"name": name, "value": round(value, 2), "unit": unit, "goal": goal, "ok": ok, "against": against}
