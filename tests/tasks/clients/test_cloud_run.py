"""Cloud Run, on the local cloud through the official clients: revisions and jobs are real processes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from google.cloud import run_v2
from pydantic import SecretStr

from tasks.clients.builds import Builds
from tasks.clients.cloud_run import CloudRun
from tasks.clients.google import UNRETRIED, Google
from tasks.clients.logs import Logs
from tasks.clients.monitoring import Monitoring
from tasks.clients.polling import wait_for
from tasks.clients.secret_manager import SecretManager
from tasks.clients.storage import Bucket
from tasks.errors import Conflict, Missing, PermanentError, TransientError
from tasks.models import RevisionSpec, SecretPin, ServiceState, Traffic
from tasks.settings import Settings
from tests.tasks.clients.conftest import Place
from tests.tasks.clients.source import archive

BEGIN = datetime.now(UTC) - timedelta(minutes=5)


@pytest.fixture(scope="module")
def home(local_cloud) -> Google:
    return Google(Place(f"t-{secrets.token_hex(3)}"), Settings(state=local_cloud.state))


@pytest.fixture(scope="module")
def image(home) -> str:
    """The image of the small service, built once."""
    bucket = Bucket(home, home.bucket)
    bucket.ensure()
    bucket.put("source.tar.gz", archive())
    builds = Builds(home)
    return builds.wait(builds.submit(home.bucket, "source.tar.gz", f"{home.repository}/small:1", ("small",))).uri


@pytest.fixture(scope="module")
def spec(home, image) -> RevisionSpec:
    manager = SecretManager(home)
    manager.create_secret("token")
    manager.add_version("token", SecretStr("t0ken"))
    return RevisionSpec(
        image=image, min_instances=1, env={"GREETING": "hello"},
        secret_env={"TOKEN": SecretPin(secret="token", version="1")}, labels={"made-by": "caretaker"},
    )


@pytest.fixture(scope="module")
def run(home) -> CloudRun:
    return CloudRun(home)


@pytest.fixture
def api(run, spec) -> Iterator[ServiceState]:
    """A service of this test's own, with one revision that has all traffic."""
    name = f"api-{secrets.token_hex(2)}"
    state = run.create_service(name, spec, revision=f"{name}-1", annotations={"a": "b"}, labels={"of": "tests"})
    yield state
    run.delete_service(name)


def answer(uri: str) -> dict[str, str]:
    return httpx.get(uri, timeout=10, trust_env=False).json()


def test_a_new_service_serves_its_one_revision_by_name(run, api, spec):
    assert (api.ready, api.reconciling) == (True, False)
    assert api.template == spec
    assert (api.labels["of"], api.annotations["a"]) == ("tests", "b")
    assert api.latest_ready == api.latest_created == f"{api.name}-1"
    assert [(t.revision, t.percent) for t in api.traffic_statuses] == [(f"{api.name}-1", 100)]
    run.allow_public(api.name)
    assert answer(api.uri) == {
        "GREETING": "hello", "TOKEN": "t0ken", "K_REVISION": f"{api.name}-1", "K_SERVICE": api.name
    }  # fmt: skip


def test_a_service_that_exists_is_a_conflict(run, api, spec):
    with pytest.raises(Conflict, match=f"creating service {api.name} failed: ALREADY_EXISTS"):
        run.create_service(api.name, spec, revision=f"{api.name}-2", annotations={}, labels={})


def test_opening_to_the_public_writes_once(run, api, local_cloud, home):
    run.allow_public(api.name)
    run.allow_public(api.name)
    writes = [c for c in local_cloud.control.calls(home.project, writes_only=True) if api.name in c.resource]
    assert [c.method for c in writes].count("Services.SetIamPolicy") == 1


def test_a_candidate_starts_beside_the_stable_revision_and_takes_over(run, api, spec):
    stable, candidate = f"{api.name}-1", f"{api.name}-2"
    beside = (Traffic(revision=stable, percent=100), Traffic(revision=candidate, percent=0, tag="candidate"))
    changed = spec.model_copy(update={"env": {"GREETING": "moin"}})
    state = run.update_service(api, spec=changed, revision=candidate, traffic=beside, annotations={"mark": "m"})
    state = run.wait_traffic(api.name, beside)
    tagged = next(t.uri for t in state.traffic_statuses if t.tag == "candidate")
    assert answer(tagged)["GREETING"] == "moin"
    assert answer(state.uri)["GREETING"] == "hello"
    assert (state.annotations["mark"], state.annotations["a"]) == ("m", "b")
    alone = (Traffic(revision=candidate, percent=100),)
    state = run.update_service(state, traffic=alone, annotations={"mark": ""})
    state = run.wait_traffic(api.name, alone)
    assert answer(state.uri)["GREETING"] == "moin"
    assert "mark" not in state.annotations
    assert state.template == changed
    assert {r.name: r.ready for r in run.list_revisions(api.name)} == {stable: True, candidate: True}
    assert run.get_revision(api.name, stable).spec == spec
    run.delete_revision(api.name, stable)
    run.delete_revision(api.name, stable)
    with pytest.raises(Missing):
        run.get_revision(api.name, stable)


def test_a_revision_that_does_not_start_is_permanent_and_the_stable_one_serves_on(run, api, spec):
    bad = spec.model_copy(update={"env": {"DIE": "1"}})
    stable = (Traffic(revision=f"{api.name}-1", percent=100),)
    what = f"changing service {api.name} to revision {api.name}-bad failed"
    with pytest.raises(PermanentError, match=what) as caught:
        run.update_service(api, spec=bad, revision=f"{api.name}-bad", traffic=stable)
    assert type(caught.value) is PermanentError
    revision = run.get_revision(api.name, f"{api.name}-bad")
    assert (revision.ready, revision.pending) == (False, False)
    assert revision.message
    assert answer(api.uri)["GREETING"] == "hello"


def test_a_change_on_what_was_read_too_long_ago_is_a_conflict(run, api, local_cloud, home):
    run.update_service(api, annotations={"somebody": "else"})
    with pytest.raises(Conflict, match="changed by somebody else since it was read"):
        run.update_service(api, annotations={"x": "y"})
    assert "x" not in run.get_service(api.name).annotations


def test_what_a_spec_does_not_know_survives_a_change(run, api, home, spec):
    client = home.client(run_v2.ServicesClient)
    name = f"{home.parent}/services/{api.name}"
    raw = client.get_service(request={"name": name}, **UNRETRIED)
    raw.description = "by hand"
    raw.template.session_affinity = True
    raw.template.revision = ""
    client.update_service(request={"service": raw}, **UNRETRIED).result(timeout=60)
    run.update_service(run.get_service(api.name), spec=spec, revision=f"{api.name}-9")
    raw = client.get_service(request={"name": name}, **UNRETRIED)
    assert (raw.description, raw.template.session_affinity) == ("by hand", True)


def test_an_outage_is_worth_a_retry_and_is_not_retried_in_secret(run, api, faults, home):
    fault = faults.plant(
        method="Services.UpdateService", kind="error", times=9, project=home.project, resource=api.name
    )
    try:
        with pytest.raises(TransientError, match=f"changing service {api.name} failed: UNAVAILABLE"):
            run.update_service(api, annotations={"x": "y"})
        assert faults.fault(fault)["met"] == 1
    finally:
        faults.remove(fault)


def test_a_lost_answer_left_its_work_and_the_service_settles(run, api, faults, home):
    fault = faults.plant(method="Services.UpdateService", kind="lost_answer", project=home.project, resource=api.name)
    with pytest.raises(TransientError):
        run.update_service(api, annotations={"x": "y"})
    assert faults.fault(fault)["met"] == 1
    faults.remove(fault)
    assert run.settled(api.name).annotations["x"] == "y"


def test_an_operation_that_cannot_be_read_for_a_moment_is_waited_for(run, api, faults, home):
    fault = faults.plant(method="Operations.GetOperation", kind="error", times=2, project=home.project)
    try:
        state = run.update_service(api, annotations={"x": "y"})
    finally:
        met = faults.fault(fault)["met"]
        faults.remove(fault)
    assert state.annotations["x"] == "y"
    assert met == 2


def test_services_are_listed_and_deleting_what_is_gone_succeeds(run, api):
    assert api.name in [service.name for service in run.list_services()]
    run.delete_service("nothing")
    with pytest.raises(Missing, match="reading service nothing failed: NOT_FOUND"):
        run.get_service("nothing")


def test_requests_are_seen_in_the_log_and_counted_by_revision(run, api, home):
    for _ in range(5):
        answer(api.uri)
    revision = f"{api.name}-1"
    logs = Logs(home)
    found = wait_for(
        lambda: logs.requests(api.name, revision, BEGIN), lambda f: len(f) >= 5, timedelta(seconds=15), "the log"
    )
    assert {(line.status, line.revision) for line in found} == {(200, revision)}
    monitoring = Monitoring(home)
    now = datetime.now(UTC)
    assert monitoring.request_counts(api.name, now - timedelta(hours=1), now) == {(revision, "2xx"): len(found)}
    (measured,) = monitoring.request_latencies(api.name, now - timedelta(hours=1), now).items()
    assert measured[0] == revision
    assert measured[1].count == len(found)
    assert 0 < measured[1].p50 <= measured[1].p95 <= measured[1].p99 < 5
    assert monitoring.request_counts("nothing", now - timedelta(hours=1), now) == {}


# --- jobs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def job(run, spec) -> Iterator[str]:
    name = f"migrate-{secrets.token_hex(2)}"
    run.create_job(
        name, spec, command=("launcher",), args=("python", "job.py", "plain"), labels={"of": "tests"}, annotations={},
        timeout=timedelta(minutes=1),
    )
    yield name
    run.delete_job(name)


def test_a_job_is_created_as_asked_and_is_not_retried_by_the_platform(run, job, spec, home):
    found = run.get_job(job)
    assert (found.spec.image, found.spec.args) == (spec.image, ("python", "job.py", "plain"))
    assert found.spec.secret_env == spec.secret_env
    assert found.labels["of"] == "tests"
    raw = home.client(run_v2.JobsClient).get_job(request={"name": f"{home.parent}/jobs/{job}"}, **UNRETRIED)
    assert raw.template.template.max_retries == 0
    assert raw.template.template.timeout == timedelta(minutes=1)
    assert job in [found.name for found in run.list_jobs()]
    assert run.list_executions(job) == []
    with pytest.raises(Conflict):
        run.create_job(job, spec, command=(), labels={}, annotations={})


def test_an_execution_is_known_by_name_before_it_is_over_and_told_when_it_is(run, job, home):
    states: list[bool] = []
    started = run.run_job(job, args=("python", "job.py", "asked"), env={"MODE": "dry"})
    assert (started.job, started.running) == (job, True)
    done = run.wait_execution(started.name, timedelta(seconds=60), lambda state: states.append(state.running))
    assert done.succeeded, done.message
    assert (done.running, done.name) == (False, started.name)
    assert states[-1] is False
    logs = Logs(home)
    lines = wait_for(lambda: logs.execution_lines(started.name, 10), bool, timedelta(seconds=15), "its words")
    assert lines == ["working with ['asked'] dry"]
    assert [e.name for e in run.list_executions(job)] == [started.name]


def test_an_execution_that_fails_is_over_and_did_not_succeed(run, job):
    done = run.wait_execution(run.run_job(job, args=("python", "job.py", "fail")).name, timedelta(seconds=60))
    assert (done.running, done.succeeded) == (False, False)
    assert done.message


def test_an_execution_is_cancelled(run, job):
    started = run.run_job(job, args=("python", "job.py", "sleep"))
    ended = run.cancel_execution(started.name)
    assert (ended.running, ended.succeeded) == (False, False)
    assert run.cancel_execution(started.name) == ended


def test_a_job_that_is_gone_has_no_executions_and_can_be_deleted_again(run):
    assert run.list_executions("nothing") == []
    run.delete_job("nothing")
    with pytest.raises(Missing):
        run.run_job("nothing")
