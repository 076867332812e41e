"""Approvals: a suspended run goes on only with an answer to the very plan that it makes again."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.states import Scheduled

from deployments.stack.unanswered import Unanswered
from deployments.watch import look
from tasks.approvals import Question, approve, digest_of
from tasks.locks import services_locked
from tasks.models import Change
from tasks.site import open_site
from tests.flows.suspended import SuspendedRun as Run
from tests.flows.suspended import with_run as of_a_deployment
from tests.inbox import Inbox, inbox
from tests.sample import Sample, run
from tests.stack import Stack

__all__ = ["inbox"]
pytestmark = pytest.mark.stack
APPLIED: list[str] = []
WORLD = {"rows": 3}


def question(patience: timedelta = timedelta(minutes=5)) -> Question:
    plan = f"# Plan\n\nDelete **{WORLD['rows']} rows**."
    return Question(
        kind="test", title=f"deleting {WORLD['rows']} rows", plan=plan, digest=digest_of(WORLD), patience=patience
    )


@flow(name="needs-approval")
async def needs_approval(estate: str, given: str = "", seconds: float = 300) -> str:
    """Plan, ask, apply."""
    asked, site = question(timedelta(seconds=seconds)), open_site(Path(estate))
    async with services_locked(site, ("api",)):
        await approve(site, asked, given)
        APPLIED.append(asked.title)
    return "done"


@pytest.fixture
def estate(stack: Stack, tmp_path: Path) -> Sample:
    APPLIED.clear()
    WORLD.update(rows=3)
    return Sample(tmp_path, f"asks-{secrets.token_hex(3)}").write()


def with_run(estate: Sample, steps: Callable[[Run], Any], **parameters: Any) -> Any:
    return of_a_deployment(needs_approval, estate.project, {"estate": str(estate.estate_file), **parameters}, steps)


def written(estate: Sample) -> list[Change]:
    found = estate.site.ledger.changes(kind="approval", limit=1000)
    return [change for change in reversed(found) if change.inputs["project"] == estate.project]


def test_an_approved_run_goes_on_and_the_ledger_knows_what_was_decided(estate: Sample) -> None:
    async def steps(run: Run) -> None:
        assert (await run.work()).name == "Suspended"
        assert APPLIED == []
        with estate.site.ledger.lock(f"{estate.project}/api"):
            pass  # a run that waits for a person holds up nobody
        assert await run.resume() == "REJECT"  # an empty form decides nothing
        assert await run.resume(decision="approve", reason="they are copies", name="Ada") == "ACCEPT"
        assert (await run.work()).is_completed()

    with_run(estate, steps)
    assert APPLIED == ["deleting 3 rows"]
    asked, decided = written(estate)
    assert (asked.verdict, decided.verdict) == ("started", "approved")
    assert "Delete **3 rows**" in asked.inputs["plan"]
    assert asked.inputs["digest"] == decided.inputs["digest"] == digest_of({"rows": 3})
    assert (decided.after["by"], decided.after["reason"]) == ("Ada", "they are copies")


def test_a_refused_run_changes_nothing_and_says_who_refused_it(estate: Sample) -> None:
    async def steps(run: Run) -> Any:
        await run.work()
        await run.resume(decision="refuse", name="Ada", reason="not today")
        WORLD.update(rows=4)  # a refusal is one of whatever plan comes next
        return await run.work()

    state = with_run(estate, steps)
    assert state.is_failed()
    assert "refused by Ada in Prefect's UI: not today; nothing was changed" in state.message
    assert APPLIED == []
    assert written(estate)[-1].verdict == "refused"


def test_a_plan_that_changed_meanwhile_is_asked_again_and_the_old_approval_is_void(estate: Sample) -> None:
    async def steps(run: Run) -> Any:
        await run.work()
        await run.resume(decision="approve")
        WORLD.update(rows=4)
        assert (await run.work()).name == "Suspended"
        assert APPLIED == []
        await run.resume(decision="approve")
        return await run.work()

    assert with_run(estate, steps).is_completed()
    assert APPLIED == ["deleting 4 rows"]
    again = [change for change in written(estate) if change.verdict == "started"][-1]
    assert "is void: the plan has changed since" in again.inputs["note"]


def test_an_approval_that_is_used_too_late_is_void(estate: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.approvals.APPROVAL_HOLDS", timedelta(0))

    async def steps(run: Run) -> Any:
        await run.work()
        await run.resume(decision="approve")
        return await run.work()

    assert with_run(estate, steps).name == "Suspended"
    assert APPLIED == []
    assert "too old" in written(estate)[-1].inputs["note"]


def test_a_run_that_nobody_answered_in_time_ends_and_cannot_be_resumed(estate: Sample) -> None:
    async def steps(run: Run) -> Any:
        assert (await run.work()).name == "Suspended"
        await asyncio.sleep(1.2)
        assert await run.resume(decision="approve") in ("REJECT", "ABORT")
        for _ in range(2):
            await Unanswered(run.client).look()  # as the worker does, and as one that was started anew does
        return run.id, await run.state()

    run_id, state = with_run(estate, steps, seconds=1)
    assert state.is_failed()
    assert "never resumed" in state.message
    assert APPLIED == []
    asked, expired = written(estate)
    assert (asked.verdict, expired.verdict, expired.inputs["digest"]) == ("started", "expired", asked.inputs["digest"])
    _, unheard = look(estate.site.ledger, {}, datetime.now(UTC))
    (line,) = [one.line for one in unheard if one.run == str(run_id)]
    assert "waited for an approval that nobody gave in time; nothing was changed" in line


def test_an_approval_that_was_given_or_still_waits_is_not_taken_for_one_that_nobody_gave(estate: Sample) -> None:
    async def steps(run: Run) -> None:
        await run.work()
        await run.resume(decision="approve")
        await run.work()
        WORLD.update(rows=4)
        assert (await (await run.another()).work()).name == "Suspended"
        await Unanswered(run.client).look()

    with_run(estate, steps)
    assert [change.verdict for change in written(estate)].count("expired") == 0


def test_a_run_that_was_started_again_without_an_answer_asks_again(estate: Sample) -> None:
    async def steps(run: Run) -> Any:
        await run.work()
        await run.client.set_flow_run_state(run.id, Scheduled(), force=True)
        return await run.work()

    assert with_run(estate, steps).name == "Suspended"
    assert APPLIED == []


def test_a_plan_that_another_run_asks_or_that_was_refused_today_is_not_asked_again(
    estate: Sample, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARETAKER_NOTIFY_URL", inbox.url)

    async def steps(first: Run) -> list[str]:
        await first.work()
        second, third = await first.another(), await first.another()
        said = [(await second.work()).message]
        await first.resume(decision="refuse", name="Ada")
        await first.work()
        return [*said, (await third.work()).message]

    asked, refused = with_run(estate, steps)
    assert "another run asks this already; decide there: http" in asked
    assert "Ada refused this very plan at" in refused
    assert [title for title in inbox.titles if "approval needed" in title] == ["approval needed: deleting 3 rows"]
    assert APPLIED == []


def test_somebody_is_called_with_a_link_to_the_run(
    estate: Sample, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARETAKER_NOTIFY_URL", inbox.url)
    run = with_run(estate, with_one_look)
    (message,) = inbox.taken
    assert message["title"] == "approval needed: deleting 3 rows"
    assert f"/v2/runs/flow-run/{run}" in message["message"]


async def with_one_look(run: Run) -> str:
    await run.work()
    return str(run.id)


@pytest.mark.parametrize(
    ("given", "applied", "said"),
    [
        ("", False, "nobody can be asked here"),
        (digest_of({"rows": 3})[:12], True, ""),
        (digest_of({"rows": 4})[:12], False, "is another plan's"),
    ],
    ids=["nobody", "this plan", "another plan"],
)
def test_where_nobody_can_be_asked_only_the_digest_of_this_very_plan_approves(
    estate: Sample, given: str, applied: bool, said: str
) -> None:
    state = run(needs_approval(str(estate.estate_file), given=given, return_state=True))
    assert state.is_completed() is applied
    assert bool(APPLIED) is applied
    if said:
        assert said in state.message
        assert f"approve={digest_of(WORLD)[:12]}" in state.message
