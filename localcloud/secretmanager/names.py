"""Names of secrets and versions, as Secret Manager reads them.

Only global secrets: a regional one (``projects/P/locations/L/secrets/S``) is refused by name.
"""

from __future__ import annotations

import re

from google.api_core import exceptions

_PROJECT = re.compile(r"projects/[^/]+")
_SECRET = re.compile(r"projects/[^/]+/secrets/[A-Za-z0-9_-]{1,255}")
_VERSION = re.compile(r"(projects/[^/]+/secrets/[A-Za-z0-9_-]{1,255})/versions/([A-Za-z0-9_-]+)")
_REGIONAL = re.compile(r"projects/[^/]+/locations/")
_SECRET_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")


def project(name: str) -> str:
    """The name of a project, checked."""
    return _checked(_PROJECT, name, "projects/*")


def secret(name: str) -> str:
    """The name of a secret, checked."""
    return _checked(_SECRET, name, "projects/*/secrets/*")


def new_secret(parent: str, secret_id: str) -> str:
    """The name of a secret to be created."""
    if not _SECRET_ID.fullmatch(secret_id):
        raise exceptions.InvalidArgument(
            f"Secret id [{secret_id}] must have 1 to 255 letters, numerals, hyphens and underscores."
        )
    return f"{project(parent)}/secrets/{secret_id}"


def version(name: str) -> tuple[str, str]:
    """The secret's name, and the number or alias of its version."""
    found = _VERSION.fullmatch(_checked(_VERSION, name, "projects/*/secrets/*/versions/*"))
    assert found is not None
    return found.group(1), found.group(2)


def number(name: str) -> tuple[str, int]:
    """As ``version``, for calls that take no alias: a state is changed of a numbered version only."""
    parent, key = version(name)
    if not key.isdecimal():
        raise exceptions.InvalidArgument(f"[{name}] must name a version by its number.")
    return parent, int(key)


def _checked(pattern: re.Pattern[str], name: str, shape: str) -> str:
    if _REGIONAL.match(name):
        raise exceptions.MethodNotImplemented(f"the local cloud does not implement regional secrets: {name}")
    if not pattern.fullmatch(name):
        raise exceptions.InvalidArgument(f"The provided resource name [{name}] does not match the format '{shape}'.")
    return name
