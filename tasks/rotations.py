"""A rotation from look to record, composed of the retryable steps.

Safety property: at every moment the credentials that serve are valid. New ones are proved before anything serves with
them; old ones are taken out of use only after it was looked up that nothing uses them any more. Whatever is killed or
fails in between is found by the next run in Secret Manager and on Cloud Run, and goes on from there.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tasks.analysis import rotation, rotation_attempts
from tasks.analysis.rotation import Unit
from tasks.analysis.rotation_attempts import Stage
from tasks.analysis.rotation_refusals import refusals
from tasks.analysis.rotation_use import Blocker, blockers, in_words, session_blockers
from tasks.errors import BadInput, OpsError, Refused
from tasks.estate import Service
from tasks.models import Finding
from tasks.record import run_name
from tasks.rotation_changes import put_mark
from tasks.rotation_external import roll_out
from tasks.rotation_facts import look, prove_login
from tasks.rotation_finishing import finish
from tasks.rotation_making import make_versions
from tasks.rotation_models import RotationMark, RotationOutcome, RotationVerdictName
from tasks.rotation_taking_back import give_up
from tasks.rotation_work import Wish, Work
from tasks.site import Site

#: A rotation that was finished for an earlier run is followed by a new one only when its version is older than this.
FRESH = timedelta(days=1)


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
    stage, begun_for_a_leak = rotation_attempts.next_stage(work.unit, work.ground, work.mark), _is_for_a_leak(work)
    work.wish = replace(work.wish, emergency=work.wish.emergency or begun_for_a_leak)
    if work.unit.kind == "external":
        return await roll_out(work, stage)
    if stage.do != "begin":
        if work.wish.dry_run:
            return work.outcome("planned", f"a rotation is under way: {stage.do} version {stage.target} is next")
        outcome = await finish(work, stage)
        if outcome.verdict != "rotated" or not _wants_another(work, begun_for_a_leak):
            return outcome
    return await _begin(work)


def _tell_unpinned(work: Work) -> None:
    for name in work.ground.unpinned:
        what = f"{name} reads {work.unit.main} by an alias, which is resolved at each instance's start"
        work.findings.append(Finding(severity="warning", subject=name, what=what, way_out="its release pins a number"))


def _is_for_a_leak(work: Work) -> bool:
    return work.mark is not None and work.mark.emergency


def _wants_another(work: Work, begun_for_a_leak: bool) -> bool:
    """Whether the version of a rotation that was only finished now is to be replaced itself.

    It is where it is old enough, and where it was made before anybody knew of the leak.
    """
    if work.wish.only_finish:
        return False
    if work.wish.emergency and not begun_for_a_leak:
        return True
    version = work.ground.secrets[work.unit.main].version(work.targets[work.unit.main])
    now = datetime.now(UTC)
    old = version is not None and now - version.created > FRESH
    return old and (not work.wish.only_due or rotation.is_due(work.unit, work.ground, now))


async def _begin(work: Work) -> RotationOutcome:
    """Make a new version, prove it, release it, and take the old one out of use."""
    work.targets = {}
    unit, wish, ground = work.unit, work.wish, work.ground
    if wish.only_finish and work.mark is None:
        return work.outcome("unchanged", "none is under way")
    if wish.only_due and not wish.emergency and not rotation.is_due(unit, ground, datetime.now(UTC)):
        return work.outcome("unchanged", "it is not due")
    reasons = refusals(work.site.estate, unit, ground, work.mark)
    serving = rotation.newest_pinned(ground, unit)
    idle, busy = _idle(work), _busy(work, serving)
    if reasons or busy:
        return work.outcome("refused", "; ".join((*reasons, *([in_words(busy)] if busy else []))))
    if wish.dry_run:
        return work.outcome("planned", f"a new version, for {idle or 'its services'}, would be made and released")
    mark = await _marked(work, idle)
    made = await make_versions(work.site, unit, mark, serving, wish.emergency)
    work.targets = dict(made)
    await work.look_again()
    if unit.database:
        await prove_login(work.site, work.site.estate.database(unit.database), made[unit.main])
    behind = tuple(sorted(work.ground.pins))
    return await finish(work, Stage(do="release" if behind else "retire", target=made[unit.main], services=behind))


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
    its = tuple(n for n, user in database.of.items() if user == idle and n != serving)
    used = blockers(unit, work.ground, {unit.main: its}, {unit.main: serving}, datetime.now(UTC), work.wish.emergency)
    return (*used, *(() if work.wish.emergency else session_blockers(database, (idle,))))


async def _marked(work: Work, idle: str) -> RotationMark:
    """The mark of this rotation. One of an attempt that failed goes on: what it made is ours to take back.

    It does not where its user serves meanwhile, whose password is not to be changed.
    """
    if work.mark is not None and work.mark.user == idle:
        mark = work.mark.model_copy(update={"emergency": work.wish.emergency})
    else:
        newest = {name: state.newest for name, state in work.ground.secrets.items()}
        serving = work.ground.database.serving if work.ground.database else ""
        mark = RotationMark(
            run=run_name(), began=datetime.now(UTC), after=newest, user=idle, old_user=serving,
            emergency=work.wish.emergency,
        )
    await put_mark(work.site, work.unit, mark)
    return mark


async def _failed(work: Work, error: OpsError) -> RotationOutcome:
    """Take back what was made and serves nowhere; what serves somewhere proved itself there, and stays."""
    why = str(error)
    try:
        await work.look_again()
        if work.mark is not None:
            await give_up(work.site, work.unit, work.ground, work.mark)
    except OpsError as second:
        why += f"; taking back what was made failed too, the next run does it: {second}"
    refused = isinstance(error, Refused) and not work.targets
    return work.outcome("refused" if refused else "failed", why)
