"""Ten minutes without Prefect's server: a run that ends meanwhile and one that outlasts them both end as they did.

The server is killed for real, and the supervisor that would start it again is stopped for as long.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any
from uuid import UUID

from tests.deployments.runs import deaths, start_sleeper, state_of, wait_until
from tests.memory import temporary_folder
from tests.stack import Stack, running_stack

AWAY_SECONDS = 600.0
#: A run that ends inside the outage, and one that ends after it.
RUNS_SECONDS = (240.0, 660.0)
#: The next try of a client whose pauses double is this late at the most.
LATE_SECONDS = 900.0


def bench() -> list[dict[str, Any]]:
    """Start the runs, take the server away, bring it back, and wait for what they came to."""
    with temporary_folder() as folder, running_stack(folder / "s", "--no-deploy", "--no-sample") as stack:
        runs = [start_sleeper(seconds, folder / f"run-{number}") for number, seconds in enumerate(RUNS_SECONDS)]
        away = take_away(stack)
        ended = [comes_to(run) for run in runs]
        dead = len(deaths(stack.state))
    well = ended.count("Completed")
    return [
        row("runs that ended as they did", well, "1", len(runs), well == len(runs), f"ended: {', '.join(ended)}"),
        row("runs that were taken for dead", dead, "1", 0, dead == 0, f"server away for {away:.0f} s"),
    ]


def take_away(stack: Stack) -> float:
    """Kill the server, and let the supervisor start it again ten minutes later; the seconds that it did not answer."""
    supervisor, server = stack.folder.read()["supervisor"]["pid"], stack.status()["processes"]["prefect"]["pid"]
    os.kill(supervisor, signal.SIGSTOP)
    began = time.monotonic()
    try:
        os.kill(server, signal.SIGKILL)
        time.sleep(AWAY_SECONDS)
    finally:
        os.kill(supervisor, signal.SIGCONT)
    wait_until(lambda: stack.status()["ready"], "the server to come back")
    return time.monotonic() - began


def comes_to(run: UUID) -> str:
    """The name of the state in which a run ends."""
    wait_until(lambda: state_of(run).is_final(), f"the run {run} to end", LATE_SECONDS)
    return str(state_of(run).name)


def row(name: str, value: float, unit: str, goal: float, ok: bool, against: str) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "goal": f"{goal:g}", "ok": ok, "against": against}
