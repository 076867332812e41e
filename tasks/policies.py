"""Every retry, and how long a step waits; the deadlines of single calls are in ``clients/deadlines.py``.

A task names exactly one: ``@task(**READ)``, ``@task(**WRITE)``, ``@task(**WAIT)`` or ``@task(**ONCE)``. Only
``TransientError`` is retried.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tasks.clients import deadlines
from tasks.errors import TransientError

BUILD_DEADLINE = deadlines.BUILD
MIGRATION_DEADLINE = deadlines.EXECUTION
SYNC_DEADLINE = timedelta(minutes=30)
BACKUP_DEADLINE = deadlines.SQL_OPERATION
REVISION_DEADLINE = deadlines.REVISION
TRAFFIC_DEADLINE = deadlines.TRAFFIC
#: How long a run waits for a person, with nothing held meanwhile; and how long an approval holds once it is given.
APPROVAL_DEADLINE = timedelta(hours=12)
APPROVAL_HOLDS = timedelta(hours=1)
#: How long a refused plan is not asked again.
REFUSAL_HOLDS = timedelta(hours=24)


def only_transient(task: Any, task_run: Any, state: Any) -> bool:
    """Retry a ``TransientError`` and nothing else. Prefect accepts a plain function only."""
    return isinstance(state.data, TransientError) if isinstance(state.data, BaseException) else _raised(state)


def _raised(state: Any) -> bool:
    try:
        state.result()
    except TransientError:
        return True
    except Exception:  # noqa: BLE001  any other exception is the verdict "do not retry"
        return False
    return False


def step_name() -> str:
    """The name of a task run as a person reads it: the step, and which service or object it is about."""
    from prefect.runtime import task_run

    step = str(task_run.task_name or "step").replace("_", " ")
    subject = next((found for value in task_run.parameters.values() if (found := _subject(value))), "")
    return f"{step}: {subject}" if subject else step


def _subject(value: Any) -> str:
    """The service, database or object that a parameter names; empty for a client, an estate or a flag."""
    if isinstance(value, str):
        return value[:60]
    for attribute in ("service", "name"):
        found = getattr(value, attribute, None)
        if isinstance(found, str):
            return found
    return ""


_NO_RESULT: dict[str, Any] = {"persist_result": False, "log_prints": False, "task_run_name": step_name}

#: A call that changes nothing.
READ: dict[str, Any] = {
    **_NO_RESULT, "retries": 4, "retry_delay_seconds": [0.2, 1, 3, 9], "retry_condition_fn": only_transient,
    "timeout_seconds": 300,
}
#: A call that changes something and is safe to repeat; the docstring says why.
WRITE: dict[str, Any] = {
    **_NO_RESULT, "retries": 4, "retry_delay_seconds": [0.2, 1, 3, 9], "retry_condition_fn": only_transient,
    "timeout_seconds": 1800,  # above the deadlines of a revision's start and of traffic, which say what failed
}
#: A call that waits for the outside for long; safe to repeat.
WAIT: dict[str, Any] = {
    **_NO_RESULT, "retries": 4, "retry_delay_seconds": [0.5, 2, 5, 15], "retry_condition_fn": only_transient,
    "timeout_seconds": 2 * 3600,
}
#: A call that must not be repeated blindly.
ONCE: dict[str, Any] = {**_NO_RESULT, "retries": 0, "timeout_seconds": 2 * 3600}
