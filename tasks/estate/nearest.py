"""The nearest name to one that does not exist."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Give the way out for a name that does not exist: the nearest that does, else all of them."""
    near = get_close_matches(name.lower(), sorted(known), n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"known: {', '.join(sorted(known))}" if known else "there is none"
