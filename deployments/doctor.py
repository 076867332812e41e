"""``caretaker doctor``: asks every outside system one harmless question, and says what to do where there is no answer.

Safety property: it only reads. Each check stands alone: one that fails does not hide the next.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deployments.cared_for import estates, prove_cared_for
from deployments.permissions import missing_roles
from deployments.stack.folder import Folder
from deployments.stack.programs import PREFECT_YAML, answers, prefect_api
from deployments.stack.up import estate_of
from tasks.analysis.units import counted
from tasks.clients import log_analytics_sql
from tasks.clients.bigquery import BigQuery
from tasks.clients.builds import Builds
from tasks.clients.cloud_run import CloudRun
from tasks.clients.cloud_sql import CloudSql
from tasks.clients.google import Google
from tasks.clients.ledger import Ledger
from tasks.clients.log_analytics import week_parameters
from tasks.clients.logs import Logs
from tasks.clients.monitoring import Monitoring
from tasks.clients.program import shown
from tasks.clients.secret_manager import SecretManager
from tasks.clients.storage import Bucket
from tasks.errors import BadInput, Missing, OpsError
from tasks.estate import Costs, Estate
from tasks.followed import repository_url
from tasks.hand_over import HandOver
from tasks.settings import Settings, settings
from tasks.site import Site

Check = tuple[str, Callable[[], str]]


@dataclass(frozen=True)
class Answer:
    """What one check found: a detail when it is well, the reason and the way out when not."""

    check: str
    ok: bool
    says: str


def examine(folder: Folder, estate_file: Path | None) -> list[Answer]:
    """Make every check; those of an estate that cannot be read are left out."""
    path = estate_of(estate_file)
    try:
        estate = Estate.load(path)
    except OpsError as error:
        return [Answer("estate", False, str(error)), *_ask(stack_checks(folder, settings()))]
    machine = settings()
    cared_for = ("deployments", lambda: _deployments(estate))
    checks = [cared_for, *cloud_checks(estate, machine), *stack_checks(folder, machine)]
    return [Answer("estate", True, f"{estate.name}: {len(estate.services)} services"), *_ask(checks)]


def cloud_checks(estate: Estate, machine: Settings) -> Iterator[Check]:
    """One reading call for each API that the flows use, and one for each secret and database of the estate."""
    google = Google(estate.google, machine)
    yield "credentials", lambda: _credentials(google, machine)
    if google.local and not _cloud_answers(machine):
        return  # one line says it; each API would say it again
    yield "permissions", lambda: _permissions(google)
    yield "Cloud Run", lambda: f"{len(CloudRun(google).list_services())} services"
    yield "Cloud Build", lambda: f"{len(Builds(google).find('caretaker-doctor'))} builds tagged caretaker-doctor"
    if estate.review.log_dataset is not None:
        yield "log dataset", lambda: _log_dataset(google, estate)
    yield "Logging", lambda: f"{len(Logs(google).entries('', _minutes_ago(5), 1))} of the newest entries read"
    yield "Monitoring", lambda: _monitoring(google, estate)
    if estate.costs is not None:
        yield "billing export", lambda costs=estate.costs: _billing(google, costs)  # type: ignore[misc]
    yield f"bucket {estate.google.bucket}", lambda: _bucket(google)
    if estate.source is not None:
        yield "branch", lambda: _branch(Site(estate, machine))
    for secret in estate.secrets:
        yield f"secret {secret.name}", lambda name=secret.name: _secret(google, name)  # type: ignore[misc]
    for database in estate.databases:
        yield f"database {database.name}", lambda name=database.instance: _instance(google, name)  # type: ignore[misc]


def stack_checks(folder: Folder, machine: Settings) -> Iterator[Check]:
    """Prefect's API and the ledger."""
    yield "Prefect's API", lambda: prefect_api(folder)
    yield "ledger", lambda: _ledger(machine)


def print_findings(found: list[Answer], *, as_json: bool) -> int:
    """Print a line for each check; exit status 1 when one failed."""
    if as_json:
        print(json.dumps([asdict(answer) for answer in found], indent=2))
    else:
        for answer in found:
            print(f"{'✓' if answer.ok else '✗'} {answer.check}: {answer.says}")
    return 0 if all(answer.ok for answer in found) else 1


def _ask(checks: Iterator[Check] | list[Check]) -> list[Answer]:
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(_answer, checks))


def _answer(check: Check) -> Answer:
    name, question = check
    try:
        return Answer(name, True, question())
    except OpsError as error:
        return Answer(name, False, str(error))


def _deployments(estate: Estate) -> str:
    prove_cared_for(PREFECT_YAML, estate)
    named = estates(PREFECT_YAML).get(estate.file.resolve(), [])
    return f"{counted(len(named), 'deployment')} of {PREFECT_YAML.name} name {estate.file.name}"


def _credentials(google: Google, machine: Settings) -> str:
    if google.local:
        return f"none needed: {_local_cloud(machine)}"
    return f"{google.member} (project {google.project})"


def _local_cloud(machine: Settings) -> str:
    if not _cloud_answers(machine):
        raise Missing(f"reaching the local cloud of {machine.state} failed: no answer; run 'caretaker up'")
    return f"local cloud at {machine.local_cloud['grpc']}"


def _cloud_answers(machine: Settings) -> bool:
    try:
        return answers(f"{machine.local_cloud['control']}/healthz")
    except BadInput:
        return False


def _permissions(google: Google) -> str:
    if google.local:
        return "the local cloud allows everything"
    missing = missing_roles(google)
    if missing:
        raise OpsError(f"{google.member} lacks {', '.join(missing)}; " + "; ".join(missing.values()))
    return "every role that the flows need"


def _bucket(google: Google) -> str:
    return f"{len(Bucket(google, google.bucket).list('doctor/'))} objects below doctor/"


def _branch(site: Site) -> str:
    branch, head = HandOver(site).mirror.remote_head()
    return f"{branch or 'the commit that is checked out'} of {shown(repository_url(site))} is at {head[:12]}"


def _billing(google: Google, costs: Costs) -> str:
    """What a question would read, without asking it: it is billed."""
    sql = f"SELECT MAX(export_time) AS newest FROM `{costs.table}`"  # noqa: S608  the estate checks the name
    processed = BigQuery(google, costs.maximum_bytes_billed).estimate(sql, {}, f"looking at {costs.table}")
    return f"{costs.table} can be read ({processed:,} bytes for its newest line)"


def _log_dataset(google: Google, estate: Estate) -> str:
    """What the review's one query would read of a day, without asking it: it is billed."""
    rules = estate.review
    sql = log_analytics_sql.WEEK.format(table=rules.log_dataset)
    asked = week_parameters(_minutes_ago(24 * 60), _minutes_ago(0))
    bigquery = BigQuery(google, rules.maximum_bytes_billed)
    processed = bigquery.estimate(sql, asked, f"looking at {rules.log_dataset}")
    return f"{rules.log_dataset} can be read ({processed:,} bytes for its last day)"


def _minutes_ago(minutes: float) -> datetime:
    return datetime.now(UTC) - timedelta(minutes=minutes)


def _monitoring(google: Google, estate: Estate) -> str:
    counts = Monitoring(google).request_counts(estate.services[0].name, _minutes_ago(10), _minutes_ago(0))
    return f"{sum(counts.values())} requests to {estate.services[0].name} in 10 minutes"


def _secret(google: Google, name: str) -> str:
    return f"version {SecretManager(google).resolve(name).version} is enabled"


def _instance(google: Google, name: str) -> str:
    instance = CloudSql(google).instance(name)
    if not instance.backups_enabled:
        raise OpsError(
            f"{name} has no automated backups; gcloud sql instances patch {name} --backup-start-time=03:00 "
            f"--project={google.project}"
        )
    return f"{instance.state}, {instance.database_version}, backups on"


def _ledger(machine: Settings) -> str:
    ledger = Ledger(machine.ledger())
    newest = ledger.changes(limit=1)
    return f"last change {newest[0].at:%Y-%m-%d %H:%M} UTC" if newest else "no change yet"
