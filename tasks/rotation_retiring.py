"""Takes the old versions of a rotation out of use, and the old user with them.

Safety property: what still uses one was looked up just before; while anything does, nothing is changed and it is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from tasks.analysis.rotation_use import Blocker, blockers, old_versions, session_blockers, users_to_lock
from tasks.record import record_change
from tasks.rotation_changes import lock_users, retire_versions
from tasks.rotation_facts import await_sessions
from tasks.rotation_models import Retired
from tasks.rotation_releases import record_services, release_all
from tasks.rotation_senders import await_senders
from tasks.rotation_work import Work, serving_user


async def retire(work: Work) -> tuple[Blocker, ...]:
    """Take the older versions out of use; what still uses them, where something does, and then nothing is changed."""
    site, unit, wish = work.site, work.unit, work.wish
    targets = {name: number for name, number in work.targets.items() if name in unit.secrets}
    old, target = old_versions(work.ground, targets), targets[unit.main]
    held = blockers(unit, work.ground, old, targets, datetime.now(UTC), wish.emergency, kept=False)
    if old[unit.main]:
        held = (*held, *await await_senders(work, target))
    if held:
        return held
    await _accept_alone(work, target)
    held = blockers(unit, work.ground, old, targets, datetime.now(UTC), wish.emergency)
    if held:
        return held
    if wish.emergency:
        await _lock(work, old[unit.main], target)
    else:
        held = await _sessions_left(work, old[unit.main], target)
    if held:
        return held
    for name, numbers in old.items():
        for one in await retire_versions(site, name, numbers):
            undo = site.rotating_secrets.undo(name, one.number)
            work.retired.append(Retired(secret=name, version=one.number, destroyed_at=one.destroyed_at, undo=undo))
    if not wish.emergency:
        await _lock(work, old[unit.main], target)
    return ()


async def _accept_alone(work: Work, target: int) -> None:
    """End the overlap: receivers that accept an older version beside the new one are released with the new one alone.

    What is pinned to a version could not start any more once that is disabled.
    """
    both = tuple(name for name, number in work.ground.previous.items() if number != target)
    if both:
        await release_all(work, both, {})
        await work.look_again()
        await record_services(work)


def _to_lock(work: Work, old: tuple[int, ...], target: int) -> tuple[str, ...]:
    if work.ground.database is None:
        return ()
    users = work.site.estate.database(work.unit.database).users
    return users_to_lock(work.ground.database, users, old, target, work.mark)


async def _sessions_left(work: Work, old: tuple[int, ...], target: int) -> tuple[Blocker, ...]:
    """Wait for the sessions of the old users to end, as their revisions' instances do; those that did not."""
    users = _to_lock(work, old, target)
    if not users:
        return ()
    database = work.site.estate.database(work.unit.database)
    left = await await_sessions(work.site, database, target, users, work.wish.session_wait)
    assert work.ground.database is not None
    return session_blockers(work.ground.database.model_copy(update={"sessions": left}), users)


async def _lock(work: Work, old: tuple[int, ...], target: int) -> None:
    users = _to_lock(work, old, target)
    if users:
        database = work.site.estate.database(work.unit.database)
        await lock_users(work.site, database, users, target, work.wish.emergency)
        work.locked = tuple(sorted({*work.locked, *users}))


async def record_secret(work: Work) -> None:
    """Write down that the rotation is over. Safe to repeat: the version in use is the entry's key."""
    target = work.targets[work.unit.main]
    await record_change(
        work.site, "rotation", work.unit.name, "emergency" if work.wish.emergency else "rotation", "released",
        f"rotation/{work.site.estate.google.project}/{work.unit.main}/{target}", {"emergency": work.wish.emergency},
        {"versions": _numbers(work.retired), "user": ", ".join(work.locked)},
        {"versions": work.targets, "user": serving_user(work)},
    )


def _numbers(retired: Iterable[Retired]) -> dict[str, list[int]]:
    """The versions that were taken out of use, by secret."""
    found: dict[str, list[int]] = {}
    for one in retired:
        found.setdefault(one.secret, []).append(one.version)
    return found
