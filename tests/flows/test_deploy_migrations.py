"""Migrations under the deploy flow: applied once, refused where they would hurt, undone where they did."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest

from tests.flows.conftest import deployed
from tests.flows.steps import URL, deploy
from tests.load import Load
from tests.sample import Sample

pytestmark = pytest.mark.stack


def test_an_additive_migration_is_applied_once_after_a_backup(migrated: Sample) -> None:
    migrated.variant().with_version("additive").with_additive_migration("once")
    with Load(migrated.state().uri) as load:
        result = deploy(migrated)
    assert result.verdict == "released", result.why
    assert migrated.schema() == migrated.variant().head
    assert result.services[0].backup.status == "SUCCESSFUL"
    assert load.failures == []
    assert migrated.jobs() == []


def test_a_migration_that_breaks_the_serving_code_is_refused_before_it_runs(new_sample: Any) -> None:
    sample = deployed(new_sample("breaks"))
    schema, before = sample.schema(), sample.serving()
    sample.variant().with_version("breaking").with_breaking_migration()
    with Load(sample.state().uri) as load:
        result = deploy(sample)
    assert result.verdict == "refused"
    assert "approve_outage=true" in result.why
    assert (sample.schema(), sample.serving()) == (schema, before)
    assert load.failures == []


def test_a_breaking_migration_that_nobody_could_see_is_undone_at_once(new_sample: Any) -> None:
    sample = deployed(new_sample("hidden"))
    schema, before = sample.schema(), sample.serving()
    sample.variant().with_version("hidden").with_undetectable_breaking_migration()
    with Load(sample.state().uri) as load:
        result = deploy(sample)
    assert result.verdict == "failed"
    assert "undone" in result.why
    assert (sample.schema(), sample.serving()) == (schema, before)
    assert sample.get().status_code == 200
    bad = [answer.at for answer in load.failures]
    print(f"users saw errors for {max(bad) - min(bad):.1f} s" if bad else "users saw no error")


def test_a_migration_blocked_by_an_idle_transaction_names_it_and_disturbs_nobody(migrated: Sample) -> None:
    head = migrated.schema()
    migrated.variant().with_version("blocked").with_blocked_migration("blocked")
    url = migrated.site.secrets.access(URL).get_secret_value().replace("postgresql+psycopg", "postgresql")
    before = migrated.serving()
    try:
        with psycopg.connect(url, application_name="idle-reader") as idle, Load(migrated.state().uri) as load:
            idle.execute("SELECT count(*) FROM specs")
            result = deploy(migrated)
            idle.rollback()
        assert result.verdict == "failed"
        assert "pid" in result.why
        assert (migrated.schema(), migrated.serving()) == (head, before)
        assert load.failures == []
    finally:
        again = deploy(migrated)
    assert again.verdict == "released", again.why


def test_a_migration_that_drops_a_column_needs_an_approval(new_sample: Any) -> None:
    sample = deployed(new_sample("drops"))
    sample.variant().with_version("drops").with_dropping_migration()
    planned, refused = deploy(sample, dry_run=True), deploy(sample)
    assert refused.verdict == "refused"
    assert "approve_data_loss=true" in refused.why
    (digest,) = set(re.findall("approve=([0-9a-f]{12})", planned.why + refused.why))
    wrong = deploy(sample, approve="0" * 12)
    assert (wrong.verdict, "is another plan's" in wrong.why) == ("refused", True)
    released = deploy(sample, approve=digest)
    assert released.verdict == "released", released.why
    assert [finding.what for finding in released.findings if finding.subject == "approval"] == [
        f"given by the parameter approve, for plan {digest}"
    ]
