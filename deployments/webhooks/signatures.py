"""Proves that a request was sent by who holds the secret.

Safety property: comparisons take the same time wherever a signature differs, and every enabled version of the secret is
tried, whichever fits. What comes out is "authentic" or "not", and never why not.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping

from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

#: A secret in the form of the Standard Webhooks specification: base64 behind a prefix. Others are taken as they are.
STANDARD_PREFIX = "whsec_"
#: A short secret can be found by trying: https://github.com/standard-webhooks/standard-webhooks asks for 24 bytes.
LEAST_BYTES = 16

_SIGNATURE = re.compile(r"v1,[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
_SECONDS = re.compile(r"[0-9]{1,12}")

Headers = Mapping[str, str]
Proof = Callable[[SecretStr, Headers, bytes], bool]


def proved_by(kind: str, secrets: Mapping[int, SecretStr], headers: Headers, body: bytes) -> int:
    """The version of the secret that proves the request, the newest one where several do; 0 where none does.

    ``headers``: those that stand exactly once, in small letters.
    """
    proof = PROOFS[kind]
    long_enough = {n: secret for n, secret in secrets.items() if len(secret.get_secret_value().encode()) >= LEAST_BYTES}
    # Every one is tried, for the same time whichever fits.
    found = [number for number, secret in long_enough.items() if proof(secret, headers, body)]
    return max(found, default=0)


def _github(secret: SecretStr, headers: Headers, body: bytes) -> bool:
    """https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries"""
    expected = "sha256=" + hmac.new(secret.get_secret_value().encode(), body, hashlib.sha256).hexdigest()
    return _same(expected, headers.get("x-hub-signature-256", ""))


def _standard(secret: SecretStr, headers: Headers, body: bytes) -> bool:
    """https://github.com/standard-webhooks/standard-webhooks: signed are id, time (5 min off at most) and body."""
    value, proper = secret.get_secret_value(), _proper(headers)
    try:
        webhook = Webhook(value if value.startswith(STANDARD_PREFIX) else value.encode())
        webhook.verify(body, proper, json_parse=False)
    except (WebhookVerificationError, ValueError):  # ValueError: a secret that is no base64, a body that is no UTF-8
        return False
    return True


def _proper(headers: Headers) -> dict[str, str]:
    """The three headers in their one right form: base64 and floats are read generously by the package."""
    found = {name: headers.get(name, "") for name in ("webhook-id", "webhook-timestamp", "webhook-signature")}
    signatures = [one for one in found["webhook-signature"].split(" ") if _SIGNATURE.fullmatch(one)]
    seconds = found["webhook-timestamp"] if _SECONDS.fullmatch(found["webhook-timestamp"]) else ""
    return {**found, "webhook-timestamp": seconds, "webhook-signature": " ".join(signatures)}


def _bearer(secret: SecretStr, headers: Headers, _body: bytes) -> bool:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and _same(secret.get_secret_value(), token)


def _same(expected: str, given: str) -> bool:
    """As bytes: a header may hold any of them, and for text beyond ASCII there is no comparison in constant time."""
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass"))


PROOFS: dict[str, Proof] = {"github": _github, "standard": _standard, "bearer": _bearer}
