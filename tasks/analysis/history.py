"""Which revisions of a service proved themselves, and which one a roll-back means.

Safety property: a revision that was rolled back from is nothing to go back to, and a roll-back that is asked for twice,
because the first run was killed before it wrote itself down, does not go forward to what it left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.models import Change

_RELEASES = ("deploy", "roll_back")


def verified(changes: Sequence[Change]) -> tuple[str, ...]:
    """The revisions that stand as verified, the newest first, from a service's changes, the newest first.

    A release is put on top; a roll-back takes away what was released after its target. A rotation puts a revision in
    the place of another: it is the same code, with a secret that is still valid.
    """
    stack: list[str] = []
    for change in reversed(changes):
        revision = str(change.after.get("revision") or "")
        if change.kind not in (*_RELEASES, "rotation") or not change.after.get("verified") or not revision:
            continue
        replaced = str(change.before.get("revision") or "")
        if change.kind == "rotation" and replaced in stack:
            stack[stack.index(replaced)] = revision
            continue
        if revision in stack:
            place = stack.index(revision)
            stack[place:] = stack[place + 1 :] if change.kind == "deploy" else []
        stack.append(revision)
    return tuple(reversed(stack))


def earlier(standing: Sequence[str], serving: str) -> str | None:
    """The revision to go back to from the one that serves.

    That is the one verified before it; where it was verified before the newest one, it itself: whoever went back to it
    did not come to write it down. None where there is none.
    """
    if serving not in standing:
        return standing[0] if standing else None
    place = list(standing).index(serving)
    if place:
        return serving
    return standing[1] if len(standing) > 1 else None


def of_last_release(changes: Mapping[str, Sequence[Change]], serving: Mapping[str, str]) -> frozenset[str]:
    """The services that the newest release changed: what "roll it back" means where no service is named.

    ``changes`` are each service's, the newest first; ``serving`` the revision that has its traffic. A service that was
    not part of the newest release stays: the revision before its own belongs to an older release still. Revisions that
    the ledger does not know came after all that it knows. Empty where it knows of no release.
    """
    standing = {name: verified(changes[name]) for name in serving}
    unknown = frozenset(name for name, revision in serving.items() if standing[name] and revision not in standing[name])
    if unknown:
        return unknown
    releases = {name: _release(changes[name], standing[name][0]) for name in serving if standing[name]}
    newest = max((found for found in releases.values() if found), key=lambda found: found.at, default=None)
    return frozenset(name for name, found in releases.items() if newest and found and found.run == newest.run)


def deployed_as(changes: Sequence[Change], revision: str) -> str:
    """The revision that was deployed, of which this one is a rotation's copy. ``changes``: the newest first."""
    for change in changes:
        if change.kind == "rotation" and change.after.get("revision") == revision:
            revision = str(change.before.get("revision") or revision)
    return revision


def _release(changes: Sequence[Change], revision: str) -> Change | None:
    """The newest deploy that saw a revision verified, or the one that a rotation put it in the place of."""
    revision = deployed_as(changes, revision)
    found = (item for item in changes if item.kind == "deploy" and item.after.get("verified"))
    return next((item for item in found if item.after.get("revision") == revision), None)
