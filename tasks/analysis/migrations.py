"""Which migrations are pending, and which must be undone to get back.

Safety property: a database at a revision that the code does not know is refused before anything is changed.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.errors import BadInput, Refused
from tasks.models import MigrationHistory, MigrationRevision


def current_of(rows: Sequence[str], database: str) -> str | None:
    """The revision in the rows of ``alembic_version``; None where no migration ever ran.

    Raises Refused for several rows: the schema stands on two branches at once.
    """
    if len(rows) > 1:
        raise Refused(
            f"reading the schema revision of {database} failed: it stands at {', '.join(sorted(rows))} at once; "
            "merge the branches with 'alembic merge' and apply the merge by hand"
        )
    return rows[0] if rows else None


def pending(current: str | None, history: MigrationHistory) -> tuple[MigrationRevision, ...]:
    """The revisions that lead from where a database stands to the head, in the order in which they are applied.

    Raises Refused where the source does not know the revision at which the database stands.
    """
    applied = _with_ancestors(current, history) if current else frozenset()
    return tuple(item for item in history.revisions if item.revision not in applied)


def undone(current: str, target: str, history: MigrationHistory) -> tuple[MigrationRevision, ...]:
    """The revisions whose downgrade leads from where a database stands back to ``target``, in that order.

    Raises Refused where the source does not know one of the two, or ``target`` is not behind ``current``.
    """
    applied, kept = _with_ancestors(current, history), _with_ancestors(target, history)
    if not kept <= applied:
        raise Refused(
            f"going back from schema revision {current} to {target} refused: {target} is not behind {current}; "
            "name a revision that is"
        )
    return tuple(item for item in reversed(history.revisions) if item.revision in applied - kept)


def revision(name: str, history: MigrationHistory) -> MigrationRevision:
    """A revision by name. Raises BadInput where the source has none of that name."""
    for item in history.revisions:
        if item.revision == name:
            return item
    raise BadInput(f"unknown schema revision {name} in {history.folder}; its head is {history.head}")


def _with_ancestors(name: str, history: MigrationHistory) -> frozenset[str]:
    known = {item.revision: item for item in history.revisions}
    if name not in known:
        raise Refused(
            f"planning the migration from schema revision {name} refused: the source in {history.folder} does not know "
            f"it, its head is {history.head}; deploy the code that made it, or restore the database to one it knows"
        )
    found: set[str] = set()
    ahead = [name]
    while ahead:
        here = ahead.pop()
        if here not in found:
            found.add(here)
            ahead.extend(known[here].down)
    return frozenset(found)
