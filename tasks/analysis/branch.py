"""Which of the deliveries that wait is released, and what becomes of the others: judged on git's graph alone.

What is promised: of several commits the newest is released; one that is part of what somebody released, or tried to
release later, is not; what a person or a canary rolled back stays back until the branch moves past it; and what would
take back the newest release, as a side line or a rewritten branch would, is a person's to decide. Every delivery gets
one outcome, and never a second.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from tasks.analysis.ancestry import contained, spread
from tasks.analysis.last_word import TAKES_BACK, WAY_OUT, LastWord
from tasks.delivery_models import BranchHistory, Delivery, Judgement, Settlement, Standing

#: A forge may announce a commit a moment before it serves it.
NOT_THERE_YET = timedelta(minutes=2)


class _Ground(NamedTuple):
    """What every delivery is judged by. ``covered`` as ``covering`` gives it."""

    history: BranchHistory
    standing: Mapping[str, Standing]
    covered: Mapping[str, str]
    last: LastWord
    now: datetime


def judge(
    waiting: Sequence[Delivery], history: BranchHistory, tags: Mapping[str, str], standing: Mapping[str, Standing],
    under_way: Delivery | None, hold: str, now: datetime,
) -> Judgement:
    """Decide about the waiting deliveries, oldest first.

    ``tags``: the commit of each tag that a delivery names, empty where there is none. ``standing``: what is known of
    commits that somebody released. ``under_way``: the delivery whose commit is being released. ``hold``: why nothing
    may be released now; those that could be wait on.
    """
    ground = _Ground(history, standing, covering(history, standing), LastWord(history, standing), now)
    settled: list[Settlement] = []
    candidates: list[tuple[Delivery, str]] = []
    for one in waiting:
        commit = _commit(one, history, tags)
        outcome = _outcome(one, commit, ground)
        if outcome is not None:
            settled.append(outcome)
        elif commit in history.parents:
            candidates.append((one, commit))
    if under_way is not None:
        return Judgement(settled=(*settled, *_part_of(candidates, under_way, history)))
    if hold or not candidates:
        return Judgement(settled=tuple(settled))
    return _choose(settled, candidates, history)


def _commit(one: Delivery, history: BranchHistory, tags: Mapping[str, str]) -> str:
    if one.tag:
        return tags.get(one.tag, "")
    return one.commit or history.head


def _outcome(one: Delivery, commit: str, ground: _Ground) -> Settlement | None:
    """The outcome of a delivery that is no candidate; None for a candidate, and for one that is waited for."""
    history = ground.history
    if one.branch and one.branch != history.branch:
        followed = history.branch or "none is checked out"
        return _ignored(one, f"{one.branch} is not the branch that is released: {followed}")
    if commit not in history.parents:
        patient = one.received + NOT_THERE_YET > ground.now
        what = f"tag {one.tag}" if one.tag and not commit else f"commit {commit[:12]}"
        return None if patient else _ignored(one, f"{what} is not on the branch {history.branch}")
    newer = ground.covered.get(commit)
    if newer:
        return _covered_outcome(one, commit, newer, ground.standing[newer])
    why = ground.last.taken_back_by(commit) or ground.last.undone_by(commit, one.received)
    aloud = commit == history.head  # of an older one nobody need hear: the head is judged by itself
    return Settlement(id=one.id, status="ignored", note=why, commit=commit, aloud=aloud) if why else None


def _covered_outcome(one: Delivery, commit: str, newer: str, known: Standing) -> Settlement:
    part = f"{commit[:12]} is" if newer == commit else f"{commit[:12]} is part of {newer[:12]}, which is"
    if known.kind == "released":
        return Settlement(id=one.id, status="already_released", note=f"{part} {known.words}")
    if known.kind == "partly":
        part = f"{commit[:12]} {TAKES_BACK} {newer[:12]}, which is"
    return _ignored(one, f"{part} {known.words}; {WAY_OUT}")


def _ignored(one: Delivery, why: str) -> Settlement:
    return Settlement(id=one.id, status="ignored", note=why)


def covering(history: BranchHistory, standing: Mapping[str, Standing]) -> dict[str, str]:
    """Each commit of the branch that must not be released by itself, with the one that says so.

    What was released covers itself and all that it stands on, and so does what was rolled back. What was only tried,
    or released for some services alone, covers what is older: it itself may be released where somebody asks for it.
    """
    found: dict[str, str] = {}
    for kind in ("released", "withdrawn", "tried", "partly"):
        for commit in (one for one in history.parents if one in standing and standing[one].kind == kind):
            ahead = list(history.parents[commit]) if kind in ("tried", "partly") else [commit]
            spread(history, ahead, commit, found)
    return found


def _part_of(
    candidates: Collection[tuple[Delivery, str]], under_way: Delivery, history: BranchHistory
) -> list[Settlement]:
    part = contained(history, [under_way.commit])
    return [_superseded(one, under_way) for one, commit in candidates if commit in part]


def _choose(
    settled: Sequence[Settlement], candidates: Sequence[tuple[Delivery, str]], history: BranchHistory
) -> Judgement:
    """The newest commit of those that wait: in git's topological order no commit comes after its parents.

    What it holds it stands for; another line waits for its own turn, when it is judged against this release.
    """
    wanted = {commit for _, commit in candidates}
    newest = next(commit for commit in history.parents if commit in wanted)
    carrier = next(one for one, commit in candidates if commit == newest)
    part = contained(history, [newest])
    others = [_superseded(one, carrier) for one, commit in candidates if one.id != carrier.id and commit in part]
    return Judgement(settled=(*settled, *others), carrier=carrier.id, commit=newest)


def _superseded(one: Delivery, by: Delivery) -> Settlement:
    return Settlement(id=one.id, status="superseded", note=f"superseded by delivery {by.name}")
