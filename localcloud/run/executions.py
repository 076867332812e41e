"""google.cloud.run.v2.Executions and Tasks.

Safety property: cancelling and deleting are written down first; the processes are ended even if the local cloud dies
in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.api_core import exceptions
from google.cloud import run_v2
from google.longrunning import operations_pb2

from localcloud.rpc import Servicer, rpc
from localcloud.run.book import check_etag, listed, not_found, validated
from localcloud.run.conditions import ExecutionReason, State, condition, now, put
from localcloud.run.job_book import JobBook
from localcloud.run.names import Name, parse
from localcloud.run.runner import Runner

if TYPE_CHECKING:
    from localcloud.cloud import Cloud


class Executions(Servicer):
    """The executions of all jobs."""

    service = "google.cloud.run.v2.Executions"

    def __init__(self, cloud: Cloud, book: JobBook, runner: Runner) -> None:
        self._operations, self._book, self._runner = cloud.operations, book, runner
        cloud.operations.register("run.cancel-execution", self._cancel)
        cloud.operations.register("run.delete-execution", self._delete)

    @rpc("GetExecution", run_v2.GetExecutionRequest, run_v2.Execution, writes=False, resource=lambda r: r.name)
    def get_execution(self, request: Any) -> Any:
        return self._book.execution(parse(request.name, "jobs", "executions"))

    @rpc("ListExecutions", run_v2.ListExecutionsRequest, run_v2.ListExecutionsResponse, writes=False,
         resource=lambda r: r.parent)
    def list_executions(self, request: Any) -> Any:
        """Newest first. ``-`` stands for every location or every job."""
        parent = parse(request.parent, "jobs")
        everywhere = self._book.executions.list(f"projects/{parent.project}/locations/")
        found = [execution for execution in everywhere if _under(execution.job, parent)]
        found.sort(key=lambda execution: execution.create_time, reverse=True)
        executions, token = listed(found, request)
        return run_v2.ListExecutionsResponse(executions=executions, next_page_token=token)

    @rpc("CancelExecution", run_v2.CancelExecutionRequest, operations_pb2.Operation, writes=True,
         resource=lambda r: r.name)
    def cancel_execution(self, request: Any) -> Any:
        """End a running execution's processes. Raises FailedPrecondition when it is over already."""
        name = parse(request.name, "jobs", "executions")
        with self._book.transaction():
            execution = self._book.execution(name)
            check_etag(request.etag, execution.etag, str(name))
            if execution.completion_time:
                raise exceptions.FailedPrecondition(
                    f"Execution '{name.rest.rpartition('/')[2]}' is completed and cannot be cancelled."
                )
            if request.validate_only:
                return validated(execution)
            cancelling = ExecutionReason.CANCELLING
            put(execution, condition("Completed", State.CONDITION_RECONCILING, "Cancelling execution.", cancelling))
            self._book.executions.put(str(name), execution)
        return self._begin(name, "run.cancel-execution", execution)

    @rpc("DeleteExecution", run_v2.DeleteExecutionRequest, operations_pb2.Operation, writes=True,
         resource=lambda r: r.name)
    def delete_execution(self, request: Any) -> Any:
        """Delete an execution; one that runs is cancelled first."""
        name = parse(request.name, "jobs", "executions")
        execution = self._book.execution(name)
        check_etag(request.etag, execution.etag, str(name))
        if request.validate_only:
            return validated(execution)
        return self._begin(name, "run.delete-execution", execution)

    def _begin(self, name: Name, kind: str, execution: Any) -> operations_pb2.Operation:
        with self._book.transaction():
            payload = {"execution": run_v2.Execution.to_json(execution)}
            operation = self._operations.start(name.parent, kind, payload, execution)
        self._operations.submit(operation.name)
        return operation

    def _cancel(self, operation: str, payload: dict[str, Any]) -> Any:
        execution = run_v2.Execution.from_json(payload["execution"])
        self._runner.cancel(execution.name)
        self._runner.wait(execution.name)
        return self._book.executions.get(execution.name) or execution

    def _delete(self, operation: str, payload: dict[str, Any]) -> Any:
        execution = self._cancel(operation, payload)
        with self._book.transaction():
            self._book.erase_execution(execution.name)
        execution.delete_time = now()
        return execution


class Tasks(Servicer):
    """The tasks of all executions."""

    service = "google.cloud.run.v2.Tasks"

    def __init__(self, book: JobBook) -> None:
        self._book = book

    @rpc("GetTask", run_v2.GetTaskRequest, run_v2.Task, writes=False, resource=lambda r: r.name)
    def get_task(self, request: Any) -> Any:
        name = parse(request.name, "jobs", "executions", "tasks")
        found = self._book.tasks.get(str(name))
        if found is None:
            raise not_found("TASK", name, name.rest.rpartition("/")[2])
        return found

    @rpc("ListTasks", run_v2.ListTasksRequest, run_v2.ListTasksResponse, writes=False, resource=lambda r: r.parent)
    def list_tasks(self, request: Any) -> Any:
        """In the order of their indices; ``-`` stands for every execution."""
        parent = parse(request.parent, "jobs", "executions")
        execution = parent.rest.rpartition("/")[2]
        prefix = f"{parent.top}/executions/" if execution == "-" else f"{parent}/tasks/"
        found = sorted(self._book.tasks.list(prefix), key=lambda task: (task.execution, task.index))
        tasks, token = listed(found, request)
        return run_v2.ListTasksResponse(tasks=tasks, next_page_token=token)


def _under(job: str, parent: Name) -> bool:
    name = parse(job, "jobs")
    return parent.location in ("-", name.location) and parent.id in ("-", name.id)
