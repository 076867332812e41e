"""Makes the plan of a release from what was found, and says what makes it unsafe. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tasks.analysis import release as naming
from tasks.analysis.drift import drift
from tasks.errors import BadInput
from tasks.estate import Estate, Service, fill_in_urls
from tasks.estate.cloud_run import SERVICE_URL
from tasks.models import Finding, RevisionSpec, SecretPin, SourceTree
from tasks.release_models import CanaryStep, MigrationPlan, ReleasePlan, ServiceGround, ServicePlan, Verdict


def wanted_spec(estate: Estate, service: Service, pins: Mapping[str, SecretPin]) -> RevisionSpec:
    """What the estate wants a service to run, without image, labels and annotations; URLs still as placeholders."""
    instances: tuple[str, ...] = ()
    if service.database:
        found = estate.database(service.database)
        instances = (f"{estate.google.project}:{estate.google.region}:{found.instance}",)
    return RevisionSpec(
        image="",
        command=service.command,
        args=service.args,
        port=service.port,
        cpu=service.cpu,
        memory=service.memory,
        min_instances=service.min_instances,
        max_instances=service.max_instances,
        concurrency=service.concurrency,
        timeout_seconds=service.timeout_seconds,
        env=dict(service.env),
        secret_env=dict(pins),
        sql_instances=instances,
        service_account=service.service_account,
    )


def plan_service(
    estate: Estate,
    service: Service,
    ground: ServiceGround,
    source: SourceTree,
    migration: MigrationPlan | None,
    urls: Mapping[str, str],
) -> ServicePlan:
    """Decide what a release does to one service."""
    bare = wanted_spec(estate, service, ground.pins)
    release = naming.release_id(source.digest, bare)
    spec = bare.model_copy(
        update={
            "labels": naming.revision_labels(service.name, release),
            "annotations": naming.revision_annotations(release, source.digest, migration.target if migration else None),
        }
    )
    differs = drift(ground.stable_spec, with_urls(spec, urls)) if ground.stable_spec else ()
    same = ground.stable_spec is not None and ground.stable_spec.labels.get(naming.LABEL_RELEASE) == release
    pending = migration is not None and bool(migration.pending)
    return ServicePlan(
        service=service.name,
        ground=ground,
        source=source,
        release=release,
        spec=spec,
        drift=differs,
        migration=migration,
        already_released=same and not pending and not differs,
    )


def with_urls(spec: RevisionSpec, urls: Mapping[str, str]) -> RevisionSpec:
    """The spec with ``{services.NAME.url}`` replaced where the URL is known."""
    return spec.model_copy(update={"env": fill_in_urls(spec.env, urls)})


def check_urls(services: Iterable[Service], urls: Mapping[str, str]) -> None:
    """Raise BadInput for a service that is to be given the URL of one that has none and is not released with it."""
    chosen = {service.name: service for service in services}
    for service in chosen.values():
        needed = {name for value in service.env.values() for name in SERVICE_URL.findall(value)}
        missing = sorted(needed - urls.keys() - chosen.keys())
        if missing:
            raise BadInput(
                f"releasing {service.name} failed: it is given the URL of {', '.join(missing)}, which was never "
                f"deployed; deploy it too: services={','.join([*missing, service.name])}"
            )


def source_of(spec: RevisionSpec | None) -> str:
    """The digest of the source of a revision that caretaker released; empty for any other."""
    return spec.annotations.get(naming.SOURCE, "") if spec else ""


def why_not(step: CanaryStep, candidate: str, stable: str) -> str:
    """Why a canary did not go on, in one line."""
    seen = f"{step.failures} of {step.requests} requests failed"
    reasons = f" ({'; '.join(step.reasons)})" if step.reasons else ""
    way_out = "see the service's log of that revision" if step.verdict == "unhealthy" else "give the step more time"
    return f"canary of {candidate} at {step.percent} % was {step.verdict}: {seen}{reasons}; {stable} serves; {way_out}"


def verdict_of_step(step: CanaryStep) -> Verdict:
    """An unhealthy canary is rolled back; one that stayed undecided is held back."""
    return "rolled_back" if step.verdict == "unhealthy" else "held"


def unsafe(plan: ReleasePlan, *, approve_data_loss: bool, approve_outage: bool) -> tuple[str, ...]:
    """Why the plan must not be carried out as it stands, each with the way out; empty when it may."""
    reasons: list[str] = []
    for item in plan.services:
        migration = item.migration
        if migration is None:
            continue
        if migration.loses_data and not approve_data_loss:
            reasons.append(
                f"migrating {migration.database} loses data ({'; '.join(migration.loses_data)}); keep it, or pass "
                "approve_data_loss=true"
            )
        if migration.breaks_serving and item.ground.stable and not approve_outage:
            reasons.append(
                f"migrating {migration.database} breaks {item.ground.stable}, which serves until the new revision does "
                f"({'; '.join(migration.breaks_serving)}); release code that works on both schemas first, or pass "
                "approve_outage=true"
            )
    return tuple(reasons)


def findings_of(items: tuple[ServicePlan, ...]) -> tuple[Finding, ...]:
    """What a person should know before the plan is carried out."""
    found: list[Finding] = []
    for item in items:
        if item.ground.stable and item.ground.stable_healthy is False:
            found.append(
                Finding(
                    severity="warning",
                    subject=item.ground.stable,
                    what="the serving revision fails its probes already",
                    way_out="the canary cannot be compared with it; watch the release",
                )
            )
        if item.ground.leftover:
            found.append(
                Finding(
                    severity="info",
                    subject=item.service,
                    what=f"a killed run left the candidate {item.ground.leftover}",
                    way_out="it is put in order before this release",
                )
            )
        if item.migration:
            found.extend(item.migration.findings)
    return tuple(found)
