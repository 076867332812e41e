"""Whatever happens to a run, somebody hears of it once; a notification that fails changes nothing but says so."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter
from prefect.runner._hook_runner import HookRunner
from prefect.states import Crashed, Failed

from flows.record_heartbeat import RecordHeartbeat, record_heartbeat
from tasks.errors import PermanentError
from tasks.notifications import TELLS, notify
from tasks.record import tell
from tasks.site import open_site
from tests.inbox import TOKEN, Inbox, inbox
from tests.sample import Sample, run
from tests.stack import Stack

__all__ = ["inbox"]
pytestmark = pytest.mark.stack


@flow(name="watched", **TELLS)
async def watched(request: dict[str, Any]) -> Any:
    """End as it is told."""
    if "error" in request:
        raise ValueError(request["error"])
    site, aloud = open_site(Path(request["estate"])), request["verdict"] != "well"
    told = await tell(site, "watched", "# Report", f"watched: {request['verdict']}", "why", aloud=aloud)
    said = "; ".join(finding.what for finding in told)
    return Failed(message=said or "why", data=PermanentError(said)) if aloud else said


@pytest.fixture
def estate(stack: Stack, tmp_path: Path, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> Sample:
    monkeypatch.setenv("CARETAKER_NOTIFY_URL", inbox.url)
    return Sample(tmp_path, f"told-{secrets.token_hex(3)}").write()


def ends(estate: Sample, **request: Any) -> Any:
    """Run the flow; its final state."""
    return run(watched({"estate": str(estate.estate_file), **request}, return_state=True))


def test_a_fault_of_the_program_is_told_with_a_link_to_the_run(estate: Sample, inbox: Inbox, stack: Stack) -> None:
    state = ends(estate, error="nobody thought of this")
    (message,) = inbox.taken
    assert message["title"] == "watched of pyplots: failed"
    assert "nobody thought of this" in message["message"]
    assert f"{stack.ui}/v2/runs/flow-run/{state.state_details.flow_run_id}" in message["message"]


def test_the_same_fault_is_told_once_and_another_at_once(estate: Sample, inbox: Inbox) -> None:
    for error in ("no answer in 1.2 s", "no answer in 3.4 s", "no disk"):
        ends(estate, error=error)
    assert len(inbox.taken) == 2


def test_a_run_that_told_its_end_is_not_told_again_by_the_hook_and_news_comes_after_all_was_well(
    estate: Sample, inbox: Inbox
) -> None:
    for verdict in ("failed", "failed", "well", "well", "failed"):
        ends(estate, verdict=verdict)
    assert inbox.titles == ["watched: failed", "watched: failed"]


def test_a_dry_run_tells_nobody(estate: Sample, inbox: Inbox) -> None:
    ends(estate, error="nobody thought of this", dry_run=True)
    assert inbox.taken == []


def test_a_target_that_is_out_of_order_makes_no_noise_at_the_others(
    estate: Sample, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARETAKER_NOTIFY_URL", f"{inbox.url}, json://127.0.0.1:9/nobody")
    monkeypatch.setattr(notify, "retries", 0)
    states = [ends(estate, verdict="failed") for _ in range(2)]
    assert inbox.titles == ["watched: failed"]
    assert ["did not take it" in state.message for state in states] == [True, False]


def test_a_real_flow_that_cannot_even_begin_is_told(estate: Sample, inbox: Inbox) -> None:
    request = RecordHeartbeat(estate=estate.estate_file)
    assert run(record_heartbeat(request, return_state=True)).is_failed()
    assert inbox.titles == ["record-heartbeat of pyplots: failed"]
    assert "db-connection-string" in inbox.taken[0]["message"]


def test_a_run_that_was_killed_is_told_by_the_worker_that_found_it_dead(estate: Sample, inbox: Inbox) -> None:
    async def found_dead() -> None:
        async with get_client() as client:
            parameters = {"request": {"estate": str(estate.estate_file), "verdict": "well"}}
            dead = await client.create_flow_run(watched, parameters=parameters)
        await HookRunner(resolve_flow=itself).run_crashed_hooks(dead, Crashed(message="status code: -9"))

    run(found_dead())
    assert inbox.titles == ["watched of pyplots: crashed"]


async def itself(_: Any) -> Any:
    return watched


def test_a_refused_notification_is_sent_again(estate: Sample, inbox: Inbox) -> None:
    inbox.refusals = [503]
    ends(estate, verdict="failed")
    assert len(inbox.paths) == 2
    assert inbox.titles == ["watched: failed"]


def test_a_notification_that_cannot_be_sent_is_a_finding_and_no_secret_is_in_the_log(
    estate: Sample, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CARETAKER_NOTIFY_URL", f"{inbox.url}, nosuch://{TOKEN}@nowhere")
    state = ends(estate, verdict="failed")
    assert "not a URL that Apprise knows" in state.message
    assert state.is_failed()
    assert inbox.taken == []
    assert TOKEN not in run(logged(state)) + "".join(capfd.readouterr())


async def logged(state: Any) -> str:
    """What the server has of the run's log."""
    wanted = LogFilter.model_validate({"flow_run_id": {"any_": [state.state_details.flow_run_id]}})
    for _ in range(50):
        async with get_client() as client:
            if lines := await client.read_logs(wanted):
                return "\n".join(line.message for line in lines)
        await asyncio.sleep(0.2)
    raise AssertionError("the run has no log: the check would be blind")
