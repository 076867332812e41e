"""L6: starts the application's own image against a restored copy, and asks its probes.

Safety property: a service of its own name, which gets no traffic of anybody and bears a drill's label; production's
service is read and never changed. The copy's login reaches it as a secret that ends by itself. Both are deleted at the
end; what a kill left, the next run's sweep finds by the label.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from prefect import task

from tasks import progress
from tasks.analysis import drills, ladder
from tasks.analysis import release as naming
from tasks.backup_models import Evidence, LevelResult
from tasks.clients.identity import headers_for
from tasks.errors import Missing, PermanentError
from tasks.estate import Database, Probe, Service
from tasks.models import ProbeResult, RevisionSpec, SecretPin, ServiceState
from tasks.policies import WAIT
from tasks.scratch import Copy
from tasks.site import Site

TIMES = 2


@task(**WAIT)
async def prove_application(site: Site, database: Database, service: Service, copy: Copy, schema: str) -> LevelResult:
    """Start a service's image against the copy and ask its probes; ``schema`` is the revision that the copy stands at.

    Safe to repeat: what an earlier attempt made under the same name is deleted first.
    """
    return await asyncio.to_thread(_prove, site, database, service, copy, schema)


def services_of(site: Site, database: Database) -> tuple[Service, ...]:
    """The services that use a database."""
    return tuple(service for service in site.estate.services if service.database == database.name)


def _prove(site: Site, database: Database, service: Service, copy: Copy, schema: str) -> LevelResult:
    started = time.monotonic()
    try:
        state = site.run.get_service(service.name)
    except Missing:
        return ladder.not_possible(6, f"service {service.name} was never released; run the deploy flow")
    spec, why = _spec_for(site, state, schema)
    if spec is None:
        return ladder.not_possible(6, why)
    variables = [name for name, pin in spec.secret_env.items() if pin.secret == database.url_secret]
    if not variables:
        why = f"service {service.name} does not read {database.url_secret}: it cannot be pointed at a copy"
        return ladder.not_possible(6, why)
    name = drills.service_name(service.name, copy.name)
    _remove(site, name)
    try:
        evidence = _start_and_ask(site, database, service, copy, spec, variables, name)
    finally:
        _remove(site, name)
    return ladder.judged(6, [*evidence, Evidence(what=f"{service.name}: {why}")], time.monotonic() - started)


def _start_and_ask(
    site: Site, database: Database, service: Service, copy: Copy, spec: RevisionSpec, variables: list[str], name: str
) -> list[Evidence]:
    marks = drills.labels(database.name, datetime.now(UTC))
    pin = site.temporary_secrets.put_temporary(name, copy.url, marks, drills.EXPIRES_AFTER)
    pointed = _pointed_at(spec, copy, dict.fromkeys(variables, pin), marks)
    progress.report("application", service.name, f"starting {spec.image} against {copy.name}")
    try:
        started = site.run.create_service(name, pointed, revision="", annotations={}, labels=marks)
    except PermanentError as error:
        return [Evidence(what=f"{service.name} does not start against the copy: {error}", ok=False)]
    results = [result for _ in range(TIMES) for result in _ask(site, service, started.uri)]
    return [_answered(service, result) for result in results]


def _pointed_at(spec: RevisionSpec, copy: Copy, pins: dict[str, SecretPin], marks: dict[str, str]) -> RevisionSpec:
    """The serving revision's spec, with the copy for its database, and one instance at most."""
    return spec.model_copy(
        update={
            "secret_env": {**spec.secret_env, **pins}, "sql_instances": (copy.restored.connection_name,),
            "min_instances": 0, "max_instances": 1, "labels": marks, "annotations": {},
        }
    )  # fmt: skip


def _spec_for(site: Site, state: ServiceState, schema: str) -> tuple[RevisionSpec | None, str]:
    """The revision that goes with the copy's schema: the serving one, else the newest that was released on it."""
    serving = max(state.traffic_statuses, key=lambda line: line.percent, default=None)
    name = serving.revision if serving and serving.revision else state.latest_ready
    revisions = {revision.name: revision for revision in site.run.list_revisions(state.name)}
    if name not in revisions:
        return None, f"service {state.name} has no revision that serves"
    if revisions[name].spec.annotations.get(naming.SCHEMA, schema) == schema or not schema:
        return revisions[name].spec, f"the revision that serves, {name}"
    for revision in revisions.values():  # newest first
        if revision.ready and revision.spec.annotations.get(naming.SCHEMA) == schema:
            return revision.spec, f"{revision.name}, the newest revision for schema {schema}, which {name} is not for"
    return None, f"the copy stands at schema {schema}, and no revision of {state.name} that is kept was released on it"


def _ask(site: Site, service: Service, url: str) -> list[ProbeResult]:
    headers = headers_for(site.google, url)
    rules = [_allowed_in(rule, headers) for rule in service.probes]
    return [site.prober.probe(url, rule) for rule in rules]


def _allowed_in(rule: Probe, headers: dict[str, str]) -> Probe:
    return rule.model_copy(update={"headers": {**rule.headers, **headers}})


def _answered(service: Service, result: ProbeResult) -> Evidence:
    if result.ok:
        spent = f"{result.latency * 1000:.0f} ms"
        return Evidence(what=f"{service.name}: probe {result.probe} answered as declared in {spent}")
    return Evidence(what=f"{service.name}: probe {result.probe} failed: {result.why}", ok=False)


def _remove(site: Site, name: str) -> None:
    """Delete the service and the secret of a drill, where they are and bear its label."""
    try:
        ours = drills.LABEL_DRILL in site.run.get_service(name).labels
    except Missing:
        ours = False
    if ours:
        site.run.delete_service(name)
    site.temporary_secrets.delete_temporary(name, drills.LABEL_DRILL)
