"""What was released last and what a person rolled back since: what a release by itself must not undo. No I/O.

Safety property: a commit that does not hold the newest release is never released over it, on whatever branch that
release was: a side line, a branch that was rewritten, a release by hand from elsewhere. A person decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from tasks.analysis.ancestry import holding
from tasks.delivery_models import BranchHistory, Standing

#: How the outcome of a delivery reads that a person has to decide about.
TAKES_BACK = "would take back"
RELEASED = ("released", "partly")
WAY_OUT = "push a newer commit, or run deploy by hand"
_NEVER = datetime.min.replace(tzinfo=UTC)


class LastWord:
    """What a branch is judged by: read once from its graph and the standings, then asked for each commit."""

    def __init__(self, history: BranchHistory, standing: Mapping[str, Standing]) -> None:
        self._history, self._standing = history, standing
        self.newest = newest_released(history, standing)
        self._stand = holding(history, self.newest) if self.newest else frozenset(history.parents)
        self._back = {one: (at, holders) for one, at, holders in self._gone_back_from()}

    def _gone_back_from(self) -> Iterator[tuple[str, datetime, frozenset[str]]]:
        """The commits from which a person went back, when, and what holds them.

        By a roll-back, unless what was released since holds it again; or by releasing an older one by hand.
        """
        since = self._standing[self.newest].at if self.newest else _NEVER
        for one, known in self._standing.items():
            if known.kind == "withdrawn" and known.by_hand:
                holders = holding(self._history, one)
                if known.at > since or self.newest not in holders:
                    yield one, known.at, holders
            elif known.kind in RELEASED and one != self.newest and self.newest and one in self._stand:
                yield one, since, holding(self._history, one)

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

        It holds what a person went back from since: whoever pushed it did not know of that.
        """
        for one, (at, holders) in self._back.items():
            if commit in holders and at > told:
                known = self._standing[one]
                by = known.words if known.by_hand else f"from which somebody went back to {self.newest[:12]}"
                return f"{commit[:12]} holds {one[:12]}, {by} after it came; {WAY_OUT}"
        return ""


def newest_released(history: BranchHistory, standing: Mapping[str, Standing]) -> str:
    """The commit that was released last, wholly or partly, and not rolled back since; empty where there is none.

    It may be on another branch, or have been taken away by a force push. Of two in one moment it is the newer one.
    """
    place = {commit: -number for number, commit in enumerate(history.parents)}
    found = [commit for commit, one in standing.items() if one.kind in RELEASED]
    return max(found, key=lambda one: (standing[one].at, place.get(one, -len(place))), default="")
