"""One authenticated POST to a service of the estate."""

from __future__ import annotations

import httpx
from pydantic import SecretStr

from tasks.errors import NotAllowed, PermanentError, TransientError

CALL_SECONDS = 120.0
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


def post_json(url: str, token: SecretStr | None, subject: str) -> dict[str, object]:
    """POST with a bearer token and give the JSON object that came back.

    Raises TransientError for 408, 429, 5xx and a lost connection, NotAllowed for 401 and 403, PermanentError else.
    """
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    try:
        answer = httpx.post(url, headers=headers, timeout=CALL_SECONDS)
    except httpx.HTTPError as error:
        raise TransientError(
            f"calling {url} of {subject} failed: {type(error).__name__}; is the service up?"
        ) from error
    if answer.status_code in (401, 403):
        raise NotAllowed(f"calling {url} of {subject} failed: {answer.status_code}; check the token's secret")
    if answer.status_code in _TRANSIENT:
        raise TransientError(f"calling {url} of {subject} failed: {answer.status_code}; see the service's log")
    return _document(answer, url, subject)


def _document(answer: httpx.Response, url: str, subject: str) -> dict[str, object]:
    if not answer.is_success:
        raise PermanentError(
            f"calling {url} of {subject} failed: {answer.status_code} {' '.join(answer.text.split())[:200]}"
        )
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise PermanentError(f"calling {url} of {subject} failed: the answer is no JSON object; see the service's code")
    return document
