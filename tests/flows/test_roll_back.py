"""The roll-back flow: to the last verified revision, never onto a schema on which it does not work."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flows.conftest import deployed
from tests.flows.steps import calls, deploy, newest
from tests.load import Load
from tests.sample import Sample, ended
from tests.stack import Stack

pytestmark = pytest.mark.stack


def roll_back(sample: Sample, **parameters: Any) -> Any:
    return ended(sample.roll_back(**parameters))


def serving(sample: Sample) -> dict[str, str]:
    return {name: sample.serving(name) for name in sample.services}


def test_the_last_verified_revision_serves_again_and_no_request_fails(sample: Sample, stack: Stack) -> None:
    sample.variant().with_version("good-one")
    deploy(sample)
    good = sample.serving()
    sample.variant().with_version("regretted")
    assert deploy(sample).verdict == "released"
    after = newest(stack, sample)
    assert roll_back(sample, dry_run=True).services[0].revision == good
    assert calls(stack, sample, after) == []
    with Load(sample.state().uri) as load:
        result = roll_back(sample)
    assert result.verdict == "released", result.why
    assert sample.serving() == good
    assert load.failures == []


def test_without_a_name_the_services_of_the_last_release_go_back_and_the_others_stay(new_sample: Any) -> None:
    sample = deployed(new_sample("pair-back", services=("api", "frontend")))
    first = {name: sample.serving(name) for name in sample.services}
    sample.variant("api").with_version("alone")
    assert deploy(sample).verdict == "released"
    result = roll_back(sample, reason="api alone")
    assert [(one.service, one.verdict) for one in result.services] == [("api", "released")], result
    assert {name: sample.serving(name) for name in sample.services} == first


def test_a_schema_that_moved_past_the_revision_is_refused_until_the_loss_is_approved(new_sample: Any) -> None:
    sample = deployed(new_sample("moved", services=("api", "frontend")))
    before, schema = serving(sample), sample.schema()
    sample.variant("frontend").with_version("renamed")
    sample.variant().with_version("renamed").with_breaking_migration()
    assert deploy(sample, approve_outage=True).verdict == "released"
    after = serving(sample)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    refused = roll_back(sample)
    assert refused.verdict == "refused", refused.why
    assert "approve_data_loss=true" in refused.why
    assert {one.service: one.verdict for one in refused.services} == {"api": "refused", "frontend": "unchanged"}
    assert serving(sample) == after
    assert sample.get().status_code == 200
    backups = len(sample.site.sql.backups("pyplots-db", 20))
    approved = roll_back(sample, approve_data_loss=True)
    assert approved.verdict == "released", approved.why
    assert (serving(sample), sample.schema()) == (before, schema)
    assert sample.get().status_code == 200
    assert len(sample.site.sql.backups("pyplots-db", 20)) == backups + 1


def test_a_revision_that_does_not_exist_is_named(sample: Sample) -> None:
    result = roll_back(sample, revision="api-nowhere", services=("api",))
    assert "api-nowhere" in str(result)
