"""L6: starts the application's own image against a restored copy, and asks its probes.

The image is the one that served at the moment that was restored. Safety property: a service of its own name, which
gets no traffic of anybody and bears a drill's label; production's service is read and never changed. The copy's login
reaches it as a secret that ends by itself. Both are deleted at the end; what a kill left, the next run's sweep finds by
the label. A failure that the backup need not be to blame for is "not possible", never "failed".
"""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime

from prefect import task

from tasks import progress
from tasks.analysis import drills, ladder
from tasks.analysis.serving import Scene, Served, digest_of, ours, served_at
from tasks.backup_models import Evidence, LevelResult
from tasks.clients.identity import headers_for
from tasks.errors import Missing, PermanentError, Refused
from tasks.estate import Database, Probe, Service
from tasks.models import ProbeResult, RevisionSpec, SecretPin, ServiceState
from tasks.policies import WAIT
from tasks.scratch import Copy
from tasks.site import Site

TIMES = 2
#: How many changes of a service are looked at, over all projects that share the ledger.
HISTORY = 1000
#: What keeps a revision from starting without any backup being to blame: its image is gone, its account may not read a
#: secret. Cloud Run says the second of the field that names the secret.
_NOT_THE_BACKUP = re.compile(r"Image '[^']*' not found|secret_key_ref")


@task(**WAIT)
async def prove_application(
    site: Site, database: Database, service: Service, copy: Copy, moment: datetime
) -> LevelResult:
    """Start the image that served at a moment against the copy of that moment, and ask its probes.

    Safe to repeat: what an earlier attempt made under the same name is deleted first.
    """
    return await asyncio.to_thread(_prove, site, database, service, copy, moment)


def services_of(site: Site, database: Database) -> tuple[Service, ...]:
    """The services that use a database."""
    return tuple(service for service in site.estate.services if service.database == database.name)


def _prove(site: Site, database: Database, service: Service, copy: Copy, moment: datetime) -> LevelResult:
    started = time.monotonic()
    try:
        state = site.run.get_service(service.name)
    except Missing:
        return ladder.not_possible(6, f"service {service.name} was never released; run the deploy flow")
    served = served_at(_scene(site, service, state, copy, moment))
    if served.revision is None:
        return ladder.not_possible(6, f"what served {service.name} then cannot be started: {served.why}")
    try:
        spec, notes = _rehearsed(site, service, served.revision.spec, database.url_secret)
    except (Missing, Refused) as error:
        return ladder.not_possible(6, f"what served {service.name} then cannot be started: {error}")
    variables = [name for name, pin in spec.secret_env.items() if pin.secret == database.url_secret]
    if not variables:
        why = f"service {service.name} does not read {database.url_secret}: it cannot be pointed at a copy"
        return ladder.not_possible(6, why)
    evidence = _started_and_asked(site, database, service, copy, spec, variables)
    said = Evidence(what="; ".join((f"{service.name}: {served.why}", *notes)))
    result = ladder.judged(6, [*evidence, said], time.monotonic() - started)
    return ladder.excused(result, _other_reason(service, served, result))


def _scene(site: Site, service: Service, state: ServiceState, copy: Copy, moment: datetime) -> Scene:
    serving = max(state.traffic_statuses, key=lambda line: line.percent, default=None)
    with copy.inspector.session() as session:
        stands_at = session.schema_revision() or ""
    return Scene(
        service=service.name, moment=moment, stands_at=stands_at,
        serving=(serving.revision or state.latest_ready) if serving else "",
        revisions=tuple(site.run.list_revisions(service.name)),
        changes=ours(site.ledger.changes(subject=service.name, limit=HISTORY), site.estate.google.project),
        probes=digest_of(service.probes),
    )  # fmt: skip


def _rehearsed(site: Site, service: Service, spec: RevisionSpec, url_secret: str) -> tuple[RevisionSpec, list[str]]:
    """A revision's spec as a drill runs it, and what was changed of it. Raises Missing or Refused without a secret.

    A version that is not enabled any more was rotated away: the newest one that is stands for it.
    """
    rule, pins, notes = service.drill, dict[str, SecretPin](), list[str]()
    left_out = {*rule.without, *rule.env}
    for variable, pin in spec.secret_env.items():
        if variable in left_out:
            continue
        pins[variable] = pin if pin.secret == url_secret else _enabled(site, pin)
        if pins[variable] != pin:
            notes.append(f"{variable} is version {pins[variable].version} of {pin.secret}, its own is not enabled")
    env = {name: value for name, value in spec.env.items() if name not in left_out} | rule.env
    notes += [f"without {', '.join(rule.without)}"] if rule.without else []
    notes += [f"with {', '.join(rule.env)} of the drill"] if rule.env else []
    account = rule.service_account or spec.service_account
    return spec.model_copy(update={"env": env, "secret_env": pins, "service_account": account}), notes


def _enabled(site: Site, pin: SecretPin) -> SecretPin:
    try:
        site.secrets.resolve(pin.secret, pin.version)
    except (Missing, Refused):
        for version in site.secrets.versions(pin.secret):  # newest first
            if version.state == "ENABLED":
                return pin.model_copy(update={"version": str(version.version)})
        raise
    return pin


def _other_reason(service: Service, served: Served, result: LevelResult) -> str:
    """Why a failure says nothing of the backup; empty where it does."""
    if _NOT_THE_BACKUP.search(result.why):
        return f"what served {service.name} then cannot be started any more"
    return f"{service.name}: it is not certain that the backup is to blame: {served.doubt}" if served.doubt else ""


def _started_and_asked(
    site: Site, database: Database, service: Service, copy: Copy, spec: RevisionSpec, variables: list[str]
) -> list[Evidence]:
    name = drills.service_name(service.name, copy.name)
    _remove(site, name)
    try:
        return _start_and_ask(site, database, service, copy, spec, variables, name)
    finally:
        _remove(site, name)


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
    """The spec with the copy for its database, and one instance at most."""
    return spec.model_copy(
        update={
            "secret_env": {**spec.secret_env, **pins}, "sql_instances": (copy.restored.connection_name,),
            "min_instances": 0, "max_instances": 1, "labels": marks, "annotations": {},
        }
    )  # fmt: skip


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
