"""What was released last and what a person rolled back since: what a release by itself must not undo. No I/O.

Safety property: a commit that does not hold the newest release is never released over it, on whatever branch that
release was: a side line, a branch that was rewritten, a release by hand from elsewhere. A person decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from tasks.analysis.ancestry import holding
from tasks.delivery_models import BranchHistory, Standing

#: How the outcome of a delivery reads that a person has to decide about.
TAKES_BACK = "would take back"
WAY_OUT = "push a newer commit, or run deploy by hand"
_NEVER = datetime.min.replace(tzinfo=UTC)


class LastWord:
    """What a branch is judged by: read once from its graph and the standings, then asked for each commit."""

    def __init__(self, history: BranchHistory, standing: Mapping[str, Standing]) -> None:
        self._history, self._standing = history, standing
        self.newest = newest_released(history, standing)
        self._stand = holding(history, self.newest) if self.newest else frozenset(history.parents)
        since = standing[self.newest].at if self.newest else _NEVER
        # A release by hand after a roll-back is a person's too, and the newer word.
        back = {one for one, known in standing.items() if known.kind == "withdrawn" and known.by_hand}
        self._back = {one: holding(history, one) for one in back if standing[one].at > since}

    def taken_back_by(self, commit: str) -> str:
        """Why a commit must not follow what was released last: it does not hold it. Empty where it does."""
        if commit in self._stand:
            return ""
        what = f"{commit[:12]} {TAKES_BACK} {self.newest[:12]}, which is {self._standing[self.newest].words}"
        if self.newest in self._history.parents:
            return f"{what}; {WAY_OUT}"
        return f"{what} and is not on the branch {self._history.branch}; merge it, or run deploy by hand"

    def undone_by(self, commit: str, told: datetime) -> str:
        """Why a commit that was told of at this time must not be released; empty where it may.

        It holds what a person rolled back since: whoever pushed it did not know of that.
        """
        for one, holders in self._back.items():
            if commit in holders and self._standing[one].at > told:
                return f"{commit[:12]} holds {one[:12]}, {self._standing[one].words} after it came; {WAY_OUT}"
        return ""


def newest_released(history: BranchHistory, standing: Mapping[str, Standing]) -> str:
    """The commit that was released last, wholly or partly, and not rolled back since; empty where there is none.

    It may be on another branch, or have been taken away by a force push. Of two in one moment it is the newer one.
    """
    place = {commit: -number for number, commit in enumerate(history.parents)}
    found = [commit for commit, one in standing.items() if one.kind in ("released", "partly")]
    return max(found, key=lambda one: (standing[one].at, place.get(one, -len(place))), default="")
