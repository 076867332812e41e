"""Preconditions on generations (https://cloud.google.com/storage/docs/request-preconditions).

Safety property: they are judged in the transaction that writes, so that of two writers with the same precondition one
alone succeeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localcloud.storage import errors


@dataclass(frozen=True)
class Conditions:
    """What must hold of the object or bucket that a call is about. Nothing that exists has generation 0."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def read(cls, query: Mapping[str, str], prefix: str = "if") -> Conditions:
        """Of a query: ``ifGenerationMatch`` and its like; with the prefix ``ifSource``, those of a copy's source."""
        return cls(
            number(query, f"{prefix}GenerationMatch"),
            number(query, f"{prefix}GenerationNotMatch"),
            number(query, f"{prefix}MetagenerationMatch"),
            number(query, f"{prefix}MetagenerationNotMatch"),
        )

    def check(self, current: Mapping[str, Any] | None, *, reading: bool = False) -> None:
        """Raise ConditionNotMet, or NotModified where a read asked for something newer, unless all of them hold."""
        found = {"generation": int(current.get("generation", 0)) if current else 0,
                 "metageneration": int(current["metageneration"]) if current else 0}  # fmt: skip
        for field, value in found.items():
            wanted, unwanted = getattr(self, f"{field}_match"), getattr(self, f"{field}_not_match")
            if wanted is not None and wanted != value:
                raise errors.ConditionNotMet("If-Match")
            if unwanted is not None and unwanted == value:
                raise errors.NotModified("Not Modified") if reading else errors.ConditionNotMet("If-None-Match")


def number(query: Mapping[str, str], name: str) -> int | None:
    """A number of a query, None when it is not there. Raises InvalidArgument."""
    text = query.get(name, "")
    if not text:
        return None
    if not text.isdecimal():
        raise errors.invalid(f"Invalid value '{text}' for {name}: it is not a number.")
    return int(text)
