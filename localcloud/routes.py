"""What the JSON APIs on HTTP share: which path is which call, and a body that is a JSON object."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

from google.api_core import exceptions

Work = TypeVar("Work")


@dataclass(frozen=True)
class Route(Generic[Work]):
    """One call: its verb and path, its name in the call log, what does its work, whether it changes anything."""

    verb: str
    path: str
    name: str
    work: Work
    writes: bool
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", path_pattern(self.path))


def path_pattern(path: str) -> re.Pattern[str]:
    """A path with ``{names}`` as a pattern; a name is one segment, still quoted."""
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


def chosen(routes: Iterable[Route[Work]], verb: str, path: str) -> tuple[Route[Work], dict[str, str]] | None:
    """The first route of this verb and path, with what stands for its names; None where there is none."""
    for route in routes:
        if route.verb == verb and (found := route.pattern.fullmatch(path)):
            return route, named(found)
    return None


def named(found: re.Match[str]) -> dict[str, str]:
    """What stands for the names of a path, unquoted."""
    return {name: unquote(text) for name, text in found.groupdict().items()}


def json_object(body: bytes, invalid: Callable[[str], exceptions.GoogleAPICallError]) -> dict[str, Any]:
    """The body as a JSON object, empty for an empty one; raises what ``invalid`` makes of the reason."""
    try:
        found = json.loads(body or b"{}")
    except ValueError as error:
        raise invalid(f"Parse Error: {error}") from error
    if not isinstance(found, dict):
        raise invalid("Parse Error: the body is not a JSON object")
    return found
