"""A rotation from look to record, composed of the retryable steps.

Safety property: at every moment the credentials that serve are valid. New ones are proved before anything serves with
them; old ones are taken out of use only after it was looked up that nothing uses them any more. Whatever is killed or
fails in between is found by the next run in Secret Manager and on Cloud Run, and goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tasks.analysis import rotation
from tasks.analysis.rotation import Stage, Unit
from tasks.analysis.rotation_release import plan_release
from tasks.analysis.rotation_use import (
    Blocker,
    blockers,
    in_words,
    old_versions,
    session_blockers,
    users_to_lock,
    worst,
)
from tasks.errors import BadInput, OpsError, Refused
from tasks.estate import Service
from tasks.ground import prove_service
from tasks.models import Finding
from tasks.parallel import all_of
from tasks.probing import require_probes
from tasks.record import record_change, run_name, verified_revisions
from tasks.release_models import CanaryStep
from tasks.releases import canary, read_urls, stable_on_error
from tasks.rotation_changes import (
    complete_pair,
    lock_users,
    make_versions,
    prepare_database,
    put_mark,
    remove_mark,
    retire_versions,
)
from tasks.rotation_facts import await_sessions, check_external, look, prove_login
from tasks.rotation_models import (
    Retired,
    RotationGround,
    RotationMark,
    RotationOutcome,
    RotationVerdict,
    RotationVerdictName,
)
from tasks.services import create_candidate, read_service, release_candidate
from tasks.site import Site

#: A rotation that was finished for an earlier run is followed by a new one only when its version is older than this.
FRESH = timedelta(days=1)


@dataclass(frozen=True)
class Wish:
    """What a person, or the schedule, asked for."""

    emergency: bool = False
    only_due: bool = False
    only_finish: bool = False
    dry_run: bool = False
    session_wait: timedelta = timedelta(minutes=10)


@dataclass
class Work:
    """One rotation under way: what is known, and what came of it so far."""

    site: Site
    unit: Unit
    wish: Wish
    ground: RotationGround
    mark: RotationMark | None
    targets: dict[str, int] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    canary: dict[str, tuple[CanaryStep, ...]] = field(default_factory=dict)
    retired: list[Retired] = field(default_factory=list)
    locked: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)

    async def look_again(self) -> None:
        """Read everything anew: facts are never older than the step that they decide."""
        self.ground = await look(self.site, self.unit)
        self.mark = rotation.read_mark(self.ground.secrets[self.unit.main])

    def outcome(self, verdict: RotationVerdictName, why: str = "") -> RotationOutcome:
        """How it ended."""
        return RotationOutcome(
            name=self.unit.name, kind=self.unit.kind, verdict=verdict, why=why, secrets=self.unit.secrets,
            versions=self.targets, user=_user(self), locked=self.locked, retired=tuple(self.retired),
            revisions=self.revisions, canary=self.canary, findings=tuple(self.findings),
            references=self.ground.references,
        )


def _user(work: Work) -> str:
    database = work.ground.database
    return database.of.get(work.targets.get(work.unit.main, 0), database.serving) if database else ""


def chosen(site: Site, names: tuple[str, ...]) -> tuple[Unit, ...]:
    """What is rotated; all secrets of the estate where none is named. Raises BadInput."""
    found = rotation.units(site.estate, names)
    if not found:
        raise BadInput(f"rotating the secrets of {site.estate.name} failed: the estate names none; add [[secrets]]")
    return found


def services_of(site: Site, units: tuple[Unit, ...]) -> tuple[Service, ...]:
    """The services of the estate that use one of the secrets."""
    names = {service.name for unit in units for service in rotation.users_of(site.estate, unit)}
    return tuple(service for service in site.estate.services if service.name in names)


def locks_of(site: Site, units: tuple[Unit, ...]) -> tuple[str, ...]:
    """What is locked meanwhile: the services that are released, and the instances whose rotator is used."""
    services = {service.name for service in services_of(site, units)}
    instances = {f"rotator/{site.estate.database(unit.database).instance}" for unit in units if unit.database}
    secrets = {f"secret/{name}" for unit in units for name in unit.secrets}
    return (*sorted(services), *sorted(instances), *sorted(secrets))


async def rotate_all(site: Site, units: tuple[Unit, ...], wish: Wish) -> tuple[RotationOutcome, ...]:
    """Rotate one after the other; what goes wrong with one does not keep the others from their turn."""
    return tuple([await rotate(site, unit, wish) for unit in units])


async def rotate(site: Site, unit: Unit, wish: Wish) -> RotationOutcome:
    """Rotate one secret, or a login's two; an error becomes the outcome."""
    try:
        ground = await look(site, unit)
        work = Work(site, unit, wish, ground, rotation.read_mark(ground.secrets[unit.main]))
    except OpsError as error:
        verdict: RotationVerdictName = "refused" if isinstance(error, Refused) else "failed"
        return RotationOutcome(name=unit.name, kind=unit.kind, secrets=unit.secrets, verdict=verdict, why=str(error))
    try:
        return await _rotate(work)
    except OpsError as error:
        return await _failed(work, error)


async def _rotate(work: Work) -> RotationOutcome:
    """Finish what an earlier run began; then, or else, begin a rotation where one is wanted."""
    if work.ground.database and work.ground.database.passwordless:
        return work.outcome("unchanged", "it has no password: IAM database authentication is the better end")
    _tell_unpinned(work)
    stage = rotation.next_stage(work.unit, work.ground, work.mark)
    if work.unit.kind == "external":
        return await _external(work, stage)
    if stage.do != "begin":
        if work.wish.dry_run:
            return work.outcome("planned", f"a rotation is under way: {stage.do} version {stage.target} is next")
        outcome = await _finish(work, stage)
        if outcome.verdict != "rotated" or not _wants_another(work):
            return outcome
    return await _begin(work)


def _tell_unpinned(work: Work) -> None:
    for name in work.ground.unpinned:
        what = f"{name} reads {work.unit.main} by an alias, which is resolved at each instance's start"
        work.findings.append(Finding(severity="warning", subject=name, what=what, way_out="its release pins a number"))


def _wants_another(work: Work) -> bool:
    """Whether the version of a rotation that was only finished now is old enough to be replaced itself."""
    version = work.ground.secrets[work.unit.main].version(work.targets[work.unit.main])
    now = datetime.now(UTC)
    old = version is not None and now - version.created > FRESH and not work.wish.only_finish
    return old and (not work.wish.only_due or rotation.is_due(work.unit, work.ground, now))


async def _begin(work: Work) -> RotationOutcome:
    """Make a new version, prove it, release it, and take the old one out of use."""
    work.targets = {}
    unit, wish, ground = work.unit, work.wish, work.ground
    if wish.only_finish and work.mark is None:
        return work.outcome("unchanged", "none is under way")
    if wish.only_due and not wish.emergency and not rotation.is_due(unit, ground, datetime.now(UTC)):
        return work.outcome("unchanged", "it is not due")
    reasons = rotation.refusals(work.site.estate, unit, ground, work.mark)
    serving = rotation.newest_pinned(ground, unit)
    idle, busy = _idle(work), _busy(work, serving)
    if reasons or busy:
        return work.outcome("refused", "; ".join((*reasons, *([in_words(busy)] if busy else []))))
    if wish.dry_run:
        return work.outcome("planned", f"a new version, for {idle or 'its services'}, would be made and released")
    mark = await _marked(work, idle)
    made = await make_versions(work.site, unit, mark, serving)
    work.targets = dict(made)
    await work.look_again()
    if unit.database:
        await prove_login(work.site, work.site.estate.database(unit.database), made[unit.main])
    behind = tuple(sorted(work.ground.pins))
    return await _finish(work, Stage(do="release" if behind else "retire", target=made[unit.main], services=behind))


def _idle(work: Work) -> str:
    if work.ground.database is None:
        return ""
    return rotation.idle_user(work.site.estate.database(work.unit.database), work.ground.database)


def _busy(work: Work, serving: int) -> tuple[Blocker, ...]:
    """What uses the idle user although it should not: its password is about to change under it."""
    database, unit = work.ground.database, work.unit
    if database is None:
        return ()
    idle = _idle(work)
    older = tuple(n for n, user in database.of.items() if user == idle and n < serving)
    used = blockers(unit, work.ground, {unit.main: older}, serving, datetime.now(UTC), work.wish.emergency)
    return (*used, *(() if work.wish.emergency else session_blockers(database, (idle,))))


async def _marked(work: Work, idle: str) -> RotationMark:
    """The mark of this rotation. One of an attempt that failed goes on: what it made is ours to take back."""
    if work.mark is not None:
        return work.mark
    newest = {name: state.newest for name, state in work.ground.secrets.items()}
    serving = work.ground.database.serving if work.ground.database else ""
    mark = RotationMark(run=run_name(), began=datetime.now(UTC), after=newest, user=idle, old_user=serving)
    await put_mark(work.site, work.unit, mark)
    return mark


async def _external(work: Work, stage: Stage) -> RotationOutcome:
    """Roll out a version that somebody added, once its provider takes it; or ask for one that is due."""
    name, version = work.unit.main, work.ground.secrets[work.unit.main].version(stage.target)
    if version is None or (stage.do == "retire" and not any(old_versions(work.ground, {name: stage.target}).values())):
        return _asked_for(work)
    if work.wish.dry_run:
        return work.outcome("planned", f"version {stage.target} would be checked, released, and the older ones retired")
    if not await check_external(work.site, name, stage.target):
        what = f"{name} has no check in the estate, so the probes of its services alone judge it"
        work.findings.append(Finding(severity="info", subject=name, what=what, way_out="add secrets.check"))
    return await _finish(work, stage)


def _asked_for(work: Work) -> RotationOutcome:
    """Only its provider can issue the next one: ask for it when it is due, with the command that does not show it."""
    name, now = work.unit.main, datetime.now(UTC)
    if not work.wish.emergency and not rotation.is_due(work.unit, work.ground, now):
        return work.outcome("unchanged", "it is not due")
    adding = work.site.rotating_secrets.adding(name)
    what = "is due, and its provider alone can issue the next one"
    work.findings.append(Finding(severity="warning", subject=name, what=what, way_out=adding))
    return work.outcome("waiting", f"{name} {what}; add it without showing it: {adding}")


async def _finish(work: Work, stage: Stage) -> RotationOutcome:
    """Release a version where it does not serve yet, take the older ones out of use, and remove the mark."""
    site, unit = work.site, work.unit
    work.targets = {unit.main: stage.target, **{k: v for k, v in work.targets.items() if k != unit.main}}
    await _complete_targets(work)
    for wave in site.estate.waves(stage.services) if stage.services else ():
        await all_of(*(_release(work, service) for service in wave))
    await work.look_again()
    await _record_services(work)
    held = await _retire(work)
    if held:
        until = [one.until for one in held if one.until]
        waits = len(until) == len(held)
        said = f"version {stage.target} serves; the old one stays in use: {in_words(held)}"
        when = f"; a run after {max(until):%Y-%m-%d %H:%M} UTC takes it out of use" if waits else ""
        return work.outcome("waiting" if waits else "held", said + when)
    await _record_secret(work)
    await remove_mark(site, unit)
    await work.look_again()
    return work.outcome("rotated")


async def _complete_targets(work: Work) -> None:
    """A login's two secrets belong together: the password's version is the one that holds the same password."""
    if not work.unit.database:
        return
    database = work.site.estate.database(work.unit.database)
    if database.password_secret and database.password_secret not in work.targets:
        work.targets[database.password_secret] = await complete_pair(
            work.site, database, work.targets[work.unit.main]
        )


async def _release(work: Work, service: Service) -> None:
    """Release what serves with the new versions, by the candidate and canary steps of a deploy."""
    site, steps = work.site, list[CanaryStep]()
    ground = await prove_service(site, service)
    plan = plan_release(site.estate, service, ground, work.targets, await read_urls(site))
    assert ground.stable_spec is not None
    async with stable_on_error(site, plan):
        revision = await create_candidate(site, plan, ground.stable_spec.image, run_name())
        try:
            await canary(site, plan, revision, steps)
        finally:
            work.canary[service.name] = tuple(steps)
        await release_candidate(site, service.name, ground.stable, revision, steps[-1].percent if steps else 0)
        state = await read_service(site, service.name)
        await require_probes(site, service, state.uri if state else "", revision)
    work.revisions[service.name] = revision


async def _record_services(work: Work) -> None:
    """Write down which revision took whose place, also where a killed run released it."""
    for name, revision in _serving(work).items():
        standing = await verified_revisions(work.site, name)
        if revision in standing[:1]:
            continue
        before = standing[0] if standing else ""
        work.revisions[name] = revision
        await record_change(
            work.site, "rotation", name, f"rotation of {work.unit.name}", "released", f"rotation/{name}/{revision}",
            {"secrets": work.targets, "emergency": work.wish.emergency}, {"revision": before},
            {"revision": revision, "verified": True},
        )


def _serving(work: Work) -> dict[str, str]:
    """The revision that serves in each service that is pinned to the new version."""
    main, ground = work.unit.main, work.ground
    target = work.targets[main]
    return {
        one.service: one.name
        for one in ground.references
        if one.ours and one.secret == main and one.number == target and one.why.startswith("serves 100 %")
    }


async def _retire(work: Work) -> tuple[Blocker, ...]:
    """Take the older versions out of use; what still uses them, where something does, and then nothing is changed."""
    site, unit, wish = work.site, work.unit, work.wish
    targets = {name: number for name, number in work.targets.items() if name in unit.secrets}
    old, target = old_versions(work.ground, targets), targets[unit.main]
    held = blockers(unit, work.ground, old, target, datetime.now(UTC), wish.emergency)
    if held:
        return held
    if wish.emergency:
        await _lock(work, old[unit.main], target)
    else:
        held = await _sessions_left(work, old[unit.main], target)
    if held:
        return held
    for name, numbers in old.items():
        await retire_versions(site, name, numbers)
        undone = (Retired(secret=name, version=n, undo=site.rotating_secrets.undo(name, n)) for n in numbers)
        work.retired.extend(undone)
    if not wish.emergency:
        await _lock(work, old[unit.main], target)
    return ()


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


async def _record_secret(work: Work) -> None:
    target = work.targets[work.unit.main]
    await record_change(
        work.site, "rotation", work.unit.name, "emergency" if work.wish.emergency else "rotation", "released",
        f"rotation/{work.site.estate.google.project}/{work.unit.main}/{target}", {"emergency": work.wish.emergency},
        {"versions": {one.secret: one.version for one in work.retired}, "user": ", ".join(work.locked)},
        {"versions": work.targets, "user": _user(work)},
    )


async def _failed(work: Work, error: OpsError) -> RotationOutcome:
    """Take back what was made and serves nowhere; what serves somewhere proved itself there, and stays."""
    why = str(error)
    try:
        await work.look_again()
        if work.mark is not None:
            await _take_back(work, work.mark)
    except OpsError as second:
        why += f"; taking back what was made failed too, the next run does it: {second}"
    refused = isinstance(error, Refused) and not work.targets
    return work.outcome("refused" if refused else "failed", why)


async def _take_back(work: Work, mark: RotationMark) -> None:
    """Disable the orphans. With none in use the attempt is over, and so is its mark."""
    for name, numbers in rotation.orphans(work.unit, work.ground, mark).items():
        await retire_versions(work.site, name, numbers)
    if rotation.next_stage(work.unit, work.ground, mark).do == "begin":
        await remove_mark(work.site, work.unit)


def summary(outcomes: tuple[RotationOutcome, ...], wish: Wish, seconds: float) -> RotationVerdict:
    """One verdict over all: the worst, and why."""
    verdict = worst(outcomes)
    why = "; ".join(one.why for one in outcomes if one.verdict == verdict and one.why)
    return RotationVerdict(
        verdict=verdict, why=why, outcomes=outcomes, dry_run=wish.dry_run, emergency=wish.emergency,
        seconds=round(seconds, 2),
    )


def good(verdict: RotationVerdict) -> bool:
    """Whether all is as it should be; what only waits for time to pass is."""
    return verdict.verdict in ("rotated", "unchanged", "planned", "prepared", "waiting")


def asks_a_person(verdict: RotationVerdict) -> bool:
    """Whether somebody must do something, such as to add what a provider alone can issue."""
    return any(finding.severity != "info" for one in verdict.outcomes for finding in one.findings)


async def prepare_all(site: Site, units: tuple[Unit, ...]) -> tuple[RotationOutcome, ...]:
    """Make rotator, owner and login users of each database; the logins that serve go on as they are."""
    outcomes = []
    for unit in units:
        if unit.database:
            ground = await look(site, unit)
            await prepare_database(site, site.estate.database(unit.database), rotation.newest_pinned(ground, unit))
            outcomes.append(Work(site, unit, Wish(), ground, None).outcome("prepared", "it can be rotated now"))
    return tuple(outcomes)
