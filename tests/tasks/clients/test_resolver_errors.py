"""What a resolver said, as an error that says whether a retry may help."""

from __future__ import annotations

import pytest

from tasks.clients.program import Ended
from tasks.clients.resolver_errors import Unsolvable, failure
from tasks.errors import BadInput, NotAllowed, OpsError, PermanentError, TransientError


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("error: No solution found when resolving dependencies", Unsolvable),
        ("npm error code ERESOLVE", Unsolvable),
        ("npm error code EUSAGE `npm ci` can only install packages when they are in sync", BadInput),
        ("error: Building source distributions is disabled", BadInput),
        ("npm error code E401 Unable to authenticate", NotAllowed),
        ("error: HTTP status client error (403 Forbidden) for url", NotAllowed),
        ("error: Request failed after 3 retries", TransientError),
        ("npm error code E503 Service Unavailable", TransientError),
        ("npm error code ECONNREFUSED", TransientError),
        ("error: hash mismatch, sha256:ae50be401", PermanentError),
    ],
)
def test_the_kind_of_an_error_is_read_from_what_the_resolver_said(said: str, kind: type[OpsError]) -> None:
    error = failure("resolving uv.lock", Ended(2, "", said))
    assert type(error) is kind
    assert said.split()[-1] in str(error)


def test_credentials_of_an_index_are_not_in_the_message() -> None:
    error = failure("resolving", Ended(2, "", "error: failed to fetch https://me:hunter2@index.example/simple/"))
    assert "hunter2" not in str(error)
