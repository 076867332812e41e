"""The embedded stack: how long until the sample is released, until it is back, and until a run starts."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.deployments.runs import start_sleeper
from tests.memory import temporary_folder
from tests.stack import caretaker, running_stack, up

RUNS = 5


def bench() -> list[dict[str, Any]]:
    """Measure a first start, a second one, a stop, and the worker."""
    with temporary_folder() as folder:
        first, second, status, down = starts(folder / "released")
        waits = run_starts(folder / "worker")
    return [
        row("up: from nothing to the sample released", first, 30, "packages cached"),
        row("up: the second time", second, None, "the state of the first"),
        row("status", status, 1.5, "the whole command"),
        row("down", down, None, "nothing running"),
        row("worker: a run starts, median", statistics.median(waits), None, f"{RUNS} runs, created to first line"),
    ]


def starts(state: Path) -> tuple[float, ...]:
    """Seconds of a first start with the release, a status, a stop and a second start."""
    try:
        first = timed(lambda: up(state))
        status = timed(lambda: caretaker(state, "status", "--json"))
        down = timed(lambda: caretaker(state, "down"))
        second = timed(lambda: up(state))
    finally:
        caretaker(state, "down")
    return first, second, status, down


def run_starts(state: Path) -> list[float]:
    """Seconds from the creation of a run to the first line of its flow."""
    with running_stack(state, "--no-deploy", "--no-sample"):
        waits = []
        for number in range(RUNS):
            begun = time.monotonic()
            start_sleeper(0, state / f"started-{number}")
            waits.append(time.monotonic() - begun)
    return waits


def timed(command: Callable[[], subprocess.CompletedProcess[str]]) -> float:
    """Seconds of a command that must succeed."""
    begun = time.monotonic()
    ended = command()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return time.monotonic() - begun


def row(name: str, seconds: float, goal: float | None, against: str) -> dict[str, Any]:
    return {
        "name": name, "value": round(seconds, 1), "unit": "s", "goal": None if goal is None else f"<= {goal:g}",
        "ok": goal is None or seconds <= goal, "against": against,
    }  # fmt: skip
