"""Which revisions of a service proved themselves, and which one a roll-back means.

Safety property: a revision that was rolled back from is nothing to go back to, and a roll-back that is asked for twice,
because the first run was killed before it wrote itself down, does not go forward to what it left.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.models import Change


def verified(changes: Sequence[Change]) -> tuple[str, ...]:
    """The revisions that stand as verified, the newest first, from a service's changes, the newest first.

    A release is put on top; a roll-back takes away what was released after its target.
    """
    stack: list[str] = []
    for change in reversed(changes):
        revision = str(change.after.get("revision") or "")
        if change.kind not in ("deploy", "roll_back") or not change.after.get("verified") or not revision:
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
