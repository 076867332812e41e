"""Runs executions: tasks in parallel, attempts one after the other, every step written down before the next.

Safety property: a task that succeeded is never run again, and after a ``kill -9`` of the local cloud an attempt that is
under way is watched to its end instead of being repeated.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.api import monitored_resource_pb2
from google.api_core import exceptions
from google.cloud import run_v2
from google.rpc import code_pb2, status_pb2

from localcloud.run.attempts import Attempt, Outcome, Stopped
from localcloud.run.conditions import ExecutionReason, StartFailure, State, condition, now, put
from localcloud.run.containers import prepared
from localcloud.run.job_book import JobBook
from localcloud.run.names import Name, parse
from localcloud.run.output import Line, Source, entry

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

_MOST_AT_ONCE = 100
_COMPLETED = {True: State.CONDITION_SUCCEEDED, False: State.CONDITION_FAILED}


class Runner:
    """Runs every execution of every job."""

    def __init__(self, cloud: Cloud, book: JobBook, folder: Path) -> None:
        self._cloud, self._book, self._folder = cloud, book, folder
        self._cancels: dict[str, threading.Event] = {}
        self._overs: dict[str, threading.Event] = {}
        self._stop = threading.Event()
        self._at_work: set[str] = set()

    def run(self, name: str) -> Any:
        """Run an execution to its end; it may have been begun before. Raises FailedPrecondition when it failed."""
        execution = self._book.executions.get(name)
        if execution is None:
            raise exceptions.NotFound(f"Execution {name} was deleted.")
        if not execution.completion_time:
            self._at_work.add(name)
            try:
                self._run_tasks(execution)
                self._complete(name)
            finally:
                self._at_work.discard(name)
        _event(self._overs, name).set()
        return self._verdict(name, execution)

    def cancel(self, name: str) -> None:
        """Ask an execution to end."""
        _event(self._cancels, name).set()

    def wait(self, name: str) -> None:
        """Wait until an execution is over. Raises Stopped when the local cloud stops first."""
        while not _event(self._overs, name).wait(0.1):
            execution = self._book.executions.get(name)
            if execution is None or execution.completion_time:
                return
            if self._stop.is_set():
                raise Stopped

    def stop(self) -> None:
        """End the processes of all tasks; what they were doing counts as an attempt that failed."""
        self._stop.set()
        while self._at_work:
            time.sleep(0.02)

    def _run_tasks(self, execution: Any) -> None:
        width = min(execution.parallelism or execution.task_count, _MOST_AT_ONCE)
        self._change(execution.name, _begin)
        with ThreadPoolExecutor(max_workers=width, thread_name_prefix="task") as pool:
            futures = [pool.submit(self._run_task, task) for task in self._book.tasks_of(execution.name)]
        for future in futures:
            future.result()

    def _run_task(self, task: Any) -> None:
        while not task.completion_time:
            if self._stop.is_set():
                raise Stopped
            outcome, attempt = self._attempt(task)
            task = self._written(task, outcome)
            attempt.clear()

    def _attempt(self, task: Any) -> tuple[Outcome, Attempt]:
        attempt = Attempt(self._folder / f"{task.uid}-{task.retried}", self._taker(task))
        if _event(self._cancels, task.execution).is_set():
            return Outcome(cancelled=True, why="The execution was cancelled."), attempt
        self._start_task(task)
        try:
            return self._run_attempt(attempt, task), attempt
        except StartFailure as failure:
            return Outcome(exit_code=1, why=failure.message), attempt
        except (OSError, ValueError) as error:
            return Outcome(exit_code=127, why=f"The container failed to start: {error}"), attempt

    def _run_attempt(self, attempt: Attempt, task: Any) -> Outcome:
        name = parse(task.name, "jobs", "executions", "tasks")
        return attempt.run(
            lambda: prepared(self._cloud, name.project, task.containers[0], self._own_env(name, task)),
            task.timeout.total_seconds(), _event(self._cancels, task.execution), self._stop,
        )  # fmt: skip

    def _own_env(self, name: Name, task: Any) -> dict[str, str]:
        execution = self._book.executions.get(task.execution)
        return {
            "CLOUD_RUN_JOB": name.id,
            "CLOUD_RUN_EXECUTION": task.execution.rpartition("/")[2],
            "CLOUD_RUN_TASK_INDEX": str(task.index),
            "CLOUD_RUN_TASK_ATTEMPT": str(task.retried),
            "CLOUD_RUN_TASK_COUNT": str(execution.task_count if execution else 1),
        }

    def _taker(self, task: Any) -> Callable[[list[tuple[str, str]]], None]:
        source = _source(task)

        def take(lines: list[tuple[str, str]]) -> None:
            at = time.time()
            self._cloud.logs.write([entry(Line(source, stream, text, at)) for stream, text in lines])

        return take

    def _start_task(self, task: Any) -> None:
        with self._book.transaction():
            task.start_time = task.start_time or now()
            put(task, condition("Completed", State.CONDITION_RECONCILING))
            put(task, condition("Started", State.CONDITION_SUCCEEDED))
            self._put_task(task)

    def _written(self, task: Any, outcome: Outcome) -> Any:
        """Write an attempt's outcome down: the task is over, or its next attempt comes."""
        with self._book.transaction():
            _judge(task, outcome)
            self._put_task(task)
        return task

    def _put_task(self, task: Any) -> None:
        if self._book.tasks.get(task.name) is not None:
            self._book.tasks.put(task.name, task)
        self._change(task.execution, lambda execution: _count(execution, self._book.tasks_of(task.execution)))

    def _complete(self, name: str) -> None:
        def finish(execution: Any) -> None:
            tasks = self._book.tasks_of(name)
            _count(execution, tasks)
            _finish(execution, tasks)
            _refer(self._book, execution)

        self._change(name, finish)

    def _change(self, name: str, change: Callable[[Any], None]) -> None:
        with self._book.transaction():
            execution = self._book.executions.get(name)
            if execution is None:
                return
            change(execution)
            execution.update_time = now()
            self._book.executions.put(name, execution)

    def _verdict(self, name: str, before: Any) -> Any:
        execution = self._book.executions.get(name) or before
        completed = next(c for c in execution.conditions if c.type_ == "Completed")
        if completed.state != State.CONDITION_SUCCEEDED:
            raise exceptions.FailedPrecondition(completed.message)
        return execution


def _event(events: dict[str, threading.Event], name: str) -> threading.Event:
    # setdefault is one step; two threads get the same event.
    return events.setdefault(name, threading.Event())


def _begin(execution: Any) -> None:
    execution.start_time = execution.start_time or now()
    execution.observed_generation = execution.generation
    for kind in ("ResourcesAvailable", "ContainerReady", "Started"):
        put(execution, condition(kind, State.CONDITION_SUCCEEDED))


def _judge(task: Any, outcome: Outcome) -> None:
    task.update_time = now()
    task.last_attempt_result = run_v2.TaskAttemptResult(
        exit_code=outcome.exit_code, term_signal=outcome.signal,
        status=status_pb2.Status(code=code_pb2.OK if not outcome.why else code_pb2.UNKNOWN, message=outcome.why),
    )  # fmt: skip
    if outcome.why and not outcome.cancelled and task.retried < task.max_retries:
        task.retried += 1
        put(task, condition("Retry", State.CONDITION_RECONCILING, outcome.why))
        return
    task.completion_time, task.reconciling, task.observed_generation = now(), False, task.generation
    short = task.name.rpartition("/")[2]
    message = f"Task {short} failed with message: {outcome.why}" if outcome.why else ""
    reason = ExecutionReason.CANCELLED if outcome.cancelled else ExecutionReason.NON_ZERO_EXIT_CODE
    put(task, condition("Completed", _COMPLETED[not outcome.why], message, reason if outcome.why else None))


def _reason(task: Any) -> Any:
    return next(c for c in task.conditions if c.type_ == "Completed").execution_reason


def _ended(tasks: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """The tasks that succeeded, failed, were cancelled."""
    over = [task for task in tasks if task.completion_time]
    cancelled = [task for task in over if _reason(task) == ExecutionReason.CANCELLED]
    failed = [task for task in over if _reason(task) == ExecutionReason.NON_ZERO_EXIT_CODE]
    return [task for task in over if task not in cancelled and task not in failed], failed, cancelled


def _count(execution: Any, tasks: list[Any]) -> None:
    succeeded, failed, cancelled = map(len, _ended(tasks))
    execution.succeeded_count, execution.failed_count, execution.cancelled_count = succeeded, failed, cancelled
    execution.retried_count = sum(task.retried for task in tasks)
    execution.running_count = sum(1 for task in tasks if task.start_time and not task.completion_time)


def _finish(execution: Any, tasks: list[Any]) -> None:
    _, failed, cancelled = _ended(tasks)
    execution.completion_time, execution.reconciling = now(), False
    if cancelled:
        message, reason = "Execution was cancelled.", ExecutionReason.CANCELLED
    elif failed:
        message = next(c for c in failed[0].conditions if c.type_ == "Completed").message
        reason = ExecutionReason.NON_ZERO_EXIT_CODE
    else:
        message, reason = "", None
    put(execution, condition("Completed", _COMPLETED[reason is None], message, reason))


def _refer(book: JobBook, execution: Any) -> None:
    """Tell the job how its newest execution ended."""
    job = book.jobs.get(execution.job)
    if job is None or job.latest_created_execution.name != execution.name:
        return
    status = run_v2.ExecutionReference.CompletionStatus
    reference = job.latest_created_execution
    reference.completion_time = execution.completion_time
    completed = next(c for c in execution.conditions if c.type_ == "Completed")
    cancelled = completed.execution_reason == ExecutionReason.CANCELLED
    failed = status.EXECUTION_CANCELLED if cancelled else status.EXECUTION_FAILED
    succeeded = completed.state == State.CONDITION_SUCCEEDED
    reference.completion_status = status.EXECUTION_SUCCEEDED if succeeded else failed
    book.jobs.put(job.name, job)


def _source(task: Any) -> Source:
    name = parse(task.name, "jobs", "executions", "tasks")
    resource = monitored_resource_pb2.MonitoredResource(
        type="cloud_run_job", labels={"project_id": name.project, "location": name.location, "job_name": name.id}
    )
    labels = {
        "run.googleapis.com/execution_name": task.execution.rpartition("/")[2],
        "run.googleapis.com/task_index": str(task.index),
        "run.googleapis.com/task_attempt": str(task.retried),
    }
    return Source(name.project, resource, labels)
