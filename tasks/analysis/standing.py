"""What became of each commit that somebody released, read from the ledger's changes and the inbox's outcomes.

Safety property: a commit counts as rolled back as soon as one service of it was, and stays so until it is released once
more by hand: nothing that runs by itself undoes what a person or a canary decided. It counts as released only by a run
over all services, so that a release of one by hand keeps no delivery from releasing the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

from tasks.delivery_models import Delivery, Standing, StandingKind
from tasks.models import Change

#: Of one run's services the worst one counts.
_WORST = ("withdrawn", "tried", "partly", "released")


class _Known(NamedTuple):
    kind: StandingKind
    words: str
    run: str
    at: datetime
    by_hand: bool = False


def standings(
    changes: Iterable[Change], outcomes: Iterable[Delivery], services: Collection[str]
) -> dict[str, Standing]:
    """The standing of each commit.

    ``changes`` are those of the estate's ``services``, ``outcomes`` the deliveries with an outcome, in any order. A
    release that changed nothing is in the inbox alone, one that was made by hand in the ledger alone.
    """
    found: dict[str, _Known] = {}
    runs = set[str]()
    for one in sorted(outcomes, key=lambda one: (one.settled or one.received, one.id)):
        if one.run:
            runs.add(one.run)
            _note(found, one.commit, _of_delivery(one))
    served: dict[tuple[str, str], str] = {}
    for change in sorted(changes, key=lambda one: (one.at, one.id)):
        if change.kind == "deploy":
            commit = str(change.inputs.get("commit") or "")
            # What a delivery's run was over is what the estate has released by itself.
            _note(found, commit, _of_deploy(change, change.run in runs or _over_all(change, services)))
            if change.verdict == "released":
                served[change.subject, str(change.after.get("revision"))] = commit
        elif change.kind == "rotation":  # the same code once more, with another version of a secret
            before, after = (str(side.get("revision")) for side in (change.before, change.after))
            served[change.subject, after] = served.get((change.subject, before), "")
        elif change.kind == "roll_back" and change.verdict == "released":
            _note(found, served.get((change.subject, str(change.before.get("revision"))), ""), _of_roll_back(change))
    return {commit: _standing(known) for commit, known in found.items()}


def _standing(known: _Known) -> Standing:
    return Standing(kind=known.kind, words=known.words, at=known.at, by_hand=known.by_hand)


def _over_all(change: Change, services: Collection[str]) -> bool:
    """Whether its run was over all services. Lines of before that was written down are taken for such."""
    chosen = change.inputs.get("services")
    return chosen is None or set(services) <= set(chosen)


def _note(found: dict[str, _Known], commit: str, now: _Known) -> None:
    """A later run counts more than an earlier one, but one that came to nothing, or was of a part, leaves what was."""
    if not commit:
        return
    before = found.get(commit)
    if before is None:
        found[commit] = now
    elif before.run == now.run:
        worst = min(before, now, key=lambda one: _WORST.index(one.kind))
        found[commit] = worst._replace(at=max(before.at, now.at))
    elif now.kind in ("released", "withdrawn") or before.kind == "partly":
        found[commit] = now


def _of_delivery(one: Delivery) -> _Known:
    """When it was settled says nothing of when its run released it: the receiver may have been away."""
    if one.status == "failed":
        return _Known("tried", f"tried by run {one.run} without success", one.run, one.received)
    return _Known("released", f"released by run {one.run}", one.run, one.received)


def _of_deploy(change: Change, whole: bool) -> _Known:
    when = f"at {_minute(change.at)} by run {change.run}"
    if change.verdict == "released" and not whole:
        chosen = ", ".join(change.inputs.get("services", ()))
        return _Known("partly", f"released for {chosen} alone {when}", change.run, change.at)
    if change.verdict == "released":
        return _Known("released", f"released {when}", change.run, change.at)
    if change.after.get("judged_bad"):
        return _Known("withdrawn", f"rolled back by its canary {when}", change.run, change.at)
    return _Known("tried", f"tried {when} without success", change.run, change.at)


def _of_roll_back(change: Change) -> _Known:
    words = f"rolled back by {change.who or 'somebody'} at {_minute(change.at)}"
    return _Known("withdrawn", words, change.run, change.at, by_hand=True)


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
