"""Conditions of services, revisions, executions and tasks, in Google's words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.cloud.run_v2.types import Condition

State = Condition.State
Reason = Condition.CommonReason
RevisionReason = Condition.RevisionReason
ExecutionReason = Condition.ExecutionReason


class StartFailure(Exception):
    """A container could not be started; the message is Google's, ``reason`` goes into the condition."""

    def __init__(self, message: str, reason: Any) -> None:
        super().__init__(message)
        self.message, self.reason = message, reason


def condition(kind: str, state: Any, message: str = "", reason: Any = None) -> Condition:
    """A condition that changed now. ``reason`` is of any of the three kinds of reason."""
    made = Condition(type_=kind, state=state, message=message, last_transition_time=now())
    if isinstance(reason, RevisionReason):
        made.revision_reason = reason
    elif isinstance(reason, ExecutionReason):
        made.execution_reason = reason
    elif isinstance(reason, Reason):
        made.reason = reason
    return made


def now() -> datetime:
    return datetime.now(UTC)


def find(conditions: Any, kind: str) -> Condition | None:
    """The condition of a type, or None."""
    return next((c for c in conditions if c.type_ == kind), None)


def put(resource: Any, made: Condition) -> None:
    """Set a condition, in place of the one of the same type. An unchanged state keeps its transition time."""
    old = find(resource.conditions, made.type_)
    if old is not None and old.state == made.state:
        made.last_transition_time = old.last_transition_time
    kept = [c for c in resource.conditions if c.type_ != made.type_]
    resource.conditions = [made, *kept] if made.type_ in ("Ready", "Completed") else [*kept, made]


def succeeded(resource: Any, kind: str) -> bool:
    found = find(resource.conditions, kind)
    return found is not None and found.state == State.CONDITION_SUCCEEDED


def failed(resource: Any, kind: str) -> bool:
    found = find(resource.conditions, kind)
    return found is not None and found.state == State.CONDITION_FAILED


def message(resource: Any, kind: str) -> str:
    found = find(resource.conditions, kind)
    return found.message if found is not None else ""
