"""What a flow does when the world is not as it left it: a person acts meanwhile, a run was killed, it was broken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tasks.models import Traffic
from tests.flows.conftest import deployed
from tests.flows.steps import calls, deploy, newest
from tests.flows.test_roll_back import roll_back
from tests.sample import Sample
from tests.stack import Stack

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("pause", [0, 1])
def test_a_person_who_takes_the_canarys_traffic_away_is_not_overruled(judged: Sample, pause: float) -> None:
    judged.variant().with_version(f"unwanted-{pause}")
    before = judged.serving()
    seen: list[int] = []

    def take_away() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            state = judged.state()
            if len([line for line in state.traffic_statuses if line.percent]) == 2:
                lines = tuple(
                    Traffic(revision=line.revision, percent=100 if line.revision == before else 0, tag=line.tag)
                    for line in state.traffic
                )
                time.sleep(pause)
                judged.site.run.update_service(judged.state(), traffic=lines)
                seen.append(100)
                return
            time.sleep(0.05)

    person = threading.Thread(target=take_away)
    person.start()
    result = deploy(judged)
    person.join()
    assert seen, "the canary never had traffic"
    assert result.verdict == "failed", result.why
    assert "somebody else" in result.why
    assert judged.serving() == before


def test_a_serving_revision_that_was_broken_before_does_not_undo_the_migration_of_what_mends_it(
    new_sample: Callable[..., Sample],
) -> None:
    sample = new_sample("broken")
    sample.variant().with_version("dead").healthy_but_database_dead()
    assert deploy(sample).verdict == "failed"
    assert sample.get().status_code >= 500
    sample.variant().healthy().with_version("mended").with_additive_migration("mended")
    result = deploy(sample)
    assert result.verdict == "released", result.why
    assert sample.schema() == sample.variant().head
    assert sample.get().status_code == 200


def test_an_approved_outage_is_ended_when_the_new_revision_does_not_come_to_serve(
    new_sample: Callable[..., Sample],
) -> None:
    sample = deployed(new_sample("outage"))
    schema, before = sample.schema(), sample.serving()
    sample.variant().with_version("outage").with_breaking_migration().crashes_at_start()
    result = deploy(sample, approve_outage=True)
    assert result.verdict == "failed"
    assert "undone" in result.why
    assert (sample.schema(), sample.serving()) == (schema, before)
    assert sample.get().status_code == 200
    assert sample.jobs() == []


def test_a_failing_migration_leaves_no_job(new_sample: Callable[..., Sample]) -> None:
    sample = deployed(new_sample("nojob"))
    sample.variant().with_version("failing").with_failing_migration()
    assert deploy(sample).verdict == "failed"
    assert sample.jobs() == []


def test_a_first_release_that_was_not_opened_to_the_public_is_opened_by_the_next_run(
    new_sample: Callable[..., Sample], stack: Stack
) -> None:
    sample = new_sample("closed")
    fault = stack.control.plant(
        "Services.SetIamPolicy", "error", project=sample.project, code="PERMISSION_DENIED", message="no", times=1
    )
    try:
        assert deploy(sample).verdict == "failed"
        assert stack.control.fault(fault)["met"]
    finally:
        stack.control.remove(fault)
    after = newest(stack, sample)
    result = deploy(sample)
    assert result.verdict == "released", result.why
    assert "Services.SetIamPolicy" in [call.method for call in calls(stack, sample, after)]


def test_roll_backs_that_were_not_recorded_are_not_turned_round_and_dead_targets_get_no_traffic(
    new_sample: Callable[..., Sample], stack: Stack
) -> None:
    sample = deployed(new_sample("twice"))
    good = sample.serving()
    sample.variant().with_version("regretted")
    assert deploy(sample).verdict == "released"
    regretted = sample.serving()

    _disabled_target_is_refused(sample, stack, good)

    # A roll-back that was killed before it wrote itself down left this behind.
    sample.site.run.update_service(sample.state(), traffic=(Traffic(revision=good, percent=100),))
    again = roll_back(sample)
    assert again.verdict == "released", again
    assert sample.serving() == good
    assert [change.kind for change in sample.site.ledger.changes(subject="api", limit=1)] == ["roll_back"]
    nowhere = roll_back(sample)
    assert "no verified revision" in str(nowhere)
    assert sample.serving() == good != regretted


def _disabled_target_is_refused(sample: Sample, stack: Stack, good: str) -> None:
    secrets = sample.site.secrets
    pinned = sample.site.run.get_revision("api", good).spec.secret_env["SYNC_TOKEN"]
    secrets.disable(pinned.secret, int(pinned.version))
    after = newest(stack, sample)
    try:
        refused = roll_back(sample)
        assert "is DISABLED" in str(refused), refused
        assert calls(stack, sample, after) == []
    finally:
        secrets.enable(pinned.secret, int(pinned.version))


def test_a_canary_that_was_rolled_back_is_no_target_for_a_day(judged: Sample) -> None:
    judged.variant().with_version("bad-target").errors(0.3)
    result = deploy(judged)
    assert result.verdict == "rolled_back", result.why
    assert [step.verdict for step in result.services[0].canary] == ["unhealthy"]
    bad = next(r.name for r in judged.site.run.list_revisions("api") if r.ready)
    refused = roll_back(judged, revision=bad, services=("api",))
    assert "rolled back at" in str(refused)


def test_a_release_that_was_made_before_is_recorded_again(sample: Sample) -> None:
    sample.variant().with_version("there")
    deploy(sample)
    there = sample.serving()
    sample.variant().with_version("and-elsewhere")
    assert deploy(sample).verdict == "released"
    sample.variant().with_version("there")
    assert deploy(sample).verdict == "released"
    assert sample.serving() == there
    newest_change = sample.site.ledger.changes(subject="api", limit=1)[0]
    assert (newest_change.kind, newest_change.after["revision"]) == ("deploy", there)


def test_a_frontend_that_fails_takes_the_api_of_the_same_release_back(new_sample: Callable[..., Any]) -> None:
    sample = deployed(new_sample("pair", services=("api", "frontend")))
    before = {name: sample.serving(name) for name in sample.services}
    sample.variant("api").with_version("pair")
    sample.variant("frontend").with_version("pair").crashes_at_start()
    result = deploy(sample)
    assert result.verdict == "failed"
    assert {outcome.service: outcome.verdict for outcome in result.services} == {
        "api": "rolled_back", "frontend": "failed",
    }  # fmt: skip
    assert {name: sample.serving(name) for name in sample.services} == before


