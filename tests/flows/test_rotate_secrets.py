"""The rotation flow: two valid credentials at all times, and the old one goes only when nothing uses it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from pydantic import SecretStr

from tasks.errors import Missing
from tasks.models import SecretPin
from tests.flows import rotations
from tests.flows.conftest import deployed
from tests.flows.rotations import KEY, LOGIN, PASSWORD, TOKEN, URL, rotate, with_provider
from tests.flows.senders import Provider
from tests.flows.steps import calls, newest
from tests.flows.values import CommandLines, every_made_value, every_value, found_in
from tests.inbox import Inbox, inbox
from tests.sample import Sample
from tests.stack import Stack

__all__ = ["inbox"]
pytestmark = pytest.mark.stack
ADD, SET = "SecretManagerService.AddSecretVersion", "SqlUsersService.Update"
FIRST_KEY = "first-" + secrets.token_urlsafe(16)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """The provider of the estate's external key."""
    with Provider().served() as provider:
        provider.takes = {FIRST_KEY}
        yield provider


@pytest.fixture(scope="module")
def rotating(new_sample: Callable[..., Sample], provider: Provider) -> Sample:
    """A released estate of this module's own: what others released and could be rolled back to keeps old versions."""
    sample = new_sample("rotate")
    sample.site.secrets.create_secret(KEY)
    sample.site.secrets.add_version(KEY, SecretStr(FIRST_KEY))
    deployed(with_provider(sample, provider.url))
    return rotations.ends_idle_instances_soon(sample)


@pytest.fixture
def sample(rotating: Sample, provider: Provider) -> Sample:
    return with_provider(rotating, provider.url)


def test_a_login_is_replaced_by_the_other_users_and_the_old_one_is_locked(sample: Sample, stack: Stack) -> None:
    before, revision, old = rotations.user(sample), sample.serving(), rotations.url(sample)
    after = newest(stack, sample)
    planned = rotate(sample, secrets=LOGIN, dry_run=True)
    assert planned.verdict == "planned", planned
    assert calls(stack, sample, after) == []
    assert f"revision `{revision}` | api | {URL} | 1 | serves 100 %" in planned.report
    assert f"**whose versions are**: 1: `{before}`" in planned.report
    rotations.destroys_after(sample, timedelta(days=1), URL)
    began = datetime.now(UTC)
    result = rotate(sample, secrets=LOGIN)
    assert result.verdict == "rotated", result
    version = sample.site.rotating_secrets.look(URL).version(1)
    assert version is not None
    assert version.destroyed_at is not None
    assert version.destroyed_at > began + timedelta(days=30)
    until = f"# until {version.destroyed_at:%Y-%m-%d %H:%M} UTC"
    assert f"gcloud secrets versions enable 1 --secret={URL} --project={sample.project}  {until}" in result.report
    assert sample.serving() != revision
    assert rotations.user(sample) != before
    assert rotations.enabled(sample, URL) == [rotations.pinned(sample)]
    assert len(rotations.enabled(sample, PASSWORD)) == 1
    assert sample.get().status_code == 200
    assert rotations.can_log_in(sample) == {before: False, rotations.user(sample): True}
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        rotations.connect(sample, old)


def test_a_session_a_job_another_service_and_a_policy_keep_the_old_version_and_each_is_named(
    sample: Sample, stack: Stack
) -> None:
    old, version = rotations.url(sample), rotations.pinned(sample)
    before, was = rotations.user(sample), sample.serving()
    spec = sample.site.run.get_revision("api", was).spec
    sample.site.run.create_job("nightly", spec, command=("true",), labels={}, annotations={})
    sample.site.run.create_service("other", spec, revision="", annotations={}, labels={})
    try:
        with rotations.connect(sample, old) as link:
            held = rotate(sample, secrets=LOGIN, session_wait_seconds=0)
            assert (held.verdict, rotations.pinned(sample) > version) == ("held", True), held
            assert f"job nightly is pinned to {URL} version {version}" in held.why
            assert f"is pinned to {URL} version {version} (serves 100 %)" in held.why
            assert f"gcloud run services update other --update-secrets=DATABASE_URL={URL}:" in held.why
            new = rotations.pinned(sample)
            assert rotations.enabled(sample, URL) == [version, new]
            sample.site.run.delete_job("nightly")
            sample.site.run.delete_service("other")
            held = rotate(sample, secrets=LOGIN, session_wait_seconds=0)
            assert held.verdict == "held", held
            assert f"of {before}" in held.why
            assert rotations.enabled(sample, URL) == [version, new]
            for code in ("PERMISSION_DENIED", "FAILED_PRECONDITION"):  # a policy, and an etag that is an older one's
                method = "SecretManagerService.DestroySecretVersion"
                fault = stack.control.plant(method, "error", project=sample.project, code=code)
                refused = rotate(sample, secrets=LOGIN, emergency=True)
                assert stack.control.fault(fault)["met"]
                assert refused.verdict == "failed", refused
                assert f"disabling secret {URL} version {version} failed: {code}" in refused.why
                assert rotations.enabled(sample, URL) == [version, new]
                assert sample.get().status_code == 200
            with pytest.raises(psycopg.OperationalError, match="terminating connection"):
                link.execute("SELECT 1")
    finally:
        sample.site.run.delete_job("nightly")
        with suppress(Missing):
            sample.site.run.delete_service("other")
    assert rotate(sample, secrets=LOGIN).verdict == "rotated"
    assert rotations.enabled(sample, URL) == [rotations.pinned(sample)] == [new]
    assert rotations.can_log_in(sample) == {before: False, rotations.user(sample): True}


def test_users_that_differ_are_refused_before_anything_is_written(sample: Sample, stack: Stack) -> None:
    database, after = sample.site.estate.databases[0], newest(stack, sample)
    idle = next(user for user in database.users if user != rotations.user(sample))
    with rotations.connect(sample, rotations.url(sample)) as link:
        link.execute(f"GRANT SELECT ON specs TO {idle}")
        try:
            refused = rotate(sample, secrets=LOGIN)
        finally:
            link.execute(f"REVOKE SELECT ON specs FROM {idle}")
    assert refused.verdict == "refused", refused
    assert f"{idle} has SELECT on relation specs" in refused.why
    assert calls(stack, sample, after) == []


def test_no_value_is_told_by_rotations_that_fail_at_each_step_and_by_those_that_do_not(
    sample: Sample, stack: Stack, provider: Provider
) -> None:
    version = rotations.pinned(sample, URL)
    with every_made_value() as made, CommandLines() as lines:
        for method, nth in ((SET, 1), (ADD, 1), (ADD, 2)):
            fault = stack.control.plant(method, "error", project=sample.project, nth=nth, code="PERMISSION_DENIED")
            assert rotate(sample, secrets=LOGIN).verdict == "failed"
            assert stack.control.fault(fault)["met"]
        with_provider(sample, provider.url, ('must_not_be_empty = ["specs"]', 'must_not_be_empty = ["nowhere"]'))
        failed = rotate(sample, secrets=LOGIN)
        assert "nowhere" in failed.why, "the new login may not do what the application does"
        assert rotations.enabled(sample, URL) == [rotations.pinned(sample, URL)] == [version]
        with_provider(sample, provider.url)
        assert rotate(sample, secrets=(*LOGIN, TOKEN), emergency=True).verdict == "rotated"
    assert rotations.pinned(sample, URL) > version
    assert len(rotations.enabled(sample, TOKEN)) == len(rotations.enabled(sample, URL)) == 1
    values = every_value(sample, stack) | made
    assert len(made) >= 6, "each attempt had a password of its own"
    assert made - every_value(sample, stack), "some passwords were never kept anywhere"
    assert (found_in(values, stack), lines.holding(values)) == ([], [])
    seen = {place.split()[0] for place in found_in({sample.project, "rotate-secrets", "postgres"}, stack)}
    assert {"file", "record", "prefect", "caretaker", "process"} <= seen, f"the search is blind: it sees {seen}"
    assert lines.holding({"postgres"})


def test_an_external_key_is_asked_for_tried_at_its_provider_and_rolled_out_once_it_is_taken(
    sample: Sample, provider: Provider, stack: Stack, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARETAKER_NOTIFY_URL", inbox.url)
    with_provider(sample, provider.url, ("max_age_days = 400", "max_age_days = 1"))
    after, manager = newest(stack, sample), sample.site.secrets
    asked = rotate(sample, secrets=(KEY,))
    assert asked.verdict == "waiting", asked
    command = f"gcloud secrets versions add {KEY} --data-file=- --project={sample.project}"
    assert command in asked.report
    assert command in inbox.taken[-1]["message"]
    assert calls(stack, sample, after) == []
    bad, good = (SecretStr(f"{word}-" + secrets.token_urlsafe(16)) for word in ("bad", "good"))
    manager.add_version(KEY, bad)
    provider.takes.add(good.get_secret_value())
    after, questions = newest(stack, sample), provider.asked
    failed = rotate(sample, secrets=(KEY,))
    assert failed.verdict == "failed", failed
    assert f"checking {KEY} version 2 at {provider.url} failed: it answered 401 instead of 200" in failed.why
    assert "the older one stays enabled; disable this one, or the next deploy pins it: gcloud" in failed.why
    assert (rotations.pinned(sample, KEY), rotations.enabled(sample, KEY)) == (1, [1, 2])
    assert provider.asked == questions + 1
    assert calls(stack, sample, after) == []
    manager.add_version(KEY, good)
    done = rotate(sample, secrets=(KEY,))
    assert done.verdict == "rotated", done
    assert (rotations.pinned(sample, KEY), rotations.enabled(sample, KEY)) == (3, [3])
    assert found_in({one.get_secret_value() for one in (bad, good)} | {FIRST_KEY}, stack) == []


def test_a_version_that_serves_and_was_disabled_by_hand_is_named_with_the_command_that_enables_it(
    sample: Sample,
) -> None:
    version = rotations.pinned(sample, URL)
    sample.site.secrets.disable(URL, version)
    try:
        failed = rotate(sample, secrets=LOGIN)
        assert failed.verdict == "failed", failed
        assert f"gcloud secrets versions enable {version} --secret={URL}" in failed.why
        assert rotate(sample, secrets=LOGIN, prepare=True).verdict == "failed"
    finally:
        sample.site.secrets.enable(URL, version)


def test_a_service_without_a_password_is_left_as_it_is_and_called_the_better_end(sample: Sample, stack: Stack) -> None:
    before = sample.serving()
    spec = sample.site.run.get_revision("api", before).spec
    iam = SecretStr(f"postgresql+psycopg://runner@/pyplots?host={sample.folder}")
    version = sample.site.secrets.add_version(URL, iam).version
    pins = {**spec.secret_env, "DATABASE_URL": SecretPin(secret=URL, version=str(version))}
    rotations.by_hand(sample, "api", {"api-iam": 100}, spec.model_copy(update={"secret_env": pins}))
    after = newest(stack, sample)
    try:
        result = rotate(sample, secrets=LOGIN)
        assert result.verdict == "unchanged", result
        assert "IAM database authentication is the better end" in result.why
        assert calls(stack, sample, after) == []
    finally:
        rotations.by_hand(sample, "api", {before: 100})
        sample.site.secrets.disable(URL, version)


def test_a_single_user_that_nobody_prepared_is_prepared_by_one_command_and_then_replaced(
    new_sample: Callable[..., Sample],
) -> None:
    sample = new_sample("single")
    old = rotations.as_single_user(sample, "legacy")
    deployed(sample)
    refused = rotate(sample, secrets=LOGIN)
    assert refused.verdict == "refused", refused
    assert "--param prepare=true" in refused.why
    assert rotate(sample, secrets=LOGIN, prepare=True).verdict == "prepared"
    result = rotate(sample, secrets=LOGIN, emergency=True)  # ends sessions that an idle instance keeps for a minute
    assert result.verdict == "rotated", result
    assert rotations.user(sample) == "pyplots_c"
    assert sample.get().status_code == 200
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        rotations.connect(sample, old)
