"""google.cloud.run.v2.Jobs.

Safety property: an execution is written down before its job's call is acknowledged, and it is started once.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions
from google.cloud import run_v2
from google.longrunning import operations_pb2

from localcloud.rpc import Servicer, rpc
from localcloud.run import job_book
from localcloud.run.book import check_etag, listed, validated
from localcloud.run.conditions import State, condition, now
from localcloud.run.containers import unsupported
from localcloud.run.job_book import JobBook
from localcloud.run.names import Name, check_id, parse, parse_parent, suffix
from localcloud.run.runner import Runner
from localcloud.run.templates import CREATOR, new_etag

if TYPE_CHECKING:
    from localcloud.cloud import Cloud


class Jobs(Servicer):
    """The jobs of all projects."""

    service = "google.cloud.run.v2.Jobs"

    def __init__(self, cloud: Cloud, book: JobBook, runner: Runner) -> None:
        self._operations, self._book, self._runner = cloud.operations, book, runner
        cloud.operations.register("run.execute", lambda _, payload: runner.run(payload["execution"]))
        cloud.operations.register("run.delete-job", self._delete)

    @rpc("GetJob", run_v2.GetJobRequest, run_v2.Job, writes=False, resource=lambda r: r.name)
    def get_job(self, request: Any) -> Any:
        return self._book.job(parse(request.name, "jobs"))

    @rpc("ListJobs", run_v2.ListJobsRequest, run_v2.ListJobsResponse, writes=False, resource=lambda r: r.parent)
    def list_jobs(self, request: Any) -> Any:
        """By name. The location ``-`` stands for every location."""
        project, location = parse_parent(request.parent)
        prefix = f"projects/{project}/locations/{'' if location == '-' else location + '/'}"
        jobs, token = listed(self._book.jobs.list(prefix), request)
        return run_v2.ListJobsResponse(jobs=jobs, next_page_token=token)

    @rpc("CreateJob", run_v2.CreateJobRequest, operations_pb2.Operation, writes=True,
         resource=lambda r: f"{r.parent}/jobs/{r.job_id}")
    def create_job(self, request: Any) -> Any:
        project, location = parse_parent(request.parent)
        check_id("job_id", request.job_id)
        name = Name(project, location, "jobs", request.job_id)
        with self._book.transaction():
            if self._book.jobs.get(str(name)) is not None:
                raise exceptions.AlreadyExists(f"Resource '{name.id}' already exists.")
            return self._put(name, request.job, None, dry=request.validate_only)

    @rpc("UpdateJob", run_v2.UpdateJobRequest, operations_pb2.Operation, writes=True, resource=lambda r: r.job.name)
    def update_job(self, request: Any) -> Any:
        """Replace everything that a user may set."""
        name = parse(request.job.name, "jobs")
        with self._book.transaction():
            current = self._book.jobs.get(str(name)) if request.allow_missing else self._book.job(name)
            if current is not None:
                check_etag(request.job.etag, current.etag, str(name))
            return self._put(name, request.job, current, dry=request.validate_only)

    @rpc("RunJob", run_v2.RunJobRequest, operations_pb2.Operation, writes=True, resource=lambda r: r.name)
    def run_job(self, request: Any) -> Any:
        """Start an execution. The operation is over when the execution is, and fails when it failed."""
        name = parse(request.name, "jobs")
        with self._book.transaction():
            job = self._book.job(name)
            check_etag(request.etag, job.etag, str(name))
            template = job_book.overridden(job.template, request.overrides)
            execution = job_book.new_execution(job, name.child(f"executions/{name.id}-{suffix(5)}"), template)
            if request.validate_only:
                return validated(execution)
            self._add(job, execution)
            payload = {"execution": execution.name}
            operation = self._operations.start(name.parent, "run.execute", payload, execution)
        self._operations.submit(operation.name)
        return operation

    @rpc("DeleteJob", run_v2.DeleteJobRequest, operations_pb2.Operation, writes=True, resource=lambda r: r.name)
    def delete_job(self, request: Any) -> Any:
        """Delete a job and its executions; those that run are cancelled first."""
        name = parse(request.name, "jobs")
        with self._book.transaction():
            job = self._book.job(name)
            check_etag(request.etag, job.etag, str(name))
            job.delete_time = now()
            if request.validate_only:
                return validated(job)
            executions = [execution.name for execution in self._book.executions_of(str(name))]
            self._book.jobs.delete(str(name))
            payload = {"job": run_v2.Job.to_json(job), "executions": executions}
            operation = self._operations.start(name.parent, "run.delete-job", payload, job)
        self._operations.submit(operation.name)
        return operation

    def _put(self, name: Name, asked: Any, current: Any, *, dry: bool) -> operations_pb2.Operation:
        wanted = run_v2.Job(current) if current is not None else _new(name)
        for field in ("labels", "annotations", "client", "client_version", "launch_stage"):
            setattr(wanted, field, getattr(asked, field))
        if "start_execution_token" in asked or "run_execution_token" in asked:
            raise unsupported("execution tokens")
        wanted.template = job_book.filled(asked.template)
        job_book.check(wanted)
        wanted.generation += 1
        wanted.observed_generation = wanted.generation
        wanted.update_time, wanted.last_modifier, wanted.etag = now(), CREATOR, new_etag()
        wanted.terminal_condition = condition("Ready", State.CONDITION_SUCCEEDED)
        if dry:
            return validated(wanted)
        self._book.jobs.put(str(name), wanted)
        return self._operations.done(name.parent, wanted, wanted)

    def _add(self, job: Any, execution: Any) -> None:
        self._book.executions.put(execution.name, execution)
        for index in range(execution.task_count):
            task = job_book.new_task(execution, index)
            self._book.tasks.put(task.name, task)
        job.execution_count += 1
        job.latest_created_execution = run_v2.ExecutionReference(
            name=execution.name, create_time=execution.create_time,
            completion_status=run_v2.ExecutionReference.CompletionStatus.EXECUTION_RUNNING,
        )  # fmt: skip
        self._book.jobs.put(job.name, job)

    def _delete(self, operation: str, payload: dict[str, Any]) -> Any:
        for name in payload["executions"]:
            self._runner.cancel(name)
        for name in payload["executions"]:
            self._runner.wait(name)
            with self._book.transaction():
                self._book.erase_execution(name)
        return run_v2.Job.from_json(payload["job"])


def _new(name: Name) -> Any:
    return run_v2.Job(name=str(name), uid=str(uuid.uuid4()), creator=CREATOR, create_time=now())
