"""Makes what the sample estate needs before its first deploy: bucket, database instance, users and secrets.

Safety property: it touches an estate on the local cloud only, and it converges: each step looks before it makes, and a
database's connection string is written last, so it is there only when all before it is. What is there is left alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from tasks.clients.cloud_sql import CloudSql
from tasks.clients.google import UNRETRIED, Google
from tasks.clients.login_url import password_of, with_login
from tasks.clients.polling import wait_for
from tasks.clients.rotator import as_rotator
from tasks.clients.secret_manager import SecretManager
from tasks.clients.storage import Bucket
from tasks.errors import Conflict, Missing, Refused
from tasks.estate import Costs, Database, Estate
from tasks.models import SqlInstance
from tasks.policies import REVISION_DEADLINE
from tasks.settings import Settings

#: The pictures that the sample's rows refer to, with the size and the MD5 that its specs tell.
PLOTS = Path(__file__).parent.parent / "examples" / "pyplots" / "plots"
TIER = "db-f1-micro"
VERSION = "POSTGRES_18"
LABELS = {"made-by": "caretaker-sample"}
#: How far back the sample's bill begins: far enough for the forecast to be tested on it.
BILLED = timedelta(days=150)
SEED = 4
Say = Callable[[str], None]


def seed(estate: Estate, settings: Settings, say: Say) -> None:
    """Make what is missing. Safe to repeat and to kill. Raises Refused for an estate on Google."""
    if not estate.google.local_cloud:
        raise Refused(f"making the sample of {estate.name} refused: {estate.file.name} does not say local_cloud = true")
    google, sockets = Google(estate.google, settings), str(settings.local_cloud["sockets"])
    with ThreadPoolExecutor(max_workers=4) as pool:
        steps: list[Future[Any]] = [pool.submit(_bucket, Bucket(google, estate.google.bucket))]
        steps += [pool.submit(_database, google, estate, database, sockets, say) for database in estate.databases]
        generated = [secret.name for secret in estate.secrets if secret.rotation == "generated"]
        steps += [pool.submit(_generated, SecretManager(google), name, say) for name in generated]
        if estate.costs is not None:
            steps.append(pool.submit(_bill, estate.costs, str(settings.local_cloud["control"]), datetime.now(UTC)))
        for step in steps:
            step.result()


def _bucket(bucket: Bucket) -> None:
    bucket.ensure(LABELS)
    there = set(bucket.list("plots/"))
    for picture in sorted(PLOTS.glob("*.svg")):
        if f"plots/{picture.name}" not in there:
            bucket.put_if_absent(f"plots/{picture.name}", picture, "image/svg+xml")


def _generated(manager: SecretManager, name: str, say: Say) -> None:
    if not _has_version(manager, name):
        manager.add_version(name, _password())
        say(f"secret {name}")


def _bill(costs: Costs, control: str, now: datetime) -> None:
    """Switch a billing export on, which begins some months ago; its lines are made when they are first read.

    On Google a person does it in the console, and there is no call for it. One anomaly is planted in last week, so that
    the first review has something to tell.
    """
    project, dataset, table = costs.table.split(".")
    since = (now - BILLED).date().replace(day=1)
    wednesday = now.date() - timedelta(days=now.weekday() + 5)
    export = {
        "project": project, "dataset": dataset, "table": table, "currency": costs.currency, "since": str(since),
        "seed": SEED, "planted": [["Log Storage cost", str(wednesday), 2, 4.0]],
    }  # fmt: skip
    with httpx.Client(base_url=control, timeout=30, trust_env=False) as http:
        http.put("/billing-exports", json=export).raise_for_status()


def _database(google: Google, estate: Estate, database: Database, sockets: str, say: Say) -> None:
    """Make an instance, its database, its users and the secrets that name them."""
    manager, sql = SecretManager(google), CloudSql(google)
    if _has_version(manager, database.url_secret):
        return
    instance = _instance(google, sql, database)
    if database.database not in sql.databases(instance.name):
        sql.create_database(instance.name, database.database)
    url = f"postgresql+psycopg:///{database.database}?host={quote(f'{sockets}/{instance.connection_name}', safe='/:')}"
    _write_secrets(manager, database, _login(sql, database, SecretStr(url)))
    say(f"database {database.database} on {instance.name}")


def _instance(google: Google, sql: CloudSql, database: Database) -> SqlInstance:
    """The instance, made if it is missing, once it is runnable: an earlier seeding may have been killed meanwhile."""
    try:
        sql.instance(database.instance)
    except Missing:
        sql.wait_operation(_create_instance(google, database))
    return wait_for(
        lambda: sql.instance(database.instance), lambda instance: instance.state == "RUNNABLE", REVISION_DEADLINE,
        f"waiting for Cloud SQL instance {database.instance}",
    )


def _create_instance(google: Google, database: Database) -> str:
    """Begin to create the instance: with backups and point-in-time recovery, and, for it is a sample, deletable."""
    from google.cloud import sqladmin_v1

    settings = {
        "tier": TIER,
        "user_labels": LABELS,
        "deletion_protection_enabled": False,
        "backup_configuration": {
            "enabled": True,
            "start_time": "22:00",
            "point_in_time_recovery_enabled": True,
            "backup_retention_settings": {"retained_backups": database.backup.retained},
        },
    }
    body = {"name": database.instance, "database_version": VERSION, "region": google.region, "settings": settings}
    with google.doing(f"creating Cloud SQL instance {database.instance}", "roles/cloudsql.admin"):
        client = google.client(sqladmin_v1.SqlInstancesServiceClient)
        return str(client.insert(request={"project": google.project, "body": body}, **UNRETRIED).name)


def _login(sql: CloudSql, database: Database, url: SecretStr) -> SecretStr:
    """Make the roles, give the first login user a password, and return its connection string.

    An owner that cannot log in owns the database, and every login user acts as that owner: so it does not matter which
    of them ran a migration, and a rotation alternates between them. ``postgres``, by which a restored copy is
    administered, is a member too. They may look at the server, as its care needs.
    """
    rotator = as_rotator(sql, database, url, make=True)
    rotator.prepare(database.owner, database.users)
    rotator.join(database.owner, "postgres")
    for user in database.users:
        rotator.join("pg_monitor", user)
    rotator.own_database(database.owner)
    user, password = database.users[0], _password()
    rotator.renew(user, password)
    return with_login(url, user, password)


def _write_secrets(manager: SecretManager, database: Database, url: SecretStr) -> None:
    """Write the password where the estate asks for it, then the connection string, which says that all is done."""
    if database.password_secret:
        _has_version(manager, database.password_secret)
        manager.add_version(database.password_secret, password_of(url) or SecretStr(""))
    manager.add_version(database.url_secret, url)


def _has_version(manager: SecretManager, name: str) -> bool:
    """Whether a secret has a version; the secret itself is made if it is missing."""
    try:
        return bool(manager.versions(name))
    except Missing:
        _ignoring_conflict(lambda: manager.create_secret(name, LABELS))
        return False


def _ignoring_conflict(create: Callable[[], Any]) -> None:
    try:
        create()
    except Conflict:
        return


def _password() -> SecretStr:
    """A password with the characters that break an unquoted URL, so that the sample proves that they do not."""
    return SecretStr(f"{secrets.token_urlsafe(24)}/+=")
