"""Errors of BigQuery's REST API, in its shape: the reason says what the HTTP status alone does not.

Statuses and reasons are those of https://cloud.google.com/bigquery/docs/error-messages; a quota is 403 there, where
other APIs say 429 (https://cloud.google.com/bigquery/docs/troubleshoot-quotas).
"""

from __future__ import annotations

from typing import Any

import grpc
from google.api_core import exceptions

_REASONS = {
    400: "invalid", 401: "authError", 403: "accessDenied", 404: "notFound", 409: "duplicate", 429: "rateLimitExceeded",
    500: "internalError", 501: "notImplemented", 502: "badGateway", 503: "backendError", 504: "backendError",
}  # fmt: skip


class QueryError(exceptions.BadRequest):
    """What is wrong with a query, with the reason that BigQuery gives: HTTP 400."""

    grpc_status_code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, message: str, reason: str = "invalidQuery") -> None:
        super().__init__(message)
        self.why = reason


def invalid(message: str) -> exceptions.GoogleAPICallError:
    return exceptions.InvalidArgument(message)


def invalid_query(message: str) -> QueryError:
    return QueryError(message)


def too_many_bytes(limit: int, needed: int) -> QueryError:
    """A query that would be billed for more than it may. The words are Google's."""
    message = f"Query exceeded limit for bytes billed: {limit}. {needed} or higher required."
    return QueryError(message, "bytesBilledLimitExceeded")


def no_dataset(project: str, dataset: str) -> exceptions.NotFound:
    return exceptions.NotFound(f"Not found: Dataset {project}:{dataset}")


def no_table(project: str, dataset: str, table: str) -> exceptions.NotFound:
    return exceptions.NotFound(f"Not found: Table {project}:{dataset}.{table}")


def no_job(project: str, job: str) -> exceptions.NotFound:
    return exceptions.NotFound(f"Not found: Job {project}:{job}")


def exists(what: str) -> exceptions.AlreadyExists:
    return exceptions.AlreadyExists(f"Already Exists: {what}")


def not_implemented(what: str) -> exceptions.MethodNotImplemented:
    return exceptions.MethodNotImplemented(f"the local cloud does not implement {what}")


def proto(error: exceptions.GoogleAPICallError) -> dict[str, str]:
    """An error as a job's status holds it."""
    return {"reason": _reason(error), "message": error.message, "domain": "global"}


def document(error: exceptions.GoogleAPICallError) -> tuple[int, dict[str, Any]]:
    """The HTTP status of an error and its body."""
    status = 403 if isinstance(error, exceptions.TooManyRequests) else int(error.code or 500)
    body = {"code": status, "message": error.message, "errors": [proto(error)], "status": _status(error)}
    return status, {"error": body}


def of_proto(stored: dict[str, str]) -> exceptions.GoogleAPICallError:
    """The error that a job ended with, as it was."""
    if stored["reason"] == "notFound":
        return exceptions.NotFound(stored["message"])
    if stored["reason"] == "notImplemented":
        return exceptions.MethodNotImplemented(stored["message"])
    return QueryError(stored["message"], stored["reason"])


def _reason(error: exceptions.GoogleAPICallError) -> str:
    if isinstance(error, QueryError):
        return error.why
    if isinstance(error, exceptions.TooManyRequests):
        return "rateLimitExceeded" if "rate limit" in error.message.lower() else "quotaExceeded"
    return _REASONS.get(int(error.code or 500), "internalError")


def _status(error: exceptions.GoogleAPICallError) -> str:
    code = error.grpc_status_code
    return code.name if isinstance(code, grpc.StatusCode) else "INTERNAL"
