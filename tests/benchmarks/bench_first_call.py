"""From a webhook delivery to its flow's first cloud call, in one piece, and its parts.

Deliveries of new commits come one after the other to a whole stack with the sample's API; each is a real release. The
first call is read from the local cloud's own log; what the receiver itself asks, for the senders' secrets, is left out.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun

from tests.deployments.runs import ask, wait_until
from tests.memory import temporary_folder
from tests.webhooks.process import Sender
from tests.webhooks.scene import PROJECT, FollowedStack, followed_stack

DELIVERIES = 7
GOAL_SECONDS = 3.0
PAUSE_SECONDS = 5.0
#: What the receiver itself asks of the cloud.
SECRETS = "SecretManagerService."
AS_IT_COMES = "Prefect as it comes: 7 to 15 s"


@dataclass(frozen=True)
class Way:
    """Moments of one delivery, in seconds since its first byte was sent."""

    acknowledged: float
    run_made: float
    taken: float
    flow: float
    first_call: float


def bench() -> list[dict[str, Any]]:
    """Send deliveries to a stack at rest, each after the release before it."""
    with temporary_folder() as folder, followed_stack(folder) as scene:
        time.sleep(15)  # the warm process warms up
        sender = Sender(scene.receiver, scene.secret)
        ways = [way(scene, sender, f"first-call-{number}") for number in range(DELIVERIES)]
    whole = [one.first_call for one in ways]
    return [
        row("delivery → acknowledged", [one.acknowledged for one in ways]),
        row("acknowledged → its run is made", [one.run_made - one.acknowledged for one in ways]),
        row("run made → taken by the worker", [one.taken - one.run_made for one in ways]),
        row("taken → the flow runs", [one.flow - one.taken for one in ways]),
        row("the flow runs → first cloud call", [one.first_call - one.flow for one in ways]),
        row("delivery → first cloud call, median", whole, GOAL_SECONDS),
        {**row("delivery → first cloud call, slowest", [max(whole)]), "against": f"{DELIVERIES} deliveries"},
    ]


def way(scene: FollowedStack, sender: Sender, number: str) -> Way:
    """Send one delivery of a new commit, and wait for its release."""
    commit, before = scene.commit(), len(scene.runs())
    time.sleep(PAUSE_SECONDS)
    seen = max((call.seq for call in scene.stack.control.calls()), default=0)
    sent = time.time()
    assert sender.send(number, commit) is not None
    acknowledged = time.time() - sent
    wait_until(lambda: sender.status(number)["status"] == "deployed", "the release", 300)
    run = scene.runs()[before]
    assert run.parameters["request"]["ref"] == commit
    made, taken, flow = (moment - sent for moment in ask(lambda client: _moments(client, run)))
    calls = [call for call in scene.stack.control.calls(PROJECT, after=seen) if SECRETS not in call.method]
    first = min(call.started for call in calls) - sent
    assert first >= flow, "somebody else's call was taken for the flow's"
    return Way(acknowledged, made, taken, flow, first)


async def _moments(client: PrefectClient, run: FlowRun) -> tuple[float, float, float]:
    """When the run was made, taken (pending), and when its flow began (running)."""
    at: dict[str, datetime] = {state.name: state.timestamp for state in await client.read_flow_run_states(run.id)}
    assert run.created is not None
    return run.created.timestamp(), at["Pending"].timestamp(), at["Running"].timestamp()


def row(name: str, seconds: list[float], goal: float | None = None) -> dict[str, Any]:
    value = statistics.median(seconds)
    return {
        "name": name, "value": round(value, 2), "unit": "s", "goal": None if goal is None else f"<= {goal:g}",
        "ok": goal is None or value <= goal, "against": AS_IT_COMES,
    }  # fmt: skip
