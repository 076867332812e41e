"""Where jobs, executions and tasks are kept, what Google fills in, and what is refused."""

from __future__ import annotations

import uuid
from typing import Any

from google.api_core import exceptions
from google.cloud import run_v2
from google.protobuf import duration_pb2

from localcloud.run.book import not_found
from localcloud.run.conditions import State, condition, now
from localcloud.run.containers import check_container, check_tags
from localcloud.run.names import Name
from localcloud.run.templates import CREATOR, fill_limits, log_uri, new_etag
from localcloud.store import Store

_DEFAULT_RETRIES = 3
_MOST_RETRIES = 10
_DEFAULT_TIMEOUT_SECONDS = 600
_LONGEST_TIMEOUT_SECONDS = 7 * 24 * 3600
_MOST_TASKS = 10_000


class JobBook:
    """Jobs with their executions and tasks."""

    def __init__(self, store: Store) -> None:
        self.transaction = store.transaction
        self.jobs = store.messages("run.jobs", run_v2.Job)
        self.executions = store.messages("run.executions", run_v2.Execution)
        self.tasks = store.messages("run.tasks", run_v2.Task)

    def job(self, name: Name) -> Any:
        """A job. Raises NotFound."""
        found = self.jobs.get(str(name))
        if found is None:
            raise not_found("JOB", name, name.id)
        return found

    def execution(self, name: Name) -> Any:
        """An execution. Raises NotFound."""
        found = self.executions.get(str(name))
        if found is None:
            raise not_found("EXECUTION", name, name.rest.rpartition("/")[2])
        return found

    def executions_of(self, job: str) -> list[Any]:
        return self.executions.list(f"{job}/executions/")

    def tasks_of(self, execution: str) -> list[Any]:
        """The tasks of an execution in the order of their indices."""
        return sorted(self.tasks.list(f"{execution}/tasks/"), key=lambda task: task.index)

    def erase_execution(self, name: str) -> None:
        for task in self.tasks_of(name):
            self.tasks.delete(task.name)
        self.executions.delete(name)


def filled(template: Any) -> Any:
    """The execution template with Google's defaults: one task, 3 retries, 10 minutes."""
    made = run_v2.ExecutionTemplate(template)
    made.task_count = made.task_count or 1
    task = made.template
    if "max_retries" not in task:
        task.max_retries = _DEFAULT_RETRIES
    if not task.timeout:
        task.timeout = duration_pb2.Duration(seconds=_DEFAULT_TIMEOUT_SECONDS)
    for container in task.containers:
        fill_limits(container)
    return made


def check(job: Any) -> None:
    """Raise InvalidArgument, or MethodNotImplemented for what the local cloud does not do."""
    check_tags(job.labels, job.annotations)
    check_tags(job.template.labels, job.template.annotations)
    check_container(job.template.template)
    check_numbers(job.template.task_count, job.template.parallelism, job.template.template)


def check_numbers(tasks: int, parallelism: int, template: Any) -> None:
    if not 0 < tasks <= _MOST_TASKS:
        raise exceptions.InvalidArgument(f"task_count must be between 1 and {_MOST_TASKS}.")
    if not 0 <= parallelism <= tasks:
        raise exceptions.InvalidArgument("parallelism must not be greater than task_count.")
    if not 0 <= template.max_retries <= _MOST_RETRIES:
        raise exceptions.InvalidArgument(f"max_retries must be between 0 and {_MOST_RETRIES}.")
    if not 0 < template.timeout.total_seconds() <= _LONGEST_TIMEOUT_SECONDS:
        raise exceptions.InvalidArgument("timeout must be between 1 second and 7 days.")


def new_execution(job: Any, name: Name, template: Any) -> Any:
    """An execution that is about to be run."""
    return run_v2.Execution(
        name=str(name), uid=str(uuid.uuid4()), creator=CREATOR, generation=1, job=job.name, etag=new_etag(),
        labels=template.labels, annotations=template.annotations, create_time=now(), update_time=now(),
        parallelism=template.parallelism, task_count=template.task_count, template=template.template, reconciling=True,
        log_uri=log_uri(name.project, "cloud_run_job", f"job_name/{name.id}"),
        conditions=[condition("Completed", State.CONDITION_RECONCILING, "Waiting for execution to complete.")],
    )  # fmt: skip


def new_task(execution: Any, index: int) -> Any:
    """A task that waits for its turn."""
    template = execution.template
    short = execution.name.rpartition("/")[2]
    return run_v2.Task(
        name=f"{execution.name}/tasks/{short}-task{index}", uid=str(uuid.uuid4()), generation=1, job=execution.job,
        execution=execution.name, index=index, labels=execution.labels, annotations=execution.annotations,
        create_time=now(), scheduled_time=now(), update_time=now(), containers=template.containers,
        volumes=template.volumes, max_retries=template.max_retries, timeout=template.timeout,
        service_account=template.service_account, etag=new_etag(), reconciling=True, log_uri=execution.log_uri,
        conditions=[condition("Completed", State.CONDITION_PENDING)],
    )  # fmt: skip


def overridden(template: Any, overrides: Any) -> Any:
    """The execution template with the overrides of one run. Raises InvalidArgument."""
    made = run_v2.ExecutionTemplate(template)
    made.task_count = overrides.task_count or made.task_count
    made.parallelism = min(made.parallelism, made.task_count)
    if overrides.timeout:
        made.template.timeout = overrides.timeout
    for override in overrides.container_overrides:
        _override(made.template.containers[0], override)
    check_numbers(made.task_count, made.parallelism, made.template)
    check_container(made.template)
    return made


def _override(container: Any, override: Any) -> None:
    if override.name and override.name != container.name:
        raise exceptions.InvalidArgument(f"overrides.container_overrides: no container is named '{override.name}'.")
    if override.args or override.clear_args:
        container.args = list(override.args)
    env = {variable.name: variable for variable in container.env}
    container.env = list((env | {variable.name: variable for variable in override.env}).values())
