"""From the inbox to Prefect, on a real server: one run of the newest commit, and one outcome for each delivery."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.analysis import freeze
from tasks.clients.prefect_api import PrefectApi, RunFound
from tasks.delivery_models import AFTER_IT_WAS_ASKED, STACK_STOPPED
from tasks.errors import Missing, PermanentError, TransientError
from tasks.hand_over import ON_ITS_WAY, PAUSES
from tests.dependencies.repositories import git
from tests.inbox import Inbox, inbox
from tests.stack import Stack
from tests.webhooks.followed import Followed

__all__ = ["inbox"]


@pytest.fixture
def followed(stack: Stack, tmp_path: Path) -> Iterator[Followed]:
    made = Followed(tmp_path)
    yield made
    made.hand_over.inbox.close()


def test_several_pushes_become_one_run_of_the_newest_and_each_has_its_outcome(followed: Followed) -> None:
    older, newer, newest = followed.commits[0], followed.commit(), followed.commit()
    first, second, third = (followed.deliver(f"d{n}", c) for n, c in enumerate((newer, newest, older), 1))
    followed.step()
    assert followed.refs() == [newest]
    request = followed.runs()[0].parameters["request"]
    assert request["services"] == ["api"], "what the deployment is asked by itself stays"
    assert "d2" in request["reason"]
    assert followed.now(second).status == "running"
    followed.released(newest)
    followed.step()
    assert followed.now(second).note == f"deployed by run {followed.runs()[0].id}"
    assert [followed.now(one).note for one in (first, third)] == ["superseded by delivery github/d2"] * 2
    late = followed.deliver("d4", newer)
    followed.step()
    assert followed.now(late).status == "already_released"
    assert len(followed.runs()) == 1


def test_what_comes_while_a_release_is_under_way_waits_and_the_newest_of_it_is_next(followed: Followed) -> None:
    one, two, three = followed.commits[0], followed.commit(), followed.commit()
    followed.deliver("d1", one)
    followed.step()
    waiting = [followed.deliver("d2", two), followed.deliver("d3", three), followed.deliver("d4", one)]
    followed.step()
    assert [followed.now(each).status for each in waiting] == ["waiting", "waiting", "superseded"]
    followed.released(one)
    followed.step()
    assert followed.refs() == [one, three]
    assert [followed.now(each).status for each in waiting] == ["superseded", "running", "superseded"]


def test_a_run_that_found_nothing_to_change_is_told_so_and_its_commit_counts_as_released(followed: Followed) -> None:
    one = followed.deliver("d1", followed.commits[0])
    followed.step()
    followed.end("COMPLETED")
    followed.step()
    assert followed.now(one).status == "already_released"
    again = followed.deliver("d2", followed.commits[0])
    followed.step()
    assert (followed.now(again).status, len(followed.runs())) == ("already_released", 1)


@pytest.mark.parametrize(("state", "message"), [("FAILED", "building api failed"), ("CANCELLED", "by a person")])
def test_a_run_that_failed_or_that_a_person_cancelled_is_not_made_again(
    followed: Followed, state: str, message: str
) -> None:
    one = followed.deliver("d1", followed.commits[0])
    followed.step()
    followed.end(state, message)
    followed.step()
    assert followed.now(one).status == "failed"
    assert message in followed.now(one).note
    assert len(followed.runs()) == 1


@pytest.mark.parametrize(
    ("state", "message", "most"),
    [("CRASHED", "killed", len(PAUSES)), ("CANCELLED", STACK_STOPPED, len(PAUSES)),
     ("FAILED", "taking the lock p/api failed: held by another", len(PAUSES) + 2)],
)  # fmt: skip
def test_a_run_that_came_to_nothing_by_no_fault_of_its_own_is_made_again_and_not_for_ever(
    followed: Followed, monkeypatch: pytest.MonkeyPatch, state: str, message: str, most: int
) -> None:
    monkeypatch.setattr("tasks.hand_over.MOST_LOCKED", len(PAUSES) + 2)  # it is longer: who holds a lock may take hours
    one = followed.deliver("d1", followed.commits[0])
    for attempt in range(most + 1):
        followed.step()
        assert len(followed.runs()) == attempt + 1
        followed.end(state, message)
        followed.step()
        hasten(followed)
    assert followed.now(one).status == "failed"
    followed.step()
    assert len(followed.runs()) == most + 1


def test_a_run_that_a_freeze_window_refused_waits_again_and_did_not_fail(followed: Followed) -> None:
    one = followed.deliver("d1", followed.commits[0])
    followed.step()
    followed.end("FAILED", "Flow run encountered an exception: Refused: changing p " + freeze.REFUSED + "2026-12-27")
    followed.step()
    assert (followed.now(one).status, followed.now(one).attempts) == ("running", 1), "the window is over, so it goes on"
    assert len(followed.runs()) == 2


def test_a_run_is_told_when_it_was_chosen_and_one_that_came_too_late_for_that_is_judged_again(
    followed: Followed,
) -> None:
    older, newer = followed.commits[0], followed.commit()
    one = followed.deliver("d1", older)
    begun = datetime.now(UTC)
    followed.step()
    since = datetime.fromisoformat(followed.runs()[0].parameters["request"]["since"])
    assert begun <= since <= datetime.now(UTC)
    followed.record(newer)  # by hand, while the run waits for its turn
    followed.end("FAILED", f"releasing api refused: it was released at noon by run r, {AFTER_IT_WAS_ASKED}; ask again")
    followed.step()
    assert (followed.now(one).status, len(followed.runs())) == ("already_released", 1)


class Refuses(PrefectApi):
    """Prefect as it answers where a deployment's form has changed since."""

    def create_run(self, *arguments: Any) -> RunFound:
        raise PermanentError("making a run failed: 422 reason: too long")


def test_a_delivery_that_ends_without_a_run_is_told_once_and_the_next_release_makes_it_news_again(
    followed: Followed, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CARETAKER_NOTIFY_URL", inbox.url)
    followed.hand_over = followed.new_hand_over()
    real, refuses = followed.hand_over.prefect, Refuses(followed.hand_over.prefect.url)
    followed.hand_over.prefect = refuses
    failed = followed.deliver("d2", followed.commit())
    followed.step()
    followed.deliver("d3", followed.commit())
    followed.step()
    assert followed.now(failed).note == "handing over failed: making a run failed: 422 reason: too long"
    assert inbox.titles == [f"webhooks of {followed.site.estate.name}: a delivery failed"], "the same is told once"
    assert "github/d2" in inbox.taken[0]["message"]
    assert "delivery github/d3 failed" in caplog.text
    followed.hand_over.prefect = real
    followed.deliver("d4", followed.commit())
    followed.step()
    followed.released(followed.commits[-1])
    followed.step()
    followed.hand_over.prefect = refuses
    followed.deliver("d5", followed.commit())
    followed.step()
    assert len(inbox.taken) == 2


def test_a_forced_push_that_takes_the_release_back_is_told_and_a_service_that_does_not_take_it_stops_nothing(
    followed: Followed, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CARETAKER_NOTIFY_URL", inbox.url)
    followed.hand_over = followed.new_hand_over()
    released = followed.commit()
    followed.record(released)
    git(followed.repository.work, "reset", "--quiet", "--hard", followed.commits[0])
    rewritten = followed.repository.commit("rewritten", force=True)
    one = followed.deliver("d1", rewritten)
    inbox.status = 500
    followed.step()
    assert (followed.now(one).status, followed.runs()) == ("ignored", [])
    assert followed.now(one).note.startswith(f"{rewritten[:12]} would take back {released[:12]}, which is released at")
    assert "not told: " in caplog.text
    inbox.status = 200
    two = followed.deliver("d2", rewritten)
    followed.step()
    assert (followed.now(two).status, len(inbox.taken)) == ("ignored", 1)
    assert "would take back" in inbox.taken[0]["message"]


def hasten(followed: Followed) -> None:
    """Let what is due later be due now."""
    from tasks.clients.ledger_schema import deliveries

    ours = deliveries.c.project == followed.name
    with followed.hand_over.inbox._engine.begin() as connection:
        connection.execute(deliveries.update().where(ours).values(due=datetime.now(UTC)))


def test_after_a_crash_a_newer_commit_goes_first(followed: Followed) -> None:
    one = followed.deliver("d1", followed.commits[0])
    followed.step()
    newer = followed.deliver("d2", followed.commit())
    followed.end("CRASHED")
    followed.step()
    assert followed.refs() == [followed.commits[0], followed.commits[1]]
    assert [followed.now(each).status for each in (one, newer)] == ["superseded", "running"]


class Away(PrefectApi):
    """Prefect as it is seen when it goes away: before it made the run, or after that and before its answer came."""

    def __init__(self, real: PrefectApi, made: bool) -> None:
        super().__init__(real.url)
        self.real, self.made = real, made

    def create_run(self, *arguments: Any) -> RunFound:
        if self.made:
            self.real.create_run(*arguments)
        raise TransientError("making a run failed: ReadTimeout")


@pytest.mark.parametrize("made", [False, True])
def test_with_prefect_away_it_waits_and_a_lost_answer_makes_no_second_run(followed: Followed, made: bool) -> None:
    one = followed.deliver("d1", followed.commits[0])
    followed.hand_over.prefect = Away(followed.hand_over.prefect, made)
    with pytest.raises(TransientError):
        followed.step()
    assert followed.now(one).status == "chosen"
    followed.hand_over = followed.new_hand_over()
    followed.step()
    followed.step()
    assert (followed.now(one).status, followed.refs()) == ("running", [followed.commits[0]])


def test_after_a_long_outage_of_prefect_the_newest_commit_is_released_and_none_before_it(followed: Followed) -> None:
    one = followed.deliver("d1", followed.commits[0])
    followed.hand_over.prefect = Away(followed.hand_over.prefect, made=False)
    with pytest.raises(TransientError):
        followed.step()
    newest = followed.deliver("d2", followed.commit())
    from tasks.clients.ledger_schema import deliveries

    long_ago = datetime.now(UTC) - ON_ITS_WAY - timedelta(seconds=1)
    with followed.hand_over.inbox._engine.begin() as connection:
        connection.execute(deliveries.update().where(deliveries.c.id == one.id).values(due=long_ago))
    followed.hand_over = followed.new_hand_over()
    followed.step()
    assert followed.refs() == [followed.commits[1]]
    assert [followed.now(each).status for each in (one, newest)] == ["superseded", "running"]


def test_a_deployment_that_is_not_registered_is_said_and_what_waits_waits_for_it(followed: Followed) -> None:
    one = followed.deliver("d1", followed.commits[0])
    followed.hand_over.source = followed.hand_over.source.model_copy(update={"deployment": "released/nowhere"})
    with pytest.raises(Missing, match="prefect deploy"):
        followed.step()
    assert followed.now(one).status == "chosen"


def test_what_a_person_rolled_back_is_not_released_by_a_delivery_until_the_branch_moves(followed: Followed) -> None:
    first, bad = followed.commits[0], followed.commit()
    followed.record(first)
    followed.record(bad)
    followed.record("", kind="roll_back", before={"revision": f"api-{bad[:7]}"})
    one = followed.deliver("d1", bad)
    followed.step()
    assert (followed.now(one).status, followed.runs()) == ("ignored", [])
    assert "rolled back by ops@host" in followed.now(one).note
    followed.deliver("d2", followed.commit())
    followed.step()
    assert followed.refs() == [followed.commits[2]]


def test_in_a_freeze_window_a_delivery_waits(stack: Stack, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    window = f'[[freeze]]\nfrom = {now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}\n'
    window += f'until = {now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}\nreason = "test"\n'
    frozen = Followed(tmp_path, extra=f"\n{window}")
    one = frozen.deliver("d1", frozen.commits[0])
    frozen.step()
    assert (frozen.now(one).status, frozen.runs()) == ("waiting", [])


def _pass_and_die(followed: Followed, where: str) -> None:
    """One pass in a process of its own, killed at a place."""
    hand_over = followed.new_hand_over()
    owner, name = {"choose": (hand_over.inbox, "choose"), "create": (hand_over.prefect, "create_run"),
                   "started": (hand_over.inbox, "started")}[where]  # fmt: skip
    real = getattr(owner, name)

    def dies(*arguments: Any) -> Any:
        if where == "create":
            real(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, dies)
    hand_over.step()


@pytest.mark.parametrize("where", ["choose", "create", "started"])
def test_killed_between_any_two_steps_the_next_pass_makes_one_run(followed: Followed, where: str) -> None:
    one = followed.deliver("d1", followed.commits[0])
    followed.hand_over.inbox.close()
    process = multiprocessing.get_context("fork").Process(target=_pass_and_die, args=(followed, where))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, "it was not killed where it should be"
    followed.hand_over = followed.new_hand_over()
    begun = time.monotonic()
    while followed.now(one).status != "running" and time.monotonic() < begun + 20:
        followed.step()  # the database ends the killed one's session, and its lock with it, a moment later
        time.sleep(0.1)
    assert (followed.now(one).status, followed.refs()) == ("running", [followed.commits[0]])
