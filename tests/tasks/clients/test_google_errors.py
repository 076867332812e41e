"""Google's errors become ours: by a table, since each line decides whether something is tried again."""

from __future__ import annotations

import pytest
import requests
import urllib3
from google.api_core import exceptions
from google.auth import exceptions as auth
from google.rpc import error_details_pb2

from tasks.clients.google_errors import Attempt, of_operation, translate, translated
from tasks.errors import BadInput, Conflict, Missing, NotAllowed, PermanentError, Refused, TransientError

ATTEMPT = Attempt("reading service api", "roles/run.viewer", "pyplots", "user:ada@example.org")

TABLE = [
    (exceptions.DeadlineExceeded("slow"), TransientError),
    (exceptions.ServiceUnavailable("down"), TransientError),
    (exceptions.ResourceExhausted("quota"), TransientError),
    (exceptions.TooManyRequests("quota"), TransientError),
    (exceptions.InternalServerError("oops"), TransientError),
    (exceptions.BadGateway("oops"), TransientError),
    (exceptions.GatewayTimeout("oops"), TransientError),
    (exceptions.Unknown("oops"), TransientError),
    (exceptions.Cancelled("reset"), TransientError),
    (exceptions.from_http_status(408, "request timeout"), TransientError),
    (exceptions.NotFound("no"), Missing),
    (exceptions.PermissionDenied("no"), NotAllowed),
    (exceptions.Unauthenticated("no"), NotAllowed),
    (exceptions.Forbidden("no"), NotAllowed),
    (exceptions.AlreadyExists("there"), Conflict),
    (exceptions.Aborted("etag"), Conflict),
    (exceptions.PreconditionFailed("412"), Conflict),
    (exceptions.InvalidArgument("bad"), BadInput),
    (exceptions.OutOfRange("bad"), BadInput),
    (exceptions.FailedPrecondition("state"), Refused),
    (exceptions.MethodNotImplemented("no"), PermanentError),
    (exceptions.DataLoss("lost"), PermanentError),
    (exceptions.RetryError("late", cause=exceptions.NotFound("no")), Missing),
    (exceptions.RetryError("late", cause=None), TransientError),
    (auth.DefaultCredentialsError("none"), NotAllowed),
    (auth.RefreshError("revoked"), NotAllowed),
    (auth.TransportError("net"), TransientError),
    (requests.exceptions.ConnectionError("net"), TransientError),
    (requests.exceptions.ReadTimeout("net"), TransientError),
    (requests.exceptions.ChunkedEncodingError("net"), TransientError),
    (urllib3.exceptions.ProtocolError("net"), TransientError),
]


@pytest.mark.parametrize(("theirs", "ours"), TABLE, ids=lambda value: getattr(value, "__name__", type(value).__name__))
def test_each_error_of_googles_has_one_of_ours(theirs, ours):
    error = translate(theirs, ATTEMPT)
    assert type(error) is ours
    assert str(error).startswith("reading service api failed: ")
    assert "; " in str(error)
    assert "\n" not in str(error)


def test_only_what_a_retry_may_clear_is_transient():
    transient = {type(theirs).__name__ for theirs, ours in TABLE if ours is TransientError}
    assert not transient & {"NotFound", "PermissionDenied", "InvalidArgument", "Aborted", "FailedPrecondition"}


def test_a_missing_permission_names_the_role_and_the_command():
    error = translate(exceptions.PermissionDenied("run.services.get denied"), ATTEMPT)
    assert str(error) == (
        "reading service api failed: PERMISSION_DENIED run.services.get denied; grant roles/run.viewer: gcloud "
        "projects add-iam-policy-binding pyplots --member=user:ada@example.org --role=roles/run.viewer"
    )


def test_a_disabled_api_names_the_command_that_enables_it():
    info = error_details_pb2.ErrorInfo(reason="SERVICE_DISABLED", metadata={"service": "run.googleapis.com"})
    error = translate(exceptions.PermissionDenied("disabled", error_info=info), ATTEMPT)
    assert "gcloud services enable run.googleapis.com --project=pyplots" in str(error)


def test_a_long_message_of_several_lines_becomes_one_line():
    error = translate(exceptions.InvalidArgument("first\n\n  second\t" + "x" * 5000), ATTEMPT)
    assert "first second" in str(error)
    assert len(str(error)) < 800


@pytest.mark.parametrize(
    "message",
    ["No such object: b/x", "GET https://storage.googleapis.com/upload?upload_id=s3cret: No such object: b/x",
     'GET http://h/b?alt=media: {"error": {"code": 404, "message": "No such object: b/x"}}: (404, <HTTPStatus.OK>)'],
)  # fmt: skip
def test_of_an_http_error_only_the_words_are_told(message):
    assert str(translate(exceptions.NotFound(message), ATTEMPT)).startswith(
        "reading service api failed: NOT_FOUND No such object: b/x; "
    )


def test_an_error_that_is_not_googles_passes_as_it_is():
    with pytest.raises(ZeroDivisionError), translated(ATTEMPT):
        1 / 0  # noqa: B018


def test_an_error_of_ours_passes_as_it_is():
    with pytest.raises(Refused, match=r"^no$"), translated(ATTEMPT):
        raise Refused("no")


def test_googles_error_stays_as_the_cause():
    theirs = exceptions.NotFound("no")
    with pytest.raises(Missing) as caught, translated(ATTEMPT):
        raise theirs
    assert caught.value.__cause__ is theirs


@pytest.mark.parametrize(
    ("code", "ours"),
    [(13, PermanentError), (9, PermanentError), (5, PermanentError), (3, PermanentError), (2, PermanentError),
     (14, TransientError), (4, TransientError), (8, TransientError), (10, Conflict), (7, NotAllowed)],
)  # fmt: skip
def test_how_an_operation_ended_decides_whether_it_is_tried_again(code, ours):
    assert type(of_operation(code, "Revision 'api-1' is not ready", ATTEMPT)) is ours
