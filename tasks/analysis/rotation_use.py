"""What still uses an old version of a secret. No I/O.

Safety property: a version is in use while anything that serves, is reached by a tag, could be rolled back to, or runs
as a job is pinned to it, or while a session of its user is open. Nothing is taken out of use on an assumption.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from tasks.analysis import history
from tasks.analysis.rotation import SHOWN, Unit
from tasks.models import Change, Frozen
from tasks.rotation_models import (
    DatabaseGround,
    Reference,
    RotationGround,
    RotationMark,
    RotationOutcome,
    RotationVerdictName,
    SecretState,
)

#: How long an old version stays in use for revisions that could be rolled back to.
ROLLBACK_WINDOW = timedelta(days=7)


class Blocker(Frozen):
    """What still uses an old version, and the way out. ``until``: it goes away by itself then."""

    what: str
    way_out: str = ""
    until: datetime | None = None


def old_versions(ground: RotationGround, targets: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """The enabled versions of each secret that are older than the one in use."""
    return {
        name: tuple(version.number for version in ground.secrets[name].enabled() if version.number < targets[name])
        for name in targets
    }


def blockers(
    unit: Unit, ground: RotationGround, old: Mapping[str, Sequence[int]], targets: Mapping[str, int], now: datetime,
    emergency: bool, kept: bool = True,
) -> tuple[Blocker, ...]:
    """What still uses one of the old versions. In an emergency what could be rolled back to does not count.

    ``targets`` are the versions in use, by secret. Without ``kept`` it is what stands in the way of receivers that are
    to accept the new version alone.
    """
    found: list[Blocker] = []
    for reference in ground.references:
        if reference.number not in old.get(reference.secret, ()) or not reference.why:
            continue
        if reference.until is not None and (emergency or reference.until <= now):
            continue
        if reference.kept and not kept:
            continue
        found.append(_blocker(reference, targets.get(reference.secret, 0)))
    known = {(one.secret, one.version) for one in ground.references if one.why}
    found += (_of_alias(*one, targets.get(one[0], 0)) for one in _aliases(ground, old) if one[:2] not in known)
    if unit.overlap and not emergency and any(old.values()):
        version = ground.secrets[unit.main].version(targets[unit.main])
        until = version.created + unit.overlap if version else now
        if until > now:
            found.append(Blocker(what=f"old and new version of {unit.main} are both valid", until=until))
    return tuple(found)


def _aliases(ground: RotationGround, old: Mapping[str, Sequence[int]]) -> Iterable[tuple[str, str, int]]:
    """(secret, alias, version) of each alias that stands for an old version."""
    for secret, numbers in old.items():
        for alias, number in sorted(ground.secrets[secret].aliases.items()):
            if number in numbers:
                yield secret, alias, number


def _of_alias(secret: str, alias: str, number: int, target: int) -> Blocker:
    """A person's script or CI reads a secret by its alias, and stands nowhere on Cloud Run."""
    return Blocker(
        what=f"alias {alias} of {secret} stands for version {number}, for whoever reads it by that name",
        way_out=f"gcloud secrets update {secret} --update-version-aliases={alias}={target or 'NEW'}",
    )


def _blocker(reference: Reference, target: int) -> Blocker:
    new, variable = str(target) if target else "NEW", reference.variable or "PATH"
    alias = "" if reference.pinned else f" by its alias {reference.version}"
    what = f"{reference.kind} {reference.name} is pinned to {reference.secret} version {reference.number}{alias}"
    said = f"{what} ({reference.why})"
    if alias:
        out = f"gcloud secrets update {reference.secret} --update-version-aliases={reference.version}={new}"
    elif reference.kind == "job":
        out = f"gcloud run jobs update {reference.name} --update-secrets={variable}={reference.secret}:{new}"
    elif reference.until is not None:
        out = "emergency=true does not wait for it"
    elif not reference.ours:
        out = f"gcloud run services update {reference.service} --update-secrets={variable}={reference.secret}:{new}"
    else:
        out = f"take its traffic and its tag away: gcloud run services update-traffic {reference.service}"
    return Blocker(what=said, way_out=out, until=reference.until)


def session_blockers(ground: DatabaseGround, users: Iterable[str]) -> tuple[Blocker, ...]:
    """The open sessions of these users."""
    return tuple(
        Blocker(
            what=f"session {one.pid} of {one.user} ({one.application or 'unnamed'}) is open since "
            f"{one.since:%Y-%m-%d %H:%M:%S} UTC",
            way_out="end what holds it, or emergency=true ends it",
        )
        for one in ground.sessions
        if one.user in set(users)
    )


def users_to_lock(
    ground: DatabaseGround, users: Iterable[str], old: Iterable[int], target: int, mark: RotationMark | None
) -> tuple[str, ...]:
    """The users that may log in and that no version in use is for: of old versions, of the estate, and of the mark."""
    keep = ground.of.get(target, ground.serving)
    idle = {user for user in users if user in ground.logins and ground.logins[user].can_log_in}
    before = {mark.old_user} if mark else set()
    return tuple(sorted(({ground.of[number] for number in old if number in ground.of} | idle | before) - {keep, ""}))


def explained(
    references: Iterable[Reference], services: Mapping[str, tuple[Mapping[str, str], Mapping[str, datetime]]],
    ours: frozenset[str], now: datetime, secrets: Mapping[str, SecretState] | None = None,
) -> tuple[Reference, ...]:
    """Each reference with why it counts. ``services`` maps a service to what leads to its revisions (revision → why),
    and to those that could be rolled back to (revision → until when); ``secrets`` know what an alias stands for."""
    known: list[Reference] = []
    for reference in references:
        leads, back = services.get(reference.service, ({}, {}))
        state = (secrets or {}).get(reference.secret)
        points_to = state.aliases.get(reference.version) if state else None
        update: dict[str, object] = {"ours": reference.service in ours, "points_to": points_to}
        if reference.kind == "revision" and reference.name in leads:
            update["why"] = leads[reference.name]
        elif reference.kind == "revision" and reference.name in back and back[reference.name] > now:
            until = back[reference.name]
            update |= {"why": f"could be rolled back to until {until:%Y-%m-%d %H:%M} UTC", "until": until}
        known.append(reference.model_copy(update=update))
    return tuple(known)


def rollback_targets(changes: Sequence[Change], serving: str, window: timedelta) -> dict[str, datetime]:
    """Revisions that stand as verified and do not serve, each with the end of the time in which it is wanted back.

    ``changes`` are the service's, the newest first. What a rotation replaced is the same code, and is not wanted.
    """
    standing = history.verified(changes)
    recorded = {str(change.after.get("revision")): change.at for change in changes if change.after.get("verified")}
    targets: dict[str, datetime] = {}
    for newer, older in pairwise(standing):
        released = recorded.get(history.deployed_as(changes, newer))
        if older != serving and released is not None:
            targets[older] = released + window
    return targets


_ORDER: tuple[RotationVerdictName, ...] = (
    "failed", "refused", "held", "waiting", "planned", "rotated", "prepared", "unchanged",
)  # fmt: skip


def worst(outcomes: Iterable[RotationOutcome]) -> RotationVerdictName:
    """The verdict over all; nothing to do where there is none."""
    return min((outcome.verdict for outcome in outcomes), key=_ORDER.index, default="unchanged")


def in_words(found: Sequence[Blocker]) -> str:
    """Blockers as one line."""
    said = [one.what + (f" → {one.way_out}" if one.way_out else "") for one in found[:SHOWN]]
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(said) + more
