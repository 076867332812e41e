"""What Cloud SQL itself says of an instance's backups, judged: L0 and L1; and which of them a drill restores.

Safety property: only an automated backup counts as one of the policy's; one that a deploy took proves nothing about the
nights. A drill of an instance without any good backup has no target, and says so.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median

from tasks.analysis.content import in_time
from tasks.backup_models import BackupState, Evidence, Manifest, Pick, Target
from tasks.errors import Refused
from tasks.estate import BackupPolicy, Database
from tasks.models import Backup, Finding

#: A backup that is so much smaller, or takes so much longer, than the others is worth a look.
SMALLER, LONGER = 0.5, 3.0
LEAST_HISTORY = 3
#: After a manifest a point in time is chosen so much later: its snapshot is older than the commits of that second.
AFTER_MANIFEST = timedelta(seconds=1)
FAILED = frozenset({"FAILED", "SKIPPED", "DELETION_FAILED"})


def automated(state: BackupState) -> list[Backup]:
    """The good automated backups, newest first."""
    return sorted((run for run in good(state) if run.kind == "AUTOMATED"), key=began, reverse=True)


def good(state: BackupState) -> list[Backup]:
    """Every backup that can be restored, newest first."""
    return sorted((run for run in state.runs if run.status == "SUCCESSFUL"), key=began, reverse=True)


def began(run: Backup) -> datetime:
    """When a backup began, as far as it is told."""
    return run.started or run.enqueued or datetime.fromtimestamp(0, UTC)


def moment_of(target: Target) -> datetime:
    """The moment of which a restored copy is: the point in time, or the end of the backup, up to which it holds all."""
    backup = target.backup
    return target.moment or (backup.ended or began(backup) if backup else datetime.fromtimestamp(0, UTC))


def policy_kept(state: BackupState, policy: BackupPolicy, now: datetime) -> list[Evidence]:
    """L0: whether automated backups are on, fresh, kept, and none failed since."""
    runs = automated(state)
    evidence = [
        Evidence(what=f"automated backups are {'on' if state.automated else 'off'}", ok=state.automated),
        Evidence(
            what=f"{state.retained} backups are retained, the estate asks for {policy.retained}",
            ok=state.retained >= policy.retained,
        ),
        _fresh(runs, policy, now),
        _kept(state, runs, policy, now),
    ]
    return [*evidence, *_none_failed_since(state, runs), *_history(state, runs)]


def recoverable(state: BackupState, policy: BackupPolicy, now: datetime) -> list[Evidence]:
    """L1: whether any moment up to a short while ago can be restored."""
    on = "on" if state.point_in_time else "off"
    evidence = [Evidence(what=f"point-in-time recovery is {on}", ok=state.point_in_time)]
    if state.window is None:
        return [*evidence, Evidence(what=state.why_no_window or "Cloud SQL tells no recovery window", ok=False)]
    lag, allowed = now - state.window.latest, timedelta(minutes=policy.lag_minutes)
    late = "" if lag <= allowed else f", more than {in_time(allowed)}: the archive of the WAL stands still"
    return [
        *evidence,
        Evidence(what=f"the earliest moment is {state.window.earliest:%Y-%m-%d %H:%M:%S} UTC"),
        Evidence(
            what=f"the latest moment is {state.window.latest:%Y-%m-%d %H:%M:%S} UTC, {in_time(lag)} behind{late}",
            ok=lag <= allowed,
        ),
    ]


def unusual(state: BackupState) -> list[Finding]:
    """What is strange about the newest automated backup, measured by those before it."""
    runs = automated(state)
    findings = []
    sizes = [state.sizes[run.id] for run in runs if state.sizes.get(run.id)]
    if len(sizes) > LEAST_HISTORY and sizes[0] < SMALLER * median(sizes[1:]):
        usual = f"the others about {median(sizes[1:]):,.0f}"
        findings.append(_finding(state, f"the newest backup has {sizes[0]:,} bytes, {usual}"))
    spans = [seconds for run in runs if (seconds := _seconds(run)) is not None]
    if len(spans) > LEAST_HISTORY and spans[0] > LONGER * max(60.0, median(spans[1:])):
        usual = f"the others about {median(spans[1:]):.0f} s"
        findings.append(_finding(state, f"the newest backup took {spans[0]:.0f} s, {usual}"))
    return findings


def choose(database: Database, state: BackupState, pick: Pick, manifests: Sequence[datetime], now: datetime) -> Target:
    """What a drill restores. Raises Refused where there is nothing of that kind.

    A random choice is the same for a whole day, so that a run that was killed goes on with what it had chosen.
    """
    draw = random.Random(f"{database.name} {now:%Y-%m-%d}")  # noqa: S311  no secret hangs on it
    if pick == "point_in_time":
        return _moment(database, state, manifests, draw)
    runs = automated(state) or good(state)
    older = runs[1:]
    if not runs or (pick == "random" and not older):
        raise Refused(
            f"choosing a{'n older' if pick == 'random' else ''} backup of {state.instance} refused: it has "
            f"{len(runs)} good {'one' if len(runs) == 1 else 'ones'}; see its backups in the console"
        )
    backup = draw.choice(older) if pick == "random" else runs[0]
    return Target(pick=pick, backup=backup, manifest=_stamp(manifest_for(began(backup), database, manifests)))


def comparable(
    target: Target | None, manifest: Manifest | None, state: BackupState
) -> tuple[Target | None, Manifest | None]:
    """What is restored, and the manifest where it can be compared with it.

    A large table is read after the manifest's first moment, and what was written until then need not be in what is
    restored. A moment is moved behind that; a backup that began before it cannot be compared.
    """
    if target is None or manifest is None:
        return target, None
    last = max((table.at for table in manifest.tables if table.at), default=manifest.taken)
    if target.moment is not None and state.window is not None:
        moment = min(max(target.moment, last + AFTER_MANIFEST), state.window.latest)
        target = target.model_copy(update={"moment": moment})
    begins = target.moment or (began(target.backup) if target.backup else last)
    return (target, manifest) if last <= begins else (target.model_copy(update={"manifest": ""}), None)


def manifest_for(moment: datetime, database: Database, manifests: Sequence[datetime]) -> datetime | None:
    """The newest manifest that was taken before a moment, and not too long before it; None where there is none."""
    before = [taken for taken in manifests if moment - database.manifest.max_age <= taken <= moment]
    return max(before, default=None)


def stamp(taken: datetime) -> str:
    """A manifest's name: when it was taken, to the millisecond."""
    return taken.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"


def taken_at(name: str) -> datetime | None:
    """When the manifest of a name was taken; None for a name that no manifest has."""
    try:
        return datetime.strptime(name, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _stamp(taken: datetime | None) -> str:
    return "" if taken is None else stamp(taken)


def _moment(database: Database, state: BackupState, manifests: Sequence[datetime], draw: random.Random) -> Target:
    if state.window is None:
        why = state.why_no_window or "it tells no recovery window"
        raise Refused(f"choosing a point in time of {state.instance} refused: {why}; turn point-in-time recovery on")
    window = state.window
    inside = [taken for taken in manifests if window.earliest < taken and taken + AFTER_MANIFEST <= window.latest]
    if inside:
        taken = draw.choice(sorted(inside))
        return Target(pick="point_in_time", moment=taken + AFTER_MANIFEST, manifest=stamp(taken))
    moment = window.earliest + draw.random() * (window.latest - window.earliest)
    return Target(pick="point_in_time", moment=moment, manifest=_stamp(manifest_for(moment, database, manifests)))


def _fresh(runs: Sequence[Backup], policy: BackupPolicy, now: datetime) -> Evidence:
    if not runs:
        return Evidence(what="there is no good automated backup", ok=False)
    age = now - began(runs[0])
    fresh = age <= policy.max_age
    return Evidence(
        what=f"the newest good automated backup, {runs[0].id}, is {in_time(age)} old, "
        f"{'within' if fresh else 'beyond'} {policy.max_age_hours} h", ok=fresh,
    )  # fmt: skip


def _kept(state: BackupState, runs: Sequence[Backup], policy: BackupPolicy, now: datetime) -> Evidence:
    nights = policy.retained if state.created is None else (now - state.created) // timedelta(days=1)
    expected = max(1, min(policy.retained, nights))
    return Evidence(what=f"{len(runs)} good automated backups are kept, expected {expected}", ok=len(runs) >= expected)


def _none_failed_since(state: BackupState, runs: Sequence[Backup]) -> list[Evidence]:
    last = began(runs[0]) if runs else datetime.fromtimestamp(0, UTC)
    failed = [run for run in state.runs if run.status in FAILED and began(run) > last]
    if not failed:
        return [Evidence(what="none failed since")]
    return [
        Evidence(what=f"backup {run.id} ended {run.status} at {began(run):%Y-%m-%d %H:%M} UTC: {run.error}", ok=False)
        for run in failed
    ]


def _history(state: BackupState, runs: Sequence[Backup]) -> list[Evidence]:
    if not runs:
        return []
    seconds, size = _seconds(runs[0]), state.sizes.get(runs[0].id)
    took = "" if seconds is None else f"took {seconds:.0f} s"
    has = "" if not size else f"has {size / 1e6:,.0f} MB"
    return [Evidence(what=f"the newest one {' and '.join(filter(None, (took, has)))}")] if took or has else []


def _seconds(run: Backup) -> float | None:
    return (run.ended - run.started).total_seconds() if run.ended and run.started else None


def _finding(state: BackupState, what: str) -> Finding:
    way_out = "look at what was deleted, or at the load at that time"
    return Finding(severity="warning", subject=state.instance, what=what, way_out=way_out)
