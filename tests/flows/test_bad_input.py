"""Bad input: one line that names the object and the way out, exit status 1, and not one writing call."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.run import Ended, run_flow
from tasks.models import SecretPin, Traffic
from tests.flows.steps import URL, calls, newest
from tests.sample import Sample
from tests.stack import Stack

pytestmark = pytest.mark.stack
SERVICE_WRITES = {"Services.CreateService", "Services.UpdateService", "Jobs.RunJob", "Objects.Insert"}


def deploy_line(sample: Sample, *parameters: str) -> Ended:
    """What ``caretaker run deploy`` says."""
    pairs = [f"estate={sample.estate_file}", *parameters]
    return run_flow("deploy", pairs, dry_run=False, as_json=True)


def refused(ended: Ended, *words: str) -> None:
    assert ended.status == 1
    assert "\n" not in ended.line
    for word in words:
        assert word in ended.line, ended.line


def edit(sample: Sample, change: Callable[[str], str]) -> Sample:
    """The sample with its estate file changed, in a copy of the folder's estate."""
    other = Sample(sample.folder, sample.project, sample.services, sample.steps)
    text = sample.estate_file.read_text()
    path = sample.folder / "changed.toml"
    path.write_text(change(text))
    other.__class__ = _Changed
    return other


class _Changed(Sample):
    @property
    def estate_file(self) -> Path:
        return self.folder / "changed.toml"


@pytest.fixture
def quiet(sample: Sample, stack: Stack) -> Callable[[], list[str]]:
    """The writing calls since the test began."""
    after = newest(stack, sample)
    return lambda: [call.method for call in calls(stack, sample, after)]


def test_an_unknown_key_of_the_estate_is_named_with_the_nearest(sample: Sample, quiet: Callable[[], list[str]]) -> None:
    changed = edit(sample, lambda text: text.replace('memory = "512Mi"', 'memmory = "512Mi"', 1))
    refused(deploy_line(changed), "memmory", "memory", "changed.toml")
    assert quiet() == []


def test_a_missing_secret_is_named(sample: Sample, quiet: Callable[[], list[str]]) -> None:
    changed = edit(sample, lambda text: text.replace('"sync-token"', '"sync-tokens"'))
    refused(deploy_line(changed), "sync-tokens")
    assert quiet() == []


def test_a_disabled_secret_is_named(sample: Sample, quiet: Callable[[], list[str]]) -> None:
    secrets = sample.site.secrets
    newest_version = secrets.resolve("sync-token").version
    secrets.disable("sync-token", newest_version)
    before = quiet()
    try:
        refused(deploy_line(sample), "sync-token", "DISABLED")
        assert quiet() == before
    finally:
        secrets.enable("sync-token", newest_version)


def test_nothing_is_released_in_a_freeze_window_unless_forced(
    sample: Sample, quiet: Callable[[], list[str]]
) -> None:
    began, ends = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1))
    window = f'\n[[freeze]]\nfrom = {began.isoformat()}\nuntil = {ends.isoformat()}\nreason = "the big sale"\n'
    changed = edit(sample, lambda text: text.replace("\n[notify]", f"{window}\n[notify]"))
    refused(deploy_line(changed), "the big sale", "force=true")
    assert quiet() == []


def test_another_change_of_the_same_service_is_waited_for_by_a_person(
    sample: Sample, quiet: Callable[[], list[str]]
) -> None:
    with sample.site.ledger.lock(f"{sample.project}/api", holder="another deploy"):
        refused(deploy_line(sample), "api", "another deploy")
    assert quiet() == []


def test_a_source_that_cannot_be_built_is_named(sample: Sample, quiet: Callable[[], list[str]]) -> None:
    sample.variant().without_procfile()
    refused(deploy_line(sample), "Procfile", str(sample.folder))
    assert quiet() == []


def test_a_service_that_does_not_exist_is_named_with_the_nearest(
    sample: Sample, quiet: Callable[[], list[str]]
) -> None:
    refused(deploy_line(sample, "services=apl"), "apl", "api")
    assert quiet() == []


def test_an_unknown_parameter_and_flow_are_named(sample: Sample) -> None:
    with pytest.raises(Exception, match="did you mean reason"):
        deploy_line(sample, "reson=x")
    with pytest.raises(Exception, match="did you mean deploy"):
        run_flow("deplay", [], dry_run=False, as_json=True)


def test_an_empty_sync_source_is_refused(sample: Sample, quiet: Callable[[], list[str]]) -> None:
    sample.variant().with_empty_sync_source()
    refused(deploy_line(sample), "deletes every row")
    assert quiet() == []


def test_two_stable_revisions_are_a_persons_to_resolve(sample: Sample, stack: Stack) -> None:
    revisions = [r.name for r in sample.site.run.list_revisions("api") if r.ready]
    before = sample.serving()
    other = next((name for name in revisions if name != before), None)
    if other is None:
        sample.variant().with_version("second")
        assert deploy_line(sample).status == 0
        before, other = sample.serving(), before
    split = (Traffic(revision=before, percent=60), Traffic(revision=other, percent=40))
    sample.site.run.update_service(sample.state(), traffic=split)
    after = newest(stack, sample)
    try:
        refused(deploy_line(sample), "update-traffic", before)
        assert [call.method for call in calls(stack, sample, after)] == []
        assert {line.percent for line in sample.state().traffic} == {60, 40}
    finally:
        sample.site.run.update_service(sample.state(), traffic=(Traffic(revision=before, percent=100),))


def test_a_database_at_an_unknown_revision_is_refused(sample: Sample, quiet: Callable[[], list[str]]) -> None:
    from sqlalchemy import text

    database = sample.site.database(sample.site.estate.databases[0])
    known = database.alembic_revision()
    with database._engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999_unknown'"))
    try:
        refused(deploy_line(sample), "9999_unknown")
        assert quiet() == []
    finally:
        with database._engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :known"), {"known": known})


def test_a_build_without_disk_space_fails_and_the_old_revision_serves(sample: Sample, stack: Stack) -> None:
    sample.variant().with_version("no-space")
    before = sample.serving()
    fault = stack.control.plant(
        "Builds.Disk", "error", project=sample.project, message="No space left on device", code="RESOURCE_EXHAUSTED"
    )
    try:
        ended = deploy_line(sample)
        assert stack.control.fault(fault)["met"] == 1
    finally:
        stack.control.remove(fault)
    refused(ended, "o space left on device")
    assert sample.serving() == before


def test_no_log_of_the_stack_nor_of_the_cloud_holds_a_secret(sample: Sample) -> None:
    state, values = sample.site.settings.state, secret_values(sample)
    logs = [*(state / "logs").glob("*.log"), *(state / "cloud").glob("logs.db*"), *(state / "cloud").glob("calls.db*")]
    assert {path.name for path in logs} >= {"local-cloud.log", "logs.db", "calls.db"}
    assert sum(path.stat().st_size for path in logs) > 100_000, "nothing was looked at"
    for path in logs:
        assert [value for value in values if value in path.read_bytes()] == [], path


def secret_values(sample: Sample) -> list[bytes]:
    """The password inside the connection string, and the sync token."""
    url = sample.site.secrets.access(URL).get_secret_value()
    password = re.search(r":([^:@/]+)@", url.split("//", 1)[1])
    assert password
    token = sample.site.secrets.access(SecretPin(secret="sync-token", version="latest")).get_secret_value()
    return [password.group(1).encode(), token.encode()]
