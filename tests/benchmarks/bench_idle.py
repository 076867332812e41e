"""What a stack costs that does nothing: memory (PSS, so that what processes share counts once) and processor time.

The sample is released, the start is over, and the time lies between two runs of the heartbeat, so that no run
is under way. Every process counts: supervisor, local cloud and its services, both PostgreSQL clusters with their
backends, Prefect's server, worker with its warm process.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.memory import temporary_folder
from tests.stack import caretaker, up

SETTLE_SECONDS = 90.0
WATCHED_SECONDS = 200.0
MEMORY_MB, CORE_PERCENT = 800, 5


def bench() -> list[dict[str, Any]]:
    """Measure a released stack, and apart from it what the sample's own services take."""
    with temporary_folder() as state:
        try:
            started = up(state)
            assert started.returncode == 0, started.stdout + started.stderr
            time.sleep(SETTLE_SECONDS)
            time.sleep(300 - time.time() % 300 + 60)
            whole, services = measured(state)
        finally:
            caretaker(state, "down")
    return [
        row("idle: memory (PSS)", whole[0], "MB", MEMORY_MB, f"of it the sample's services {services[0]:.0f} MB"),
        row("idle: of one core", whole[1], "%", CORE_PERCENT, f"of it the sample's services {services[1]:.1f} %"),
    ]


def measured(state: Path) -> tuple[tuple[float, float], tuple[float, float]]:
    """Memory and processor time of all processes, and of the sample's services and their database among them."""
    before = {process: spent(process) for process in processes(state)}
    begun = time.monotonic()
    time.sleep(WATCHED_SECONDS)
    passed = time.monotonic() - begun
    seen = [(p, pss_mb(p), 100 * (spent(p) - before.get(p, 0.0)) / passed) for p in processes(state)]
    mine = [(memory, core) for process, memory, core in seen if is_sample(process, state)]
    return (sum(m for _, m, _ in seen), sum(c for _, _, c in seen)), (sum(m for m, _ in mine), sum(c for _, c in mine))


def processes(state: Path) -> set[psutil.Process]:
    """Every process of a stack, with all that descends from it."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(state) in part for part in process.cmdline()):
                found |= {process, *process.children(recursive=True)}
    return found


def is_sample(process: psutil.Process, state: Path) -> bool:
    with suppress(psutil.Error):
        chain = [process, *process.parents()]
        words = [word for one in chain for word in one.cmdline()]
        return any(str(state / "cloud" / part) in word for word in words for part in ("venvs", "sql"))
    return False


def spent(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        times = process.cpu_times()
        return times.user + times.system
    return 0.0


def pss_mb(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        return float(process.memory_full_info().pss) / 2**20
    return 0.0


def row(name: str, value: float, unit: str, goal: float, against: str) -> dict[str, Any]:
    return {
        "name": name, "value": round(value, 1), "unit": unit, "goal": f"<= {goal:g}", "ok": value <= goal,
        "against": against,
    }  # fmt: skip
