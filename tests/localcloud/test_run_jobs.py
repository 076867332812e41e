"""Jobs: what an execution runs, how it ends, and that a killed local cloud repeats nothing."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import run_v2

from tests.conftest import LocalCloud
from tests.localcloud.runs import Runs, done, eventually, seconds, server_image

State = run_v2.Condition.State
Status = run_v2.ExecutionReference.CompletionStatus
Override = run_v2.RunJobRequest.Overrides.ContainerOverride


@pytest.fixture
def runs(local_cloud: LocalCloud, project: str, channel: grpc.Channel) -> Runs:
    return Runs(project, channel, server_image(local_cloud.state))


def execute(runs: Runs, **options: object) -> run_v2.Execution:
    return done(runs.jobs.run_job(run_v2.RunJobRequest(name=f"{runs.parent}/jobs/job", **options)))


def failing(runs: Runs, **options: object) -> run_v2.Execution:
    """Run the job, which must fail, and give the execution."""
    with pytest.raises(exceptions.FailedPrecondition):
        execute(runs, **options)
    return runs.execution()


def tasks(runs: Runs, execution: run_v2.Execution) -> list[run_v2.Task]:
    return list(runs.tasks.list_tasks(parent=execution.name))


def completed(resource: run_v2.Execution | run_v2.Task) -> run_v2.Condition:
    return next(condition for condition in resource.conditions if condition.type_ == "Completed")


def test_a_job_runs_all_its_tasks(runs: Runs, tmp_path: Path) -> None:
    code = f"""
import json, os
env = {{key: value for key, value in os.environ.items() if key.startswith("CLOUD_RUN_")}}
open(r"{tmp_path}/" + env["CLOUD_RUN_TASK_INDEX"], "w").write(json.dumps(env))
"""
    job = runs.job(code, tasks=3, parallelism=2, labels={"team": "a"})
    assert job.terminal_condition.state == State.CONDITION_SUCCEEDED
    execution = execute(runs)
    assert (execution.succeeded_count, execution.failed_count, execution.running_count) == (3, 0, 0)
    assert completed(execution).state == State.CONDITION_SUCCEEDED
    assert execution.completion_time >= execution.start_time >= execution.create_time
    assert (dict(job.labels), dict(execution.labels)) == ({"team": "a"}, {"team": "a"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
    short = execution.name.rpartition("/")[2]
    assert f'"CLOUD_RUN_EXECUTION": "{short}"' in (tmp_path / "2").read_text()
    assert '"CLOUD_RUN_TASK_COUNT": "3"' in (tmp_path / "2").read_text()
    assert [task.index for task in tasks(runs, execution)] == [0, 1, 2]
    reference = runs.jobs.get_job(name=job.name).latest_created_execution
    assert (reference.name, reference.completion_status) == (execution.name, Status.EXECUTION_SUCCEEDED)


def test_a_job_that_fails_without_retries_runs_once(runs: Runs, tmp_path: Path) -> None:
    runs.job(f"open(r'{tmp_path}/runs', 'a').write('x'); raise SystemExit(4)", retries=0)
    with pytest.raises(exceptions.FailedPrecondition, match=r"Task job-\w+-task0 failed with message: The container"):
        execute(runs)
    execution = runs.execution()
    assert (execution.failed_count, execution.succeeded_count, execution.retried_count) == (1, 0, 0)
    assert completed(execution).execution_reason == run_v2.Condition.ExecutionReason.NON_ZERO_EXIT_CODE
    assert tasks(runs, execution)[0].last_attempt_result.exit_code == 4
    assert (tmp_path / "runs").read_text() == "x"


def test_a_task_is_retried_until_it_succeeds(runs: Runs) -> None:
    job = runs.job("import os, sys; sys.exit(int(os.environ['CLOUD_RUN_TASK_ATTEMPT']) < 2)", retries=None)
    assert job.template.template.max_retries == 3
    execution = execute(runs)
    assert (execution.succeeded_count, execution.retried_count) == (1, 2)
    assert tasks(runs, execution)[0].retried == 2


def test_a_task_that_takes_too_long_is_ended(runs: Runs) -> None:
    runs.job("import time; time.sleep(60)", timeout=0.5)
    begun = time.monotonic()
    assert "The configured timeout was reached." in completed(failing(runs)).message
    assert time.monotonic() - begun < 8


def test_a_run_may_override_arguments_environment_and_timeout(runs: Runs, tmp_path: Path) -> None:
    runs.job(f"import os, sys; open(r'{tmp_path}/seen', 'w').write(' '.join([*sys.argv[1:], os.environ['WHO']]))")
    overrides = run_v2.RunJobRequest.Overrides(
        container_overrides=[Override(args=["a", "b c"], env=[run_v2.EnvVar(name="WHO", value="me")])],
        timeout=seconds(30),
    )
    execution = execute(runs, overrides=overrides)
    assert (tmp_path / "seen").read_text() == "a b c me"
    assert execution.template.timeout.total_seconds() == 30
    assert not runs.jobs.get_job(name=execution.job).template.template.containers[0].args


def test_a_secret_is_read_when_a_task_starts(runs: Runs, tmp_path: Path) -> None:
    version = runs.secret("token", b"first")
    runs.job(f"import os; open(r'{tmp_path}/seen', 'w').write(os.environ['SECRET'])", secret="token")
    execute(runs)
    assert (tmp_path / "seen").read_text() == "first"
    runs.secrets.disable_secret_version(name=version)
    assert "secret_key_ref" in completed(failing(runs)).message


def test_what_a_job_prints_is_logged_with_its_execution(runs: Runs) -> None:
    from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
    from google.cloud.logging_v2.services.logging_service_v2.transports import LoggingServiceV2GrpcTransport

    runs.job("import sys; print('one'); print('two', end='', file=sys.stderr)")
    short = execute(runs).name.rpartition("/")[2]
    client = LoggingServiceV2Client(transport=LoggingServiceV2GrpcTransport(channel=runs.channel))
    wanted = {"resource_names": [f"projects/{runs.project}"], "filter": 'resource.type="cloud_run_job"'}
    found = eventually(lambda: len(seen := list(client.list_log_entries(wanted))) == 2 and seen)
    assert {entry.text_payload for entry in found} == {"one", "two"}
    assert {entry.labels["run.googleapis.com/execution_name"] for entry in found} == {short}


def test_a_cancelled_execution_ends_its_processes(runs: Runs, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    runs.job(f"import time; open(r'{mark}', 'w').close(); time.sleep(60)", tasks=2)
    operation = runs.jobs.run_job(name=f"{runs.parent}/jobs/job")
    eventually(mark.exists)
    name = operation.metadata.name
    with pytest.raises(exceptions.FailedPrecondition):
        done(runs.executions.cancel_execution(name=name)) and done(operation)
    execution = runs.executions.get_execution(name=name)
    assert execution.cancelled_count == 2
    assert completed(execution).execution_reason == run_v2.Condition.ExecutionReason.CANCELLED
    with pytest.raises(exceptions.FailedPrecondition, match="completed"):
        runs.executions.cancel_execution(name=name)


def test_a_deleted_job_takes_its_executions_with_it(runs: Runs, tmp_path: Path) -> None:
    mark = tmp_path / "started"
    job = runs.job(f"import time; open(r'{mark}', 'w').close(); time.sleep(60)")
    operation = runs.jobs.run_job(name=job.name)
    eventually(mark.exists)
    assert done(runs.jobs.delete_job(name=job.name)).delete_time
    with pytest.raises(exceptions.NotFound, match="of kind 'JOB'"):
        runs.jobs.get_job(name=job.name)
    with pytest.raises(exceptions.NotFound, match="of kind 'EXECUTION'"):
        runs.executions.get_execution(name=operation.metadata.name)
    assert not list(runs.executions.list_executions(parent=job.name))


def test_an_execution_may_be_deleted_alone(runs: Runs) -> None:
    runs.job("pass")
    execution = execute(runs)
    done(runs.executions.delete_execution(name=execution.name))
    assert not list(runs.executions.list_executions(parent=execution.job))
    assert runs.jobs.get_job(name=execution.job).execution_count == 1


def test_a_stale_etag_changes_no_job(runs: Runs) -> None:
    job = runs.job("pass")
    job.labels["a"] = "b"
    assert done(runs.jobs.update_job(job=job)).labels["a"] == "b"
    with pytest.raises(exceptions.Aborted):
        runs.jobs.update_job(job=job)
    with pytest.raises(exceptions.Aborted):
        runs.jobs.run_job(run_v2.RunJobRequest(name=job.name, etag=job.etag))
    with pytest.raises(exceptions.AlreadyExists):
        runs.job("pass")


def test_an_execution_goes_on_while_the_local_cloud_is_killed(
    own_local_cloud: LocalCloud, project: str, tmp_path: Path
) -> None:
    log, go_on = tmp_path / "log", tmp_path / "go"
    with grpc.insecure_channel(own_local_cloud.grpc) as channel:
        runs = Runs(project, channel, server_image(own_local_cloud.state))
        runs.job(
            f"import os, time\nopen(r'{log}', 'a').write('x')\n"
            f"while not os.path.exists(r'{go_on}'): time.sleep(0.02)\nprint('ended')"
        )
        operation = runs.jobs.run_job(name=f"{runs.parent}/jobs/job").operation.name
        eventually(log.exists)
    own_local_cloud.restart(kill=True)
    with grpc.insecure_channel(own_local_cloud.grpc) as channel:
        runs = Runs(project, channel, "")
        assert runs.execution().running_count == 1
        go_on.touch()
        eventually(lambda: runs.jobs.get_operation({"name": operation}).done, 20)
        assert runs.execution().succeeded_count == 1
    assert log.read_text() == "x"


def test_an_execution_that_ended_while_the_local_cloud_was_dead_is_not_run_again(
    own_local_cloud: LocalCloud, project: str, tmp_path: Path
) -> None:
    log, go_on = tmp_path / "log", tmp_path / "go"
    with grpc.insecure_channel(own_local_cloud.grpc) as channel:
        runs = Runs(project, channel, server_image(own_local_cloud.state))
        runs.job(
            f"import os, sys, time\nopen(r'{log}', 'a').write('x')\n"
            f"while not os.path.exists(r'{go_on}'): time.sleep(0.02)\nopen(r'{log}', 'a').write('y'); sys.exit(7)"
        )
        operation = runs.jobs.run_job(name=f"{runs.parent}/jobs/job").operation.name
        eventually(log.exists)
    own_local_cloud.kill()
    go_on.touch()
    eventually(lambda: log.read_text() == "xy")
    own_local_cloud.start()
    with grpc.insecure_channel(own_local_cloud.grpc) as channel:
        runs = Runs(project, channel, "")
        eventually(lambda: runs.jobs.get_operation({"name": operation}).done, 20)
        task = tasks(runs, runs.execution())[0]
    assert task.last_attempt_result.exit_code == 7
    assert log.read_text() == "xy"
