"""Cloud Run jobs and executions.

Safety property: starting an execution never waits for it, so its name is known before anything can go wrong; whoever
lost the answer finds it in the list of the job's executions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

from tasks.clients import cloud_run_spec as mapping
from tasks.clients import deadlines
from tasks.clients.google import UNRETRIED, Google
from tasks.clients.google_errors import one_line
from tasks.clients.operations import finish, moment, required_moment, short
from tasks.clients.polling import wait_for
from tasks.errors import Missing, Refused, TransientError
from tasks.models import ExecutionState, JobState, RevisionSpec

VIEWER = "roles/run.viewer"
DEVELOPER = "roles/run.developer"


class Jobs:
    """Jobs and executions of one project and region."""

    _google: Google

    def get_job(self, name: str) -> JobState:
        """Read a job. Raises Missing."""
        with self._google.doing(f"reading job {name}", VIEWER):
            return _read_job(self._jobs.get_job(request={"name": self._job_name(name)}, **UNRETRIED))

    def list_jobs(self) -> list[JobState]:
        """Read every job, to the last page."""
        with self._google.doing(f"listing the jobs of {self._google.parent}", VIEWER):
            return [_read_job(j) for j in self._jobs.list_jobs(request={"parent": self._google.parent}, **UNRETRIED)]

    def create_job(
        self, name: str, spec: RevisionSpec, *, command: tuple[str, ...], args: tuple[str, ...] = (),
        labels: Mapping[str, str], annotations: Mapping[str, str], max_retries: int = 0,
        timeout: timedelta = deadlines.EXECUTION,
    ) -> JobState:
        """Create a job; it is not run. ``timeout`` is how long a run of it may take.

        ``max_retries`` is 0 unless asked for: the API's own default would run a failed migration three more times.
        Raises Conflict when it exists.
        """
        from google.cloud import run_v2

        job = run_v2.Job(labels=dict(labels), annotations=dict(annotations))
        mapping.write_task(job.template, spec.model_copy(update={"command": command, "args": args}))
        job.template.task_count = 1
        job.template.template.max_retries = max_retries
        job.template.template.timeout = timeout
        request = run_v2.CreateJobRequest(parent=self._google.parent, job=job, job_id=name)
        self._finish_job(
            f"creating job {name}", lambda: self._jobs.create_job(request=request, **UNRETRIED), deadlines.JOB_CREATION
        )
        return self.get_job(name)

    def run_job(
        self, name: str, args: tuple[str, ...] | None = None, env: Mapping[str, str] | None = None
    ) -> ExecutionState:
        """Start an execution and return it without waiting. ``args`` replaces the job's own; ``env`` is added to it.

        Not safe to repeat after a lost answer: look at ``list_executions`` first.
        """
        from google.cloud import run_v2

        request = run_v2.RunJobRequest(name=self._job_name(name))
        if args is not None or env:
            request.overrides.container_overrides = [_override(args, env or {})]
        with self._google.doing(f"running job {name}", DEVELOPER):
            operation = self._jobs.run_job(request=request, **UNRETRIED)
            started = operation.metadata
        if started is None or not started.name:
            raise TransientError(f"running job {name} failed: it was not named; look at the job's executions")
        return read_execution(started)

    def list_executions(self, job: str) -> list[ExecutionState]:
        """Read every execution of a job, to the last page, newest first. A job that is gone has none."""
        try:
            with self._google.doing(f"listing the executions of {job}", VIEWER):
                found = self._executions.list_executions(request={"parent": self._job_name(job)}, **UNRETRIED)
                return sorted((read_execution(e) for e in found), key=lambda e: e.created, reverse=True)
        except Missing:
            return []

    def get_execution(self, name: str) -> ExecutionState:
        """Read an execution by its full resource name, as ``ExecutionState.name`` has it. Raises Missing."""
        with self._google.doing(f"reading execution {short(name)}", VIEWER):
            return read_execution(self._executions.get_execution(request={"name": name}, **UNRETRIED))

    def wait_execution(
        self, name: str, deadline: timedelta = deadlines.EXECUTION,
        on_poll: Callable[[ExecutionState], None] | None = None,
    ) -> ExecutionState:
        """Wait until an execution is over, well or not. Raises TransientError at the deadline; it then still runs."""
        return wait_for(
            lambda: self.get_execution(name), lambda e: not e.running, deadline, f"execution {short(name)}",
            on_poll=on_poll, most=timedelta(seconds=2),
        )

    def cancel_execution(self, name: str) -> ExecutionState:
        """Stop an execution and return it as it ended. One that is over already stays as it is."""
        if self.get_execution(name).running:
            # Refused: it ended between the two calls.
            with suppress(Refused):
                self._finish_job(
                    f"cancelling execution {short(name)}",
                    lambda: self._executions.cancel_execution(request={"name": name}, **UNRETRIED),
                    deadlines.DELETION, self._executions,
                )
        return self.wait_execution(name, deadlines.DELETION)

    def delete_job(self, name: str) -> None:
        """Delete a job and its executions. Deleting what is gone succeeds."""
        request = {"name": self._job_name(name)}
        try:
            self._finish_job(
                f"deleting job {name}", lambda: self._jobs.delete_job(request=request, **UNRETRIED), deadlines.DELETION
            )
        except Missing:
            return

    @property
    def _jobs(self) -> Any:
        from google.cloud import run_v2

        return self._google.client(run_v2.JobsClient)

    @property
    def _executions(self) -> Any:
        from google.cloud import run_v2

        return self._google.client(run_v2.ExecutionsClient)

    def _job_name(self, name: str) -> str:
        return f"{self._google.parent}/jobs/{name}"

    def _finish_job(self, what: str, start: Callable[[], Any], deadline: timedelta, client: Any = None) -> None:
        with self._google.doing(what, DEVELOPER):
            operation = start()
        finish(client or self._jobs, operation, self._google.attempt(what, DEVELOPER), deadline)


def read_execution(execution: Any) -> ExecutionState:
    """Google's message as our value; its ``name`` is the full resource name, its ``job`` the short one."""
    whole = execution.succeeded_count >= max(execution.task_count, 1)
    return ExecutionState(
        name=execution.name,
        job=short(execution.job) if execution.job else execution.name.split("/executions/")[0].rsplit("/", 1)[-1],
        running=execution.completion_time is None,
        succeeded=execution.completion_time is not None and whole and not execution.failed_count,
        message=_message(execution),
        created=required_moment(execution.create_time),
        completed=moment(execution.completion_time),
    )


def _message(execution: Any) -> str:
    said = [c for c in execution.conditions if c.message]
    completed = [c for c in said if c.type_ == "Completed"]
    return one_line((completed or said)[0].message) if said else ""


def _read_job(job: Any) -> JobState:
    return JobState(
        name=short(job.name),
        etag=job.etag,
        spec=mapping.read_task(job.template),
        labels=dict(job.labels),
        annotations=dict(job.annotations),
        created=required_moment(job.create_time),
    )


def _override(args: tuple[str, ...] | None, env: Mapping[str, str]) -> dict[str, Any]:
    override: dict[str, Any] = {"env": [{"name": name, "value": value} for name, value in sorted(env.items())]}
    if args is not None:
        override |= {"args": list(args), "clear_args": not args}
    return override
