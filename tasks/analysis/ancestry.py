"""What stands on what in a branch's graph. No I/O.

Safety property: git's parents alone are asked. A commit of which it is not known that it holds another one does not.
"""

from __future__ import annotations

from collections.abc import Iterable

from tasks.delivery_models import BranchHistory


def contained(history: BranchHistory, commits: Iterable[str]) -> frozenset[str]:
    """These commits and all that they stand on, as far as the branch has them."""
    found: dict[str, str] = {}
    spread(history, list(commits), "", found)
    return frozenset(found)


def spread(history: BranchHistory, ahead: list[str], origin: str, found: dict[str, str]) -> None:
    """Walk to the parents, up to what is known already: all that it stands on is known too."""
    while ahead:
        commit = ahead.pop()
        if commit in history.parents and commit not in found:
            found[commit] = origin
            ahead.extend(history.parents[commit])


def holding(history: BranchHistory, commit: str) -> frozenset[str]:
    """The commits of the branch that hold this one, itself among them; none where the branch does not have it."""
    found = {commit} & history.parents.keys()
    for one, parents in reversed(history.parents.items()):
        if found.intersection(parents):
            found.add(one)
    return frozenset(found)
