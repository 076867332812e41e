"""Pages of a list, as Google's list methods give them. The token is where the next page begins."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TypeVar

from google.api_core import exceptions

Item = TypeVar("Item")


def page(items: Sequence[Item], size: int, token: str, *, default: int, most: int) -> tuple[list[Item], str]:
    """One page and the token of the next, empty at the end. Raises InvalidArgument for a token that is none."""
    if size < 0:
        raise exceptions.InvalidArgument("page_size must not be negative.")
    start = _read(token)
    end = start + min(size or default, most)
    return list(items[start:end]), base64.urlsafe_b64encode(f"from {end}".encode()).decode() if end < len(items) else ""


def _read(token: str) -> int:
    if not token:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token).decode().removeprefix("from "))
    except ValueError as error:
        raise exceptions.InvalidArgument(f"page_token '{token}' is not valid.") from error
