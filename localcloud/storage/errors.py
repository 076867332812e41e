"""Errors of the JSON API, in its shape (https://cloud.google.com/storage/docs/json_api/v1/status-codes)."""

from __future__ import annotations

from typing import Any

import grpc
from google.api_core import exceptions

_REASONS = {
    400: "invalid", 401: "required", 403: "forbidden", 404: "notFound", 409: "conflict", 412: "conditionNotMet",
    416: "requestedRangeNotSatisfiable", 429: "rateLimitExceeded", 500: "internalError", 501: "notImplemented",
    503: "backendError", 504: "backendError",
}  # fmt: skip


class ConditionNotMet(exceptions.PreconditionFailed):
    """A precondition of a call does not hold: HTTP 412."""

    grpc_status_code = grpc.StatusCode.FAILED_PRECONDITION

    def __init__(self, where: str) -> None:
        super().__init__("At least one of the pre-conditions you specified did not hold.")
        self.where = where


class NotModified(exceptions.NotModified):
    """What was asked for has not changed: HTTP 304, without a body."""

    grpc_status_code = grpc.StatusCode.FAILED_PRECONDITION


class Conflict(exceptions.Conflict):
    """The state of a bucket forbids the call: HTTP 409."""

    grpc_status_code = grpc.StatusCode.FAILED_PRECONDITION


class NotInRange(exceptions.RequestRangeNotSatisfiable):
    """The bytes asked for do not exist: HTTP 416."""

    grpc_status_code = grpc.StatusCode.OUT_OF_RANGE

    def __init__(self, size: int) -> None:
        super().__init__("Request range not satisfiable")
        self.size = size


def no_bucket() -> exceptions.NotFound:
    return exceptions.NotFound("The specified bucket does not exist.")


def no_object(bucket: str, name: str) -> exceptions.NotFound:
    return exceptions.NotFound(f"No such object: {bucket}/{name}")


def invalid(message: str) -> exceptions.InvalidArgument:
    return exceptions.InvalidArgument(message)


def not_implemented(what: str) -> exceptions.MethodNotImplemented:
    return exceptions.MethodNotImplemented(f"the local cloud does not implement {what}")


def document(error: exceptions.GoogleAPICallError) -> tuple[int, dict[str, Any]]:
    """The HTTP status of an error and its body."""
    status = int(error.code or 500)
    detail = {"message": error.message, "domain": "global", "reason": _REASONS.get(status, "internalError")}
    if isinstance(error, ConditionNotMet):
        detail |= {"locationType": "header", "location": error.where}
    return status, {"error": {"code": status, "message": error.message, "errors": [detail]}}
