"""Resource names of Cloud Run, taken apart and put together."""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass

from google.api_core import exceptions

_PARENT = re.compile(r"projects/([^/]+)/locations/([^/]+)")
_SERVICE_ID = re.compile(r"[a-z]([a-z0-9-]{0,47}[a-z0-9])?")
_SUFFIX = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Name:
    """``projects/P/locations/L/KIND/ID``, with what follows in ``rest`` (``revisions/R``, ``executions/E``)."""

    project: str
    location: str
    kind: str
    id: str
    rest: str = ""

    def __str__(self) -> str:
        whole = f"{self.parent}/{self.kind}/{self.id}"
        return f"{whole}/{self.rest}" if self.rest else whole

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def top(self) -> Name:
        """The service or job that this belongs to."""
        return Name(self.project, self.location, self.kind, self.id)

    def child(self, rest: str) -> Name:
        return Name(self.project, self.location, self.kind, self.id, rest)


def parse(name: str, kind: str, *below: str) -> Name:
    """Take a full name apart, e.g. ``parse(name, "services", "revisions")``.

    Raises InvalidArgument when it is not a name of that kind.
    """
    parts = name.split("/")
    wanted = ["projects", "locations", kind, *below]
    if len(parts) != 2 * len(wanted) or parts[::2] != wanted or not all(parts[1::2]):
        raise exceptions.InvalidArgument(f"Invalid resource name '{name}'.")
    return Name(parts[1], parts[3], kind, parts[5], "/".join(parts[6:]))


def parse_parent(parent: str) -> tuple[str, str]:
    """Project and location of a parent. Raises InvalidArgument."""
    found = _PARENT.fullmatch(parent)
    if found is None:
        raise exceptions.InvalidArgument(f"Invalid parent '{parent}'.")
    return found.group(1), found.group(2)


def check_id(kind: str, identifier: str) -> None:
    """Refuse an id that is no DNS label of at most 49 characters. Raises InvalidArgument."""
    if not _SERVICE_ID.fullmatch(identifier):
        raise exceptions.InvalidArgument(
            f"Violation in {kind}: '{identifier}' must use only lowercase alphanumeric characters and dashes, cannot "
            "begin or end with a dash, and must be at most 49 characters long."
        )


def suffix(length: int) -> str:
    """Random letters and digits, as in Cloud Run's generated names."""
    return "".join(secrets.choice(_SUFFIX) for _ in range(length))
