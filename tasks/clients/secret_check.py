"""Tries a value at the provider that issued it.

Safety property: the value goes into one header of one request to one address that the estate names; redirects are not
followed, and no message holds it.
"""

from __future__ import annotations

import httpx
from pydantic import SecretStr

from tasks.clients import deadlines
from tasks.clients.discretion import discreet
from tasks.errors import PermanentError, TransientError
from tasks.estate.surroundings import SecretCheck


@discreet
def check(rule: SecretCheck, value: SecretStr, what: str) -> None:
    """Ask, and compare the answer's status. Raises PermanentError on another one, TransientError without an answer."""
    headers = {rule.header: f"{rule.prefix}{value.get_secret_value().strip()}"}
    try:
        answer = httpx.get(rule.url, headers=headers, timeout=deadlines.CALL_SECONDS, follow_redirects=False)
    except (httpx.HTTPError, ValueError) as error:  # a value that no header can hold is quoted by the error
        unsent = isinstance(error, ValueError | httpx.LocalProtocolError | httpx.UnsupportedProtocol)
        kind = PermanentError if unsent else TransientError
        raise kind(f"checking {what} at {rule.url} failed: {type(error).__name__}; see the address") from None
    if answer.status_code == rule.status:
        return
    kind = TransientError if answer.status_code in (408, 429) or answer.status_code >= 500 else PermanentError
    raise kind(
        f"checking {what} at {rule.url} failed: it answered {answer.status_code} instead of {rule.status}; "
        "add a version that its provider takes"
    )
