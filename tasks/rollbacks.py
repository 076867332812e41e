"""A roll-back from plan to record, composed of the retryable tasks.

Safety property: a revision gets traffic only after it answered its probes on its tag URL against the schema as it is
then, and after every other service's target did. Whatever goes wrong leaves, in every service, the revision that
served before with all traffic.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from tasks.analysis import history
from tasks.analysis import release as naming
from tasks.analysis.serving import digest_of
from tasks.approvals import approve
from tasks.database import (
    Direction,
    back_up,
    create_migration_job,
    delete_job,
    lost_by_downgrade,
    migrate,
    read_schema,
)
from tasks.errors import BadInput, Missing, OpsError, PermanentError, Refused
from tasks.estate import Service
from tasks.ground import prove_service
from tasks.models import Change, Finding, RevisionState, SourceTree
from tasks.parallel import all_of, to_the_end
from tasks.probing import require_probes
from tasks.record import changes_of, record_change, rolled_back_lately, run_name
from tasks.release_models import (
    MigrationPlan,
    ReleaseVerdict,
    ServiceGround,
    ServiceOutcome,
    ServicePlan,
    Verdict,
)
from tasks.rollback_approvals import Loss, loss_question
from tasks.services import (
    CANDIDATE_TAG,
    check_pins,
    read_revision,
    read_service,
    release_candidate,
    return_to_stable,
    tag_revision,
)
from tasks.site import Site
from tasks.sweep import sweep_jobs

T = TypeVar("T")
_NO_SOURCE = "0" * 64


@dataclass(frozen=True)
class Rollback:
    """What is done to one service. ``schema`` is where the database stands, ``needs`` what the target knew.

    ``recorded`` says whether the ledger knows the revision that serves as the last one that proved itself.
    """

    service: Service
    ground: ServiceGround
    target: RevisionState
    schema: str | None = None
    needs: str | None = None
    recorded: bool = True

    @property
    def nothing_to_do(self) -> bool:
        """Whether the target serves already."""
        return self.target.name == self.ground.stable

    @property
    def schema_moved(self) -> bool:
        """Whether the schema has moved since the target was released."""
        return self.needs is not None and self.schema is not None and self.needs != self.schema


async def plan_rollbacks(
    site: Site, services: tuple[Service, ...], revision: str, force: bool = False, named: bool = True
) -> tuple[Rollback, ...]:
    """Find what each service goes back to; where none was ``named``, of those that the last release changed.

    Reads only. Raises BadInput or Missing where there is nothing, and Refused for a revision that could not start, or
    that its own canary rolled back within the last 24 hours, unless forced.
    """
    if revision and len(services) != 1:
        raise BadInput(f"rolling back to {revision} failed: {len(services)} services are meant; name one service")
    found = await all_of(*(_find(site, service) for service in services))
    meant = found if named else _of_last_release(found)
    return await all_of(*(_plan(site, one, revision, force) for one in meant))


@dataclass(frozen=True)
class _Found:
    """A service as it stands, and what the ledger knows of it."""

    service: Service
    ground: ServiceGround
    changes: tuple[Change, ...]


async def _find(site: Site, service: Service) -> _Found:
    return _Found(service, await prove_service(site, service), tuple(await changes_of(site, service.name)))


def _of_last_release(found: tuple[_Found, ...]) -> tuple[_Found, ...]:
    serving = {one.service.name: one.ground.stable for one in found if one.ground.stable}
    meant = history.of_last_release({one.service.name: one.changes for one in found}, serving)
    if not meant:
        raise Missing(
            "rolling back failed: the ledger knows of no release; name service and revision: services=… revision=…"
        )
    return tuple(one for one in found if one.service.name in meant)


async def _plan(site: Site, found: _Found, revision: str, force: bool) -> Rollback:
    service, ground = found.service, found.ground
    if not ground.stable:
        raise Missing(f"rolling back {service.name} failed: it has no stable revision; deploy it first")
    standing = history.verified(found.changes)
    name = revision or history.earlier(standing, ground.stable)
    if not name:
        raise Missing(
            f"rolling back {service.name} failed: the ledger knows no verified revision but {ground.stable}; "
            "name one with revision=…"
        )
    target = await read_revision(site, service.name, name)
    if not target.ready:
        raise Refused(
            f"rolling back {service.name} to {name} refused: it is not ready ({target.message}); name another"
        )
    if name != ground.stable:
        await _check_target(site, service, target, force)
    needs = target.spec.annotations.get(naming.SCHEMA)
    schema = await read_schema(site, site.estate.database(service.database)) if service.database else None
    return Rollback(service, ground, target, schema, needs, recorded=ground.stable in standing[:1])


async def _check_target(site: Site, service: Service, target: RevisionState, force: bool) -> None:
    """Raise Refused for a revision whose instances cannot start, or that was found bad within the last 24 hours."""
    await check_pins(site, target)
    release = target.spec.labels.get(naming.LABEL_RELEASE, "")
    why = await rolled_back_lately(site, service.name, release) if release and not force else ""
    if why:
        raise Refused(f"rolling back {service.name} to {target.name} refused: {why}")


def planned_rollbacks(plans: tuple[Rollback, ...]) -> ReleaseVerdict:
    """What would be done."""
    return ReleaseVerdict(
        verdict="planned",
        started=datetime.now(UTC),
        seconds=0,
        dry_run=True,
        findings=tuple(_moved(plan) for plan in plans if plan.schema_moved),
        services=tuple(
            ServiceOutcome(
                service=plan.service.name,
                verdict="planned",
                revision=plan.target.name,
                previous=plan.ground.stable,
                why="it serves already" if plan.nothing_to_do else f"{plan.target.name} would be probed, then serve",
            )
            for plan in plans
        ),
    )


def _moved(plan: Rollback) -> Finding:
    return Finding(
        severity="warning",
        subject=plan.target.name,
        what=f"the schema moved from {plan.needs} to {plan.schema} since it was released",
        way_out="it gets traffic only if it answers its probes on the schema of now; else approve_data_loss=true "
        "migrates back",
    )


class _NeedsApproval(Exception):
    """Nothing but the schema stands in the way of these, and migrating it back loses data."""

    def __init__(self, losses: tuple[Loss, ...]) -> None:
        super().__init__("; ".join(loss.words for loss in losses))
        self.losses = losses


class _NotBack(Exception):
    """A service could not be put back, and why."""

    def __init__(self, service: str, cause: OpsError) -> None:
        super().__init__(str(cause))
        self.service = service
        self.verdict: Verdict = "refused" if isinstance(cause, Refused) else "failed"


async def roll_back_all(
    site: Site, plans: tuple[Rollback, ...], approve_data_loss: bool, given: str = ""
) -> ReleaseVerdict:
    """Put every service back, or none: all targets are proved before the first gets traffic; then sum up.

    Where data would be lost and that was not approved beforehand, a person is asked, with everything as it was before.
    """
    said: tuple[Finding, ...] = ()
    try:
        outcomes = await _together(site, plans, approve_data_loss)
    except _NeedsApproval as needed:
        outcomes, said = await _when_approved(site, plans, needed.losses, given)
    bad = [outcome for outcome in outcomes if outcome.verdict in ("failed", "refused")]
    moved = any(outcome.verdict == "released" for outcome in outcomes)
    return ReleaseVerdict(
        verdict=bad[0].verdict if bad else "released" if moved else "unchanged",
        services=outcomes,
        why=bad[0].why if bad else "",
        started=datetime.now(UTC),
        seconds=0,
        findings=(*said, *(_moved(plan) for plan in plans if plan.schema_moved)),
    )


async def _when_approved(
    site: Site, plans: tuple[Rollback, ...], losses: tuple[Loss, ...], given: str
) -> tuple[tuple[ServiceOutcome, ...], tuple[Finding, ...]]:
    """Ask a person; then put every service back, or tell why not. With the approval, for the report."""
    served = {plan.service.name: (plan.ground.stable, plan.target.name) for plan in plans}
    try:
        answer = await approve(site, loss_question(site.estate, served, losses), given)
    except Refused as error:
        refused = _NotBack(losses[0].service, Refused(f"{losses[0].words}; {error}"))
        return tuple(_not_back(plan, refused) for plan in plans), ()
    return await _together(site, plans, True), (answer.finding,)


async def _together(site: Site, plans: tuple[Rollback, ...], approve_data_loss: bool) -> tuple[ServiceOutcome, ...]:
    try:
        async with AsyncExitStack() as way_back:
            for plan in plans:
                await way_back.enter_async_context(_stable_on_error(site, plan))
            proofs = await all_of(*(_named(plan, _prove_target(site, plan, approve_data_loss)) for plan in plans))
            losses = tuple(proof for proof in proofs if isinstance(proof, Loss))
            if losses:
                raise _NeedsApproval(losses)
            proved = zip(plans, map(str, proofs), strict=True)
            return await all_of(*(_named(plan, _serve(site, plan, words)) for plan, words in proved))
    except _NotBack as error:
        return tuple(_not_back(plan, error) for plan in plans)


async def _named(plan: Rollback, work: Coroutine[Any, Any, T]) -> T:
    """Do a service's part; its error names the service."""
    try:
        return await work
    except OpsError as error:
        raise _NotBack(plan.service.name, error) from error


def _not_back(plan: Rollback, error: _NotBack) -> ServiceOutcome:
    """A service that stays as it is: its own target, or another service's, did not prove itself."""
    name, stable = plan.service.name, plan.ground.stable
    if name == error.service:
        return ServiceOutcome(
            service=name, verdict=error.verdict, revision=stable, previous=plan.target.name, why=str(error)
        )
    why = f"{stable} stays, because {error.service} could not be rolled back"
    return ServiceOutcome(service=name, verdict="unchanged", revision=stable, previous=stable, why=why)


async def _serve(site: Site, plan: Rollback, lost: str) -> ServiceOutcome:
    """Give the proved target all traffic, and look whether it answers."""
    name, target, stable = plan.service.name, plan.target.name, plan.ground.stable
    if plan.nothing_to_do:
        return await _serves_already(site, plan)
    state = await release_candidate(site, name, stable, target)
    await require_probes(site, plan.service, state.uri, target)
    return ServiceOutcome(
        service=name,
        verdict="released",
        revision=target,
        previous=stable,
        image=plan.target.spec.image,
        url=state.uri,
        why=lost,
    )


async def _serves_already(site: Site, plan: Rollback) -> ServiceOutcome:
    """The target serves. Where the ledger does not know of it, a killed run or a person put it there: it is proved."""
    name, target = plan.service.name, plan.target.name
    outcome = ServiceOutcome(service=name, verdict="unchanged", revision=target, previous=target)
    if plan.recorded:
        return outcome
    assert plan.ground.state is not None
    try:
        await require_probes(site, plan.service, plan.ground.state.uri, target)
    except OpsError as error:
        return outcome.model_copy(update={"verdict": "failed", "why": f"{target} serves already, but: {error}"})
    return outcome.model_copy(
        update={"verdict": "released", "url": plan.ground.state.uri, "why": "it served already and was not recorded"}
    )


@asynccontextmanager
async def _stable_on_error(site: Site, plan: Rollback) -> AsyncIterator[None]:
    """Put traffic and schema back to the revision that served when anything goes wrong inside."""
    try:
        yield
    except BaseException:
        if not plan.nothing_to_do:
            await to_the_end(_named(plan, _back_to_stable(site, plan)))
        raise


async def _back_to_stable(site: Site, plan: Rollback) -> None:
    await return_to_stable(site, plan.service.name, plan.ground.stable, other=plan.target.name)
    if not plan.schema_moved or not plan.service.database:
        return
    stands = await read_schema(site, site.estate.database(plan.service.database))
    if stands != plan.schema:
        await _migrate(site, plan, plan.schema or "", "upgrade")


async def _prove_target(site: Site, plan: Rollback, approve_data_loss: bool) -> str | Loss:
    """Probe the target on its tag URL; where only the schema stands in its way, migrate back if that is approved.

    Returns what was lost, in words, empty where nothing was; or what would be lost, where that is not approved.
    """
    name, target, stable = plan.service.name, plan.target.name, plan.ground.stable
    if plan.nothing_to_do:
        return ""
    url = await tag_revision(site, name, stable, target, "roll-back", run_name())
    try:
        await require_probes(site, plan.service, url, target)
    except OpsError as error:
        if not plan.schema_moved:
            raise
        schema, needs = plan.schema or "", plan.needs or ""
        lost = await lost_by_downgrade(site, plan.service, plan.ground, schema, needs) or "nothing that is known"
        if not approve_data_loss:
            return Loss(service=name, target=target, schema_now=schema, needs=needs, lost=lost, why=str(error))
        backup = await back_up(site, _as_release(plan))
        await _migrate(site, plan, needs, "downgrade")
        await require_probes(site, plan.service, url, target)
        return f"the schema went back from {schema} to {needs}; lost: {lost}; backup {backup.id} holds it"
    return ""


async def _migrate(site: Site, plan: Rollback, target: str, direction: Direction) -> None:
    """Move the schema with the image that serves: it alone knows the newer revisions."""
    item = _as_release(plan)
    assert plan.ground.stable_spec is not None
    job = await create_migration_job(site, item, plan.ground.stable_spec.image)
    try:
        await migrate(site, item, job, target, direction)
    except PermanentError:
        await sweep_jobs(site, (plan.service.name,))
        raise
    await delete_job(site, job)


def _as_release(plan: Rollback) -> ServicePlan:
    """The serving release as a plan: what the migration step works on."""
    spec = plan.ground.stable_spec
    assert spec is not None
    return ServicePlan(
        service=plan.service.name,
        ground=plan.ground,
        spec=spec,
        source=SourceTree(path="", digest=spec.annotations.get(naming.SOURCE, _NO_SOURCE), files=0, size_bytes=0),
        release=f"{spec.labels.get(naming.LABEL_RELEASE, 'unknown')}-back",
        migration=MigrationPlan(
            database=plan.service.database or "",
            current=plan.schema,
            target=plan.needs or "",
        ),
    )


async def record_rollbacks(site: Site, plans: tuple[Rollback, ...], verdict: ReleaseVerdict, reason: str) -> None:
    """Write every outcome into the ledger, once."""
    for plan, outcome in zip(plans, verdict.services, strict=True):
        if outcome.verdict == "unchanged":
            continue
        good = outcome.verdict == "released"
        state = await read_service(site, plan.service.name)
        await record_change(
            site,
            "roll_back",
            plan.service.name,
            reason,
            outcome.verdict,
            f"roll-back/{plan.service.name}/{run_name()}",
            {"target": plan.target.name, "probes": digest_of(plan.service.probes)},
            {"revision": plan.ground.stable, "schema": plan.schema},
            {
                "revision": outcome.revision,
                "release": plan.target.spec.labels.get(naming.LABEL_RELEASE, ""),
                "image": plan.target.spec.image,
                "verified": good,
                "why": outcome.why,
                "etag": state.etag if state else "",
            },
        )


__all__ = ["CANDIDATE_TAG", "Rollback", "plan_rollbacks", "planned_rollbacks", "record_rollbacks", "roll_back_all"]
