"""Which releases a canary rolled back, and the release that each of them was to replace.

Safety property: only what the canary itself judged bad counts; a release that was held or interrupted blames nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from tasks.models import Change


class Regret(NamedTuple):
    """A commit that was rolled back, and the last one before it that proved itself."""

    service: str
    bad: str
    good: str
    at: datetime


def regrets(changes: Iterable[Change], since: datetime) -> tuple[Regret, ...]:
    """The rolled-back releases of a service since a time, of both of which the ledger knows the commit."""
    found, good = [], ""
    for change in sorted((one for one in changes if one.kind == "deploy"), key=lambda one: one.at):
        commit = str(change.inputs.get("commit") or "")
        if change.verdict == "released" and change.after.get("verified"):
            good = commit
        elif _judged_bad(change) and commit and good and change.at >= since:
            found.append(Regret(change.subject, commit, good, change.at))
    return tuple(found)


def _judged_bad(change: Change) -> bool:
    return change.verdict == "rolled_back" and bool(change.after.get("judged_bad"))


def shipped(changes: Iterable[Change]) -> frozenset[tuple[str, str]]:
    """The updates that this flow proposed: key and new version."""
    found = [change.after.get("updates", {}) for change in changes if change.kind == "dependencies"]
    return frozenset((key, version) for updates in found for key, version in updates.items())
