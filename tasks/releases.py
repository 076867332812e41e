"""A release from plan to record, composed of the retryable tasks: what the deploy and roll-back flows share.

Safety property: nothing here changes traffic while an error is unaccounted for. Whatever goes wrong between the
candidate's creation and its proof puts the stable revision back to all traffic before it is reported.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect.states import Failed

from tasks.analysis import history, planning
from tasks.analysis import release as naming
from tasks.analysis.serving import digest_of
from tasks.database import (
    back_up,
    create_migration_job,
    delete_job,
    is_backed_up,
    migrate,
    plan_migration,
    read_schema,
)
from tasks.errors import OpsError, PermanentError, in_one_line
from tasks.estate import Service
from tasks.ground import prove_service
from tasks.images import build_image
from tasks.models import Backup, Finding, Image, ProbeResult
from tasks.parallel import all_of, to_the_end
from tasks.probing import describe, observe_canary, probe, require_probes
from tasks.record import changed_since, record_change, rolled_back_lately, run_name, verified_revisions
from tasks.release_approvals import Approvals
from tasks.release_models import CanaryStep, ReleasePlan, ReleaseVerdict, ServiceOutcome, ServicePlan, Verdict
from tasks.services import (
    CANDIDATE_TAG,
    STABLE_TAG,
    create_candidate,
    open_to_public,
    read_service,
    read_tag_url,
    release_candidate,
    return_to_stable,
    settle_service,
    shift_traffic,
    tag_revision,
)
from tasks.site import Site
from tasks.sources import read_source, upload_archive, words_of_release
from tasks.sweep import await_jobs, sweep_jobs
from tasks.synchronisation import check_sync_source, clear_caches, run_sync_command, synchronise


class CanaryFailed(PermanentError):
    """The candidate had traffic and did not prove itself; the stable revision has all traffic again."""

    def __init__(self, message: str, verdict: Verdict) -> None:
        super().__init__(message)
        self.verdict: Verdict = verdict


async def settle(site: Site, services: tuple[Service, ...]) -> None:
    """Put in order what a killed run left: splits that bear our mark, then jobs of ours, when they are over."""
    names = tuple(service.name for service in services)
    await all_of(*(settle_service(site, name) for name in names))
    await await_jobs(site, names)
    await sweep_jobs(site, names)


async def make_plan(site: Site, services: tuple[Service, ...], root: Path, reason: str) -> ReleasePlan:
    """Prove the ground of every service and decide what to do to each. Reads only."""
    urls = await read_urls(site)
    planning.check_urls(services, urls)
    items = await all_of(*(plan_one(site, service, root, urls) for service in services))
    by_name = {item.service: item for item in items}
    waves = tuple(
        tuple(by_name[service.name] for service in wave)
        for wave in site.estate.waves(service.name for service in services)
    )
    return ReleasePlan(estate=site.estate.name, reason=reason, waves=waves, findings=planning.findings_of(items))


async def plan_one(site: Site, service: Service, root: Path, urls: dict[str, str]) -> ServicePlan:
    """Plan one service: source, ground, and schema where it has one."""
    source = await read_source(site, service, root)
    await check_sync_source(service, root)
    ground = await prove_service(site, service)
    migration = None
    if service.migration and service.database:
        current = await read_schema(site, site.estate.database(service.database))
        digest = planning.source_of(ground.stable_spec)
        words = await words_of_release(site, service.name, digest) if digest else None
        migration = await plan_migration(site, service, root, current, words)
    return planning.plan_service(site.estate, service, ground, source, migration, urls)


def chosen(site: Site, names: tuple[str, ...]) -> tuple[Service, ...]:
    """The services that are meant, in the order in which they are released; all where none is named."""
    return tuple(service for wave in site.estate.waves(names) for service in wave)


async def read_urls(site: Site) -> dict[str, str]:
    """The URL of each service of the estate that exists."""
    states = await all_of(*(read_service(site, service.name) for service in site.estate.services))
    return {state.name: state.uri for state in states if state is not None}


async def refusals_of(site: Site, plan: ReleasePlan, force: bool, since: str = "") -> tuple[str, ...]:
    """Every reason for which the plan must not be carried out, whoever approves it. ``since`` as the form says it."""
    if force:
        return ()
    reasons = [await rolled_back_lately(site, item.service, item.release) for item in plan.services]
    if since:
        reasons += [await changed_since(site, item.service, datetime.fromisoformat(since)) for item in plan.services]
    return tuple(reason for reason in reasons if reason)


async def apply(site: Site, plan: ReleasePlan, approvals: Approvals) -> tuple[ServiceOutcome, ...]:
    """Build everything in parallel, then release wave by wave; stop at the first wave that does not make it."""
    images, outcomes = await build_all(site, plan)
    if outcomes:
        return tuple(outcomes)
    for wave in plan.waves:
        outcomes += await all_of(*(release_one(site, item, images.get(item.service), approvals) for item in wave))
        if any(outcome.verdict not in ("released", "unchanged") for outcome in outcomes):
            break
    return tuple(outcomes)


async def build_all(site: Site, plan: ReleasePlan) -> tuple[dict[str, Image], list[ServiceOutcome]]:
    """Build every image that is needed; the images, and the outcomes of the services whose image could not be built."""
    wanted = tuple(item for item in plan.services if not item.already_released)
    built = await asyncio.gather(*(build_one(site, item) for item in wanted), return_exceptions=True)
    images: dict[str, Image] = {}
    failed: list[ServiceOutcome] = []
    for item, result in zip(wanted, built, strict=True):
        if isinstance(result, Exception):
            failed.append(failure(item, result))
        elif isinstance(result, BaseException):
            raise result
        else:
            images[item.service] = result
    return images, failed


async def build_one(site: Site, item: ServicePlan) -> Image:
    """Build one service's image from its archive in the bucket."""
    service = site.estate.service(item.service)
    archive = await upload_archive(site, service, item.source)
    return await build_image(site, service, item.source, archive)


async def release_one(site: Site, item: ServicePlan, image: Image | None, approvals: Approvals) -> ServiceOutcome:
    """Release one service and say how it ended; an error becomes the outcome, with the stable revision serving."""
    steps: list[CanaryStep] = []
    backup: list[Backup] = []
    try:
        if image is None:
            return await verify_released(site, item)
        await change_schema(site, item, image, backup, approvals)
        async with serving_on_error(site, item, image, approvals), stable_on_error(site, item):
            revision = await create_candidate(site, await with_urls(site, item), image.uri, run_name())
            if item.ground.stable:
                await open_first_release(site, item)
                await canary(site, item, revision, steps)
            outcome = await finish(site, item, revision, image, tuple(steps))
        return outcome.model_copy(update={"backup": backup[0] if backup else None})
    except Exception as error:  # noqa: BLE001  whatever it was is this service's outcome; the others go on
        return failure(item, error, image, tuple(steps), backup[0] if backup else None)


def failure(
    item: ServicePlan,
    error: Exception,
    image: Image | None = None,
    steps: tuple[CanaryStep, ...] = (),
    backup: Backup | None = None,
) -> ServiceOutcome:
    """The outcome that an error stands for. What is no error of ours is logged whole: it is a fault of the program."""
    if not isinstance(error, OpsError):
        logging.getLogger(__name__).error("releasing %s failed", item.service, exc_info=error)
    return ServiceOutcome(
        service=item.service,
        verdict=verdict_of(error),
        release=item.release,
        revision=item.ground.stable,
        image=image.uri if image else "",
        canary=steps,
        backup=backup,
        why=str(error) if isinstance(error, OpsError) else in_one_line(error),
    )


def verdict_of(error: Exception) -> Verdict:
    """The verdict that an error stands for."""
    return error.verdict if isinstance(error, CanaryFailed) else "failed"


async def with_urls(site: Site, item: ServicePlan) -> ServicePlan:
    """The plan with the URLs of the services that exist by now."""
    return item.model_copy(update={"spec": planning.with_urls(item.spec, await read_urls(site))})


async def change_schema(
    site: Site, item: ServicePlan, image: Image, backup: list[Backup], approvals: Approvals
) -> None:
    """Back up and migrate where revisions are pending; then prove that the serving revision lives on the new schema."""
    if item.migration is None:
        return
    if item.changes_schema:
        backup.append(await back_up(site, item))
        await run_migration(site, item, image, item.migration.target)
    if item.ground.stable and item.ground.state and not approvals.outage:
        await prove_serving(site, item, image)


async def run_migration(site: Site, item: ServicePlan, image: Image, target: str, back: bool = False) -> None:
    """Run the release's migration job to a revision, and delete the job, but for one that is still at work."""
    job = await create_migration_job(site, item, image.uri)
    try:
        await migrate(site, item, job, target, "downgrade" if back else "upgrade")
    except PermanentError:
        await sweep_jobs(site, (item.service,))
        raise
    await delete_job(site, job)


async def prove_serving(site: Site, item: ServicePlan, image: Image) -> None:
    """Probe the serving revision on the schema as it is now; undo the migration at once where that broke it.

    Raises PermanentError after the undo: the new code is not released over a service that it broke.
    """
    said = await undo_what_broke(site, item, image)
    if said:
        raise PermanentError(f"{said}; release code that works on both schemas first, or pass approve_outage=true")


async def undo_what_broke(site: Site, item: ServicePlan, image: Image) -> str:
    """Where the migration broke the serving revision, migrate back. What was done, in words; empty where it serves.

    Raises PermanentError where the way back fails too: the serving revision is then broken.
    """
    assert item.migration is not None
    bad = await bad_answers(site, item)
    before = await schema_before(site, item) if bad else None
    if before is None or before == item.migration.target:
        return ""
    said = f"migrating {item.migration.database} to {item.migration.target} broke {item.ground.stable}: "
    said += describe(bad[0])
    try:
        await run_migration(site, item, image, before, back=True)
    except OpsError as error:
        raise PermanentError(
            f"{said}; going back to {before} failed, so it serves with errors: {error}; restore the backup, or release "
            "this code with approve_outage=true"
        ) from error
    still = await bad_answers(site, item)
    after = f", but it still fails: {describe(still[0])}" if still else ""
    return f"{said}; undone, the schema is at {before} again{after}"


async def bad_answers(site: Site, item: ServicePlan) -> list[ProbeResult]:
    """The bad answers of the revision that serves."""
    assert item.ground.state is not None
    results = await probe(site, site.estate.service(item.service), item.ground.state.uri, "", 3)
    return [result for result in results if not result.ok]


async def schema_before(site: Site, item: ServicePlan) -> str | None:
    """The schema revision to go back to, where it was this release that moved the schema under a working revision.

    None where the serving revision failed before: going back would not mend it, and deletes what was written since. A
    killed run of this release is known by its backup.
    """
    assert item.migration is not None
    if item.changes_schema:
        return item.migration.current if item.ground.stable_healthy else None
    return item.ground.schema_revision if await is_backed_up(site, item) else None


@asynccontextmanager
async def serving_on_error(site: Site, item: ServicePlan, image: Image, approvals: Approvals) -> AsyncIterator[None]:
    """Undo an approved outage when the new revision did not come to serve: it was approved for a while only."""
    try:
        yield
    except OpsError as error:
        if not approvals.outage or item.migration is None or not item.ground.stable:
            raise
        said = await undo_what_broke(site, item, image)
        if not said:
            raise
        if isinstance(error, CanaryFailed):
            raise CanaryFailed(f"{error}; {said}", error.verdict) from error
        raise PermanentError(f"{error}; {said}") from error


@asynccontextmanager
async def stable_on_error(site: Site, item: ServicePlan) -> AsyncIterator[None]:
    """Put all traffic back on the stable revision when anything goes wrong inside."""
    try:
        yield
    except BaseException:
        if item.ground.stable:
            await to_the_end(return_to_stable(site, item.service, item.ground.stable, item.release))
        raise


async def open_first_release(site: Site, item: ServicePlan) -> None:
    """Let anybody call a service of ours whose first release was killed before it came to that.

    A service that somebody else made, or that was released before, keeps the policy that it has.
    """
    ours = item.ground.state is not None and naming.is_ours(item.ground.state.labels)
    if ours and not await verified_revisions(site, item.service):
        await open_to_public(site, item.service)


async def canary(site: Site, item: ServicePlan, revision: str, steps: list[CanaryStep]) -> None:
    """Probe the candidate on its tag URL, then give it traffic step by step while the judge agrees.

    ``steps`` gets what each step saw, the last one's too when it raises CanaryFailed.
    """
    service, stable = site.estate.service(item.service), item.ground.stable
    candidate_url = await read_tag_url(site, item.service, CANDIDATE_TAG, revision)
    stable_url = await read_tag_url(site, item.service, STABLE_TAG, stable)
    await require_probes(site, service, candidate_url, revision)
    share = 0
    for rule in site.estate.canary_of(service).steps:
        await shift_traffic(site, item.service, stable, revision, rule.percent, share)
        share = rule.percent
        step = await observe_canary(site, service, rule, revision, stable, candidate_url, stable_url)
        steps.append(step)
        if step.verdict != "healthy":
            await return_to_stable(site, item.service, stable, item.release)
            raise CanaryFailed(planning.why_not(step, revision, stable), planning.verdict_of_step(step))


async def finish(
    site: Site, item: ServicePlan, revision: str, image: Image, steps: tuple[CanaryStep, ...]
) -> ServiceOutcome:
    """Give the new revision all traffic, verify it by looking, then sync."""
    service = site.estate.service(item.service)
    if item.ground.stable:
        share = steps[-1].percent if steps else 0
        await release_candidate(site, item.service, item.ground.stable, revision, share)
    else:
        await open_to_public(site, item.service)
    state = await read_service(site, item.service)
    assert state is not None
    await require_probes(site, service, state.uri, revision)
    await sync(site, item, image.uri, state.uri, revision)
    return ServiceOutcome(
        service=item.service,
        verdict="released",
        release=item.release,
        revision=revision,
        previous=item.ground.stable,
        image=image.uri,
        canary=steps,
        url=state.uri,
    )


async def sync(site: Site, item: ServicePlan, image: str, url: str, revision: str) -> None:
    """Run the service's sync step, clear its caches, and probe once more, deeply."""
    service = site.estate.service(item.service)
    if service.sync is None:
        return
    if service.sync.kind == "http":
        await synchronise(site, service, url)
    else:
        await run_sync_command(site, item, image)
    await clear_caches(site, service, url)
    await require_probes(site, service, url, revision)


async def verify_released(site: Site, item: ServicePlan) -> ServiceOutcome:
    """Prove a release that serves already; finish what a killed run did not get to record.

    Where it does not prove itself and was never verified, the last verified revision serves again.
    """
    assert item.ground.state is not None
    assert item.ground.stable_spec is not None
    standing = await verified_revisions(site, item.service)
    known = item.ground.stable in standing[:1]
    outcome = ServiceOutcome(
        service=item.service,
        verdict="unchanged" if known else "released",
        release=item.release,
        revision=item.ground.stable,
        previous="" if known else history.earlier(standing, item.ground.stable) or "",
        image=item.ground.stable_spec.image,
        url=item.ground.state.uri,
    )
    async with verified_on_error(site, item, standing):
        await open_first_release(site, item)
        await require_probes(site, site.estate.service(item.service), outcome.url, outcome.revision)
        if not known:
            await sync(site, item, outcome.image, outcome.url, outcome.revision)
    return outcome


@asynccontextmanager
async def verified_on_error(site: Site, item: ServicePlan, standing: tuple[str, ...]) -> AsyncIterator[None]:
    """Put the last verified revision back when one that was never verified does not prove itself."""
    try:
        yield
    except OpsError as error:
        before = history.earlier(standing, item.ground.stable)
        if before is None or item.ground.stable in standing:
            raise
        await take_back(site, site.estate.service(item.service), item.ground.stable, before, item.release)
        raise PermanentError(f"{error}; {before} serves again") from error


async def put_back_together(
    site: Site, plan: ReleasePlan, outcomes: tuple[ServiceOutcome, ...], together: bool
) -> tuple[ServiceOutcome, ...]:
    """If one service did not make it, put back the others that this run released, where asked."""
    made = all(outcome.verdict in ("released", "unchanged") for outcome in outcomes)
    if made or not together:
        return outcomes
    return await all_of(*(put_back(site, outcome) for outcome in outcomes))


async def put_back(site: Site, outcome: ServiceOutcome) -> ServiceOutcome:
    """Put one released service back on the revision that served before, if that one works on the schema of now."""
    if outcome.verdict != "released" or outcome.previous in ("", outcome.revision):
        return outcome
    try:
        service = site.estate.service(outcome.service)
        await take_back(site, service, outcome.revision, outcome.previous, outcome.release)
    except OpsError as error:
        return outcome.model_copy(update={"why": f"stays released although the release failed elsewhere: {error}"})
    return outcome.model_copy(
        update={
            "verdict": "rolled_back",
            "revision": outcome.previous,
            "why": "put back with the rest of the release",
        }
    )


async def take_back(site: Site, service: Service, serving: str, earlier: str, release: str) -> None:
    """Probe the earlier revision on a tag URL, then give it all traffic. Raises with the serving one as it was."""
    url = await tag_revision(site, service.name, serving, earlier, release, run_name())
    try:
        await require_probes(site, service, url, earlier)
        await release_candidate(site, service.name, serving, earlier)
    except BaseException:
        await to_the_end(return_to_stable(site, service.name, serving, other=earlier))
        raise


def summary(plan: ReleasePlan, outcomes: tuple[ServiceOutcome, ...], shown: str) -> ReleaseVerdict:
    """One verdict over all services: the worst."""
    order: tuple[Verdict, ...] = ("failed", "rolled_back", "held", "refused", "released", "unchanged")
    worst = min((outcome.verdict for outcome in outcomes), key=order.index)
    first = next((outcome.why for outcome in outcomes if outcome.verdict == worst and outcome.why), "")
    return ReleaseVerdict(
        verdict=worst,
        services=outcomes,
        findings=plan.findings,
        why=first,
        started=datetime.now(UTC),
        seconds=0,
        plan=shown,
    )


def planned(plan: ReleasePlan, refusals: tuple[str, ...], shown: str, dry_run: bool) -> ReleaseVerdict:
    """The verdict of a run that stopped at its plan."""
    return ReleaseVerdict(
        verdict="refused" if refusals else "planned",
        findings=plan.findings,
        why="; ".join(refusals),
        started=datetime.now(UTC),
        seconds=0,
        dry_run=dry_run,
        plan=shown,
        services=tuple(
            ServiceOutcome(
                service=item.service,
                verdict="refused" if refusals else "planned",
                release=item.release,
                previous=item.ground.stable,
            )
            for item in plan.services
        ),
    )


async def record(site: Site, plan: ReleasePlan, verdict: ReleaseVerdict, reason: str) -> None:
    """Write every outcome into the ledger, once."""
    items = {item.service: item for item in plan.services}
    for outcome in verdict.services:
        if outcome.verdict == "unchanged":
            continue
        item = items[outcome.service]
        good = outcome.verdict == "released"
        await record_change(
            site,
            "deploy",
            outcome.service,
            reason,
            outcome.verdict,
            f"deploy/{outcome.service}/{run_name()}",
            {
                "source": item.source.digest, "commit": item.source.commit, "release": item.release,
                "services": sorted(items),
                "probes": digest_of(site.estate.service(outcome.service).probes),
            },
            {"revision": item.ground.stable, "schema": item.ground.schema_revision},
            {
                "revision": outcome.revision,
                "release": outcome.release,
                "image": outcome.image,
                "verified": good,
                "why": outcome.why,
                "judged_bad": bool(outcome.canary) and outcome.canary[-1].verdict == "unhealthy",
            },
        )


def timed(verdict: ReleaseVerdict, began: float) -> ReleaseVerdict:
    """The verdict with when the run started, and how long it took up to now. ``began`` as ``conclude`` takes it."""
    seconds = time.monotonic() - began
    started = datetime.now(UTC) - timedelta(seconds=seconds)
    return verdict.model_copy(update={"started": started, "seconds": round(seconds, 2)})


def conclude(verdict: ReleaseVerdict, began: float, told: tuple[Finding, ...] = ()) -> Any:
    """The flow's result: the verdict, as a failed state where the release did not come to be.

    ``began`` is what ``time.monotonic()`` said at the start.
    """
    done = timed(verdict, began)
    done = done.model_copy(update={"findings": (*done.findings, *told)})
    if done.verdict in ("released", "unchanged", "planned"):
        return done
    return Failed(message=done.why or done.verdict, data=done)
