"""Waits for Google's long-running operations.

Safety property: an operation that cannot be read is not an operation that failed; reading goes on until the deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.clients.google import UNRETRIED
from tasks.clients.google_errors import Attempt, of_operation, translated
from tasks.clients.polling import wait_for

#: Longest pause between two looks at an operation.
MOST = timedelta(seconds=2)


def finish(
    client: Any, operation: Any, attempt: Attempt, deadline: timedelta, on_poll: Callable[[Any], None] | None = None
) -> Any:
    """Wait for an operation that ``client`` started, and return it done (the raw ``google.longrunning.Operation``).

    Raises the error with which it ended, or TransientError at the deadline.
    """
    raw = getattr(operation, "operation", operation)
    if not raw.done:
        raw = wait_for(
            lambda: _read(client, raw.name, attempt), lambda o: bool(o.done), deadline, attempt.what,
            most=MOST, on_poll=on_poll,
        )
    if raw.HasField("error"):
        raise of_operation(raw.error.code, raw.error.message, attempt)
    return raw


def _read(client: Any, name: str, attempt: Attempt) -> Any:
    with translated(attempt):
        return client.transport.operations_client.get_operation(name, **UNRETRIED)


def moment(value: Any) -> datetime | None:
    """A timestamp of Google's as a plain aware datetime in UTC; None where it is not set."""
    if value is None:
        return None
    return datetime.combine(value.date(), value.time(), UTC)


def required_moment(value: Any) -> datetime:
    """A timestamp that is always set; the epoch where Google left it out all the same."""
    return moment(value) or datetime.fromtimestamp(0, UTC)


def short(resource: str) -> str:
    """The last part of a resource name."""
    return resource.rsplit("/", 1)[-1]
