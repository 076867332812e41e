"""Whether an object is as a row remembers it, and whether the row is still true.

Safety property: everything that disagrees is counted. Only so many are kept to be told, and held against production's
rows of now, as memory allows; what was not held against them counts as wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from tasks.backup_models import Evidence, Reference
from tasks.clients.stored_objects import hexadecimal
from tasks.models import Frozen

#: How many disagreements are kept: some megabytes, where a whole bucket is gone.
KEPT = 10_000
SHOWN = 20
#: Length of an MD5 in hexadecimal; of a CRC32C it is 8.
MD5_LETTERS = 32


class Facts(Protocol):
    """What the bucket knows of an object. A composite object has no MD5: its ``md5`` is empty."""

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


class Tally:
    """What was seen of one source's objects so far."""

    def __init__(self, kept: int = KEPT) -> None:
        self.seen = self.wrong = self.without_md5 = 0
        self.first: list[Disagreement] = []
        self._kept = kept

    def add(self, references: Iterable[Reference], facts: Mapping[str, Facts | None]) -> None:
        """Look at some more references."""
        for reference in references:
            self.seen += 1
            known = facts[reference.name]
            self.without_md5 += known is not None and not comparable(reference, known)
            found = judge(reference, known)
            if found is None:
                continue
            self.wrong += 1
            if len(self.first) < self._kept:
                self.first.append(found)

    @property
    def names(self) -> list[str]:
        """The names that are to be asked of production."""
        return [item.reference.name for item in self.first]

    def evidence(self, name: str, bucket: str, which: str, now: Iterable[Reference]) -> list[Evidence]:
        """What is wrong, and how much was looked at; ``now`` is what production's rows say of ``names`` today."""
        rows = frozenset(now)
        real = [item for item in self.first if item.reference in rows]
        since, unheld = len(self.first) - len(real), self.wrong - len(self.first)
        lines = [Evidence(what=f"{item.said} (gs://{bucket})", ok=False) for item in real[:SHOWN]]
        if unheld:
            what = f"{name}: {unheld:,} more are wrong, and were not held against production's rows of now"
            lines.append(Evidence(what=what, ok=False))
        lines.append(
            Evidence(what=f"{name}: {self.seen:,} objects looked at, {which}, {len(real) + unheld} of them wrong")
        )
        if since:
            lines.append(Evidence(what=f"{name}: {since} were replaced or removed by the application since"))
        if self.without_md5:
            lines.append(
                Evidence(what=f"{name}: {self.without_md5} are composite, without an MD5: their size was compared")
            )
        return lines


def comparable(reference: Reference, facts: Facts) -> bool:
    """Whether the bucket knows the kind of checksum that a row remembers, if it remembers one."""
    return bool(facts.md5) or len(hexadecimal(reference.checksum)) != MD5_LETTERS


def judge(reference: Reference, facts: Facts | None) -> Disagreement | None:
    """What is wrong with an object that a row refers to; None where it is as remembered."""
    if facts is None:
        return _wrong(reference, "is missing")
    if reference.size is not None and reference.size != facts.size:
        return _wrong(reference, f"has {facts.size:,} bytes instead of {reference.size:,}")
    remembered = hexadecimal(reference.checksum)
    if remembered and comparable(reference, facts) and remembered not in (facts.md5, facts.crc32c):
        return _wrong(reference, f"has the checksum {facts.md5 or facts.crc32c}, the row says {remembered}")
    return None


def _wrong(reference: Reference, said: str) -> Disagreement:
    return Disagreement(reference=reference, said=f"object {reference.name} {said}")
