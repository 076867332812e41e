"""The deploy flow against the local cloud: releases, refusals, and what users notice of them: nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.analysis.release import revision_name
from tasks.delivery_models import AFTER_IT_WAS_ASKED
from tests.flows.steps import calls, deploy, newest
from tests.load import Load
from tests.sample import Sample
from tests.stack import Stack

pytestmark = pytest.mark.stack


def test_a_first_release_builds_migrates_probes_and_syncs(sample: Sample) -> None:
    assert sample.get("/health").json()["status"] == "ok"
    assert len(sample.get("/specs?fresh=1").json()["specs"]) > 5
    assert sample.schema() == sample.variant().head
    assert sample.jobs() == []


def test_a_new_version_goes_through_two_canary_steps_and_no_request_fails(judged: Sample) -> None:
    judged.steps = ((10, 30), (50, 30))
    judged.write_estate()
    judged.variant().with_version("canary-good")
    before = judged.serving()
    with Load(judged.state().uri) as load:
        result = deploy(judged)
    assert result.verdict == "released", result.why
    assert judged.serving() != before
    assert [step.verdict for step in result.services[0].canary] == ["healthy", "healthy"]
    assert load.failures == []
    assert load.by_revision()[before] > 0
    assert load.by_revision()[judged.serving()] > 0
    written = judged.site.ledger.changes(kind="deploy", subject="api", limit=1)[0]
    assert written.inputs["services"] == [service.name for service in judged.site.estate.services]


def test_the_same_release_again_changes_nothing(sample: Sample, stack: Stack) -> None:
    sample.variant().with_version("same-again")
    assert deploy(sample).verdict in ("released", "unchanged")
    after = newest(stack, sample)
    assert deploy(sample).verdict == "unchanged"
    assert calls(stack, sample, after) == []


def test_a_dry_run_writes_nothing_and_shows_the_plan(sample: Sample, stack: Stack) -> None:
    sample.variant().with_version("dry").with_additive_migration("dry")
    after = newest(stack, sample)
    result = deploy(sample, dry_run=True)
    assert result.verdict == "planned"
    assert "dry" in result.plan
    assert sample.variant().head in result.plan
    assert calls(stack, sample, after) == []
    assert len(stack.control.calls(project=sample.project, after=after)) > 5


def test_a_release_that_was_asked_for_before_the_last_one_is_refused(sample: Sample) -> None:
    late = deploy(sample, dry_run=True, since="2020-01-01T00:00:00+00:00")
    assert (late.verdict, AFTER_IT_WAS_ASKED in late.why) == ("refused", True), late.why
    assert deploy(sample, dry_run=True, since=datetime.now(UTC).isoformat()).verdict != "refused"


@pytest.mark.parametrize("fault", ["crashes_at_start", "healthy_but_database_dead"])
def test_a_dead_candidate_never_gets_traffic(sample: Sample, fault: str) -> None:
    getattr(sample.variant().with_version(fault), fault)()
    before = sample.serving()
    with Load(sample.state().uri) as load:
        result = deploy(sample)
    assert result.verdict == "failed"
    assert sample.serving() == before
    assert load.failures == []
    assert set(load.by_revision()) == {before}


def test_a_canary_with_errors_is_rolled_back_within_ten_seconds(judged: Sample) -> None:
    judged.variant().with_version("errors").errors(0.05)
    before, began = judged.serving(), datetime.now(UTC)
    with Load(judged.state().uri) as load:
        result = deploy(judged)
        back = datetime.now(UTC)
    assert result.verdict == "rolled_back", result.why
    assert judged.serving() == before
    assert load.failures_of(before) == []
    seconds = (back - first_bad_answer(judged, result.services[0].release, began)).total_seconds()
    print(f"from the first bad answer to the stable revision at 100 %: at most {seconds:.1f} s")
    assert seconds < 10


def first_bad_answer(sample: Sample, release: str, since: datetime) -> datetime:
    """When the request log says that a release's revision first answered with an error, to whomever."""
    lines = sample.site.logs.requests("api", revision_name("api", release), since)
    return min(line.timestamp + timedelta(seconds=line.latency) for line in lines if line.status >= 500)


def test_a_release_that_was_rolled_back_is_refused_for_a_day_unless_forced(judged: Sample) -> None:
    judged.variant().with_version("errors-twice").errors(0.2)
    assert deploy(judged).verdict == "rolled_back"
    again = deploy(judged)
    assert again.verdict == "refused"
    assert "force=true" in again.why
    assert deploy(judged, force=True).verdict == "rolled_back"


def test_a_canary_that_saw_too_little_is_held_and_the_stable_revision_serves(judged: Sample) -> None:
    judged.steps = ((50, 1),)
    judged.write_estate()
    judged.variant().with_version("too-little")
    before = judged.serving()
    result = deploy(judged)
    assert (result.verdict, result.services[0].verdict) == ("held", "held"), result.why
    assert "undecided" in result.why
    assert judged.serving() == before


def test_a_slow_canary_is_rolled_back(judged: Sample) -> None:
    judged.variant().with_version("slow").slow(1000)
    before = judged.serving()
    with Load(judged.state().uri) as load:
        result = deploy(judged)
    assert result.verdict == "rolled_back", result.why
    assert "slower" in result.why
    assert judged.serving() == before
    assert load.failures == []
