"""Whether an object is as a row remembers it, and whether the row is still true."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from tasks.backup_models import Reference
from tasks.clients.stored_objects import hexadecimal
from tasks.models import Frozen


class Facts(Protocol):
    """What the bucket knows of an object."""

    @property
    def size(self) -> int: ...
    @property
    def md5(self) -> str: ...
    @property
    def crc32c(self) -> str: ...


class Disagreement(Frozen):
    """A reference that the bucket does not bear out, in words."""

    reference: Reference
    said: str


def judge(reference: Reference, facts: Facts | None) -> Disagreement | None:
    """What is wrong with an object that a row refers to; None where it is as remembered."""
    if facts is None:
        return _wrong(reference, "is missing")
    if reference.size is not None and reference.size != facts.size:
        return _wrong(reference, f"has {facts.size:,} bytes instead of {reference.size:,}")
    remembered = hexadecimal(reference.checksum)
    if remembered and remembered not in (facts.md5, facts.crc32c):
        return _wrong(reference, f"has the checksum {facts.md5 or facts.crc32c}, the row says {remembered}")
    return None


def outdated(item: Disagreement, now: Iterable[Reference]) -> bool:
    """Whether production's rows of now do not say any more what the copy's row said."""
    return item.reference not in [row for row in now if row.name == item.reference.name]


def _wrong(reference: Reference, said: str) -> Disagreement:
    return Disagreement(reference=reference, said=f"object {reference.name} {said}")
