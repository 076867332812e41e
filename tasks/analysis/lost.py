"""Whether the branch has something that nobody was told of: a delivery that never came.

What is promised: a commit for which there was a delivery, a release or a try of one is never lost; neither is one that
was on the branch when a person released something else by hand. What was rolled back stays back, and what would take
back the newest release is a person's to decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from tasks.analysis.branch import covering
from tasks.analysis.last_word import LastWord
from tasks.delivery_models import BranchHistory, Delivery, Standing
from tasks.models import Change

#: Whom what reconcile puts into the inbox comes from.
RECONCILE = "reconcile"


#: A delivery of reconcile's own that came to nothing without a run is followed by the next one after this time.
AGAIN_AFTER = timedelta(hours=1)


class Found(NamedTuple):
    """What is to be done about the branch's newest commit: nothing, note it as seen, or release it.

    ``tries``: how many deliveries of reconcile's own told of it already, and failed without a run. ``aloud``: a person
    must decide.
    """

    kind: Literal["nothing", "seen", "lost"]
    why: str
    tries: int = 0
    aloud: bool = False


def look(
    history: BranchHistory, standing: Mapping[str, Standing], changes: Sequence[Change], known: Sequence[Delivery],
    now: datetime,
) -> Found:
    """Judge the head of the branch.

    ``changes`` are those of the estate's services, ``known`` the deliveries that are open or named a commit.
    """
    head = history.head
    by = covering(history, standing).get(head)
    if by is not None:
        return Found("nothing", f"{head[:12]} is {standing[by].words}")
    if head in standing and standing[head].kind == "tried":
        return Found("nothing", f"{head[:12]} was {standing[head].words}; run deploy by hand to try it again")
    told = next((one for one in known if _tells_of(one, head, now)), None)
    if told is not None:
        return Found("nothing", f"{head[:12]} came with delivery {told.name}: {told.note or told.status}")
    last = LastWord(history, standing)
    if why := last.taken_back_by(head):
        return Found("seen", why, aloud=True)
    told_before = (last.undone_by(head, one.received) for one in known if one.commit == head)
    if why := next(filter(None, told_before), ""):
        return Found("nothing", why)
    released = [change for change in changes if change.kind == "deploy" and change.verdict == "released"]
    if not released:
        return Found("nothing", "nothing was ever released; the first release is a person's")
    return _after(head, max(released, key=lambda change: change.at), history, known)


def _tells_of(one: Delivery, head: str, now: datetime) -> bool:
    """Whether a delivery is about the head: what waits may mean it, and what was ignored counts where we ignored it.

    One that failed without a run told nobody of it; where it was ours, the next one waits for a while.
    """
    if one.settled is None:
        return one.commit in ("", head)
    if one.commit != head:
        return False
    if _came_to_nothing(one):
        return one.source == RECONCILE and one.settled + AGAIN_AFTER > now
    return one.status != "ignored" or one.source == RECONCILE


def _came_to_nothing(one: Delivery) -> bool:
    return one.status == "failed" and not one.run


def _after(head: str, last: Change, history: BranchHistory, known: Sequence[Delivery]) -> Found:
    """A release by hand of what is not on the branch is somebody's will until the branch moves on from where it was.

    What a delivery released was on the branch, though a force push may have taken it away since.
    """
    commit = str(last.inputs.get("commit") or "")
    by_hand = commit not in history.parents and last.run not in {one.run for one in known if one.run}
    if by_hand and not any(one.received > last.at and _moves(one, history) for one in known):
        elsewhere = f"{last.subject} was released from elsewhere at {last.at:%Y-%m-%d %H:%M} UTC"
        return Found("seen", f"{elsewhere}: the branch counts from {head[:12]}")
    tries = sum(one.source == RECONCILE and one.commit == head and _came_to_nothing(one) for one in known)
    return Found("lost", f"no delivery told of {head[:12]}", tries)


def _moves(one: Delivery, history: BranchHistory) -> bool:
    """Whether a delivery says that the branch moved: a ping, another branch and a repetition say nothing of it."""
    if one.source == RECONCILE:
        return True
    return one.commit in history.parents and one.status not in ("ignored", "already_released")
