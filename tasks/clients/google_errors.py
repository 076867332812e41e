"""The one translation of Google's errors into ours.

Safety property: only what a retry may clear becomes a ``TransientError``. A message is one line and never holds a
request's fields, so no secret can be in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tasks.errors import BadInput, Conflict, Missing, NotAllowed, OpsError, PermanentError, Refused, TransientError

MESSAGE_LIMIT = 600
_RETRYING_MAY = "retrying may clear this"
_LOG_IN = "log in: gcloud auth application-default login"


@dataclass(frozen=True)
class Attempt:
    """What is attempted (``reading service api``), the role that it needs, the way out where the caller knows it."""

    what: str
    role: str = ""
    project: str = ""
    member: str = ""
    way_out: str = ""

    def failed(self, kind: type[OpsError], came_back: str, way_out: str) -> OpsError:
        """An error of ours in one line."""
        return kind(f"{self.what} failed: {one_line(came_back)}; {way_out}")

    @property
    def grant(self) -> str:
        """The command that grants the missing role."""
        role = self.role or "a role with the permission named"
        return (
            f"grant {role}: gcloud projects add-iam-policy-binding {self.project or 'PROJECT'} "
            f"--member={self.member or 'MEMBER'} --role={self.role or 'ROLE'}"
        )


@contextmanager
def translated(attempt: Attempt) -> Iterator[None]:
    """Raise our error in the place of Google's; let any other pass as it is."""
    try:
        yield
    except OpsError:
        raise
    except Exception as error:
        ours = translate(error, attempt)
        if ours is None:
            raise
        raise ours from error


def translate(error: BaseException, attempt: Attempt) -> OpsError | None:
    """Our error for an error of Google's libraries or of their transports; None for any other."""
    from google.api_core import exceptions

    if isinstance(error, exceptions.RetryError):
        return translate(error.cause or TimeoutError(), attempt)
    if isinstance(error, exceptions.GoogleAPICallError):
        return _of_call(error, attempt)
    return _of_credentials(error, attempt) or _of_transport(error, attempt)


def of_operation(code: int, message: str, attempt: Attempt) -> OpsError:
    """Our error for the outcome of a long-running operation that was done and failed.

    Cloud Run tells a container that does not start with code 13 or 9 and a missing image with 5, so only
    UNAVAILABLE, DEADLINE_EXCEEDED and RESOURCE_EXHAUSTED are worth a retry, and a 5 is not ``Missing``: the object
    that was changed is there.
    """
    import grpc
    from google.api_core import exceptions

    error = exceptions.from_grpc_status(_status(grpc, code), message)
    came_back = _came_back(error)
    if error.grpc_status_code in _transient_statuses(grpc):
        return attempt.failed(TransientError, came_back, _RETRYING_MAY)
    if isinstance(error, exceptions.Aborted):
        return attempt.failed(Conflict, came_back, "read it anew and start again")
    if isinstance(error, exceptions.PermissionDenied):
        return attempt.failed(NotAllowed, came_back, attempt.way_out or "grant the role that the message names")
    return attempt.failed(PermanentError, came_back, attempt.way_out or "retrying cannot clear this")


def one_line(text: str) -> str:
    """A text without line breaks, not longer than a log line bears."""
    flat = re.sub(r"\s+", " ", text).strip().rstrip(".;")
    return flat if len(flat) <= MESSAGE_LIMIT else f"{flat[: MESSAGE_LIMIT - 1]}…"


def _of_call(error: Any, attempt: Attempt) -> OpsError:
    from google.api_core import exceptions

    came_back, out = _came_back(error), attempt.way_out
    if isinstance(error, exceptions.Forbidden | exceptions.Unauthorized):
        return attempt.failed(NotAllowed, came_back, _way_in(error, attempt))
    if isinstance(error, exceptions.NotFound):
        return attempt.failed(Missing, came_back, out or "check the name and the project in the estate file")
    if isinstance(error, exceptions.Conflict | exceptions.PreconditionFailed):
        return attempt.failed(Conflict, came_back, out or "read it anew and start again")
    if isinstance(error, exceptions.FailedPrecondition):
        return attempt.failed(Refused, came_back, out or "bring it into the state that the call needs")
    if isinstance(error, exceptions.MethodNotImplemented | exceptions.DataLoss):
        return attempt.failed(PermanentError, came_back, out or "retrying cannot clear this")
    if isinstance(error, exceptions.ServerError | exceptions.TooManyRequests | exceptions.Cancelled):
        return attempt.failed(TransientError, came_back, _RETRYING_MAY)
    if error.code == 408:
        return attempt.failed(TransientError, came_back, _RETRYING_MAY)
    if isinstance(error, exceptions.BadRequest):
        return attempt.failed(BadInput, came_back, out or "change the value that it names")
    return attempt.failed(PermanentError, came_back, out or "retrying cannot clear this")


def _way_in(error: Any, attempt: Attempt) -> str:
    from google.api_core import exceptions

    if isinstance(error, exceptions.Unauthorized):
        return _LOG_IN
    if getattr(error, "reason", None) == "SERVICE_DISABLED":
        service = (error.metadata or {}).get("service", "SERVICE")
        return f"enable the API: gcloud services enable {service} --project={attempt.project or 'PROJECT'}"
    return attempt.way_out or attempt.grant


def _of_credentials(error: BaseException, attempt: Attempt) -> OpsError | None:
    from google.auth import exceptions

    if not isinstance(error, exceptions.GoogleAuthError):
        return None
    if isinstance(error, exceptions.TransportError) or getattr(error, "retryable", False):
        return attempt.failed(TransientError, f"{type(error).__name__}: {error}", _RETRYING_MAY)
    return attempt.failed(NotAllowed, f"{type(error).__name__}: {error}", _LOG_IN)


def _of_transport(error: BaseException, attempt: Attempt) -> OpsError | None:
    """Lost connections: of requests and urllib3 below the storage client, of gRPC where nothing wrapped it."""
    import grpc
    import requests
    import urllib3

    lost = (
        requests.exceptions.ConnectionError, requests.exceptions.Timeout, requests.exceptions.ChunkedEncodingError,
        urllib3.exceptions.HTTPError, grpc.RpcError, ConnectionError, TimeoutError,
    )
    if isinstance(error, lost):
        return attempt.failed(TransientError, f"connection lost: {type(error).__name__}", _RETRYING_MAY)
    return None


def _came_back(error: Any) -> str:
    code = error.grpc_status_code.name if error.grpc_status_code is not None else str(error.code)
    return f"{code} {one_line(_words(error.message or ''))}"


def _words(message: str) -> str:
    """What Google said. The storage client puts the request's URL before it, and a download its whole answer."""
    told = re.search(r'"message":\s*"((?:[^"\\]|\\.)*)"', message)
    return told.group(1) if told else re.sub(r"^[A-Z]+ https?://\S+: ", "", message)


def _status(grpc: Any, code: int) -> Any:
    return next((status for status in grpc.StatusCode if status.value[0] == code), grpc.StatusCode.UNKNOWN)


def _transient_statuses(grpc: Any) -> tuple[Any, ...]:
    status = grpc.StatusCode
    return status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.RESOURCE_EXHAUSTED
