"""One estate and the clients that speak to it: what every task gets as its first argument.

A plain class on purpose: Prefect walks through dataclasses and pydantic models that it is given, and a client is
nothing to walk through.
"""

from __future__ import annotations

import getpass
import os
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from pydantic import SecretStr

from tasks.analysis.latency_sketch import GROWTH, SHORTEST_SECONDS
from tasks.clients.bigquery import BigQuery
from tasks.clients.builds import Builds
from tasks.clients.cloud_run import CloudRun
from tasks.clients.cloud_sql import CloudSql
from tasks.clients.cloud_sql_scratch import ScratchSql
from tasks.clients.google import Google
from tasks.clients.inspection import Inspector
from tasks.clients.ledger import Ledger, open_ledger
from tasks.clients.log_analytics import Buckets, LogAnalytics
from tasks.clients.log_pages import LogPages
from tasks.clients.logs import Logs
from tasks.clients.monitoring import Monitoring
from tasks.clients.polling import SharedPace
from tasks.clients.postgres import Postgres
from tasks.clients.probes import Prober
from tasks.clients.rotating_secrets import RotatingSecrets
from tasks.clients.secret_manager import SecretManager
from tasks.clients.secret_references import SecretReferences
from tasks.clients.storage import Bucket
from tasks.clients.temporary_secrets import TemporarySecrets
from tasks.estate import Database, Estate
from tasks.models import SecretPin
from tasks.settings import Settings, settings

MINUTE = timedelta(minutes=1)


class Site:
    """The estate, this machine's settings, and one client per outside system, each made when it is first needed."""

    def __init__(self, estate: Estate, machine: Settings) -> None:
        self.estate = estate
        self.settings = machine
        self.google = Google(estate.google, machine)

    @cached_property
    def run(self) -> CloudRun:
        return CloudRun(self.google)

    @cached_property
    def builds(self) -> Builds:
        return Builds(self.google)

    @cached_property
    def bucket(self) -> Bucket:
        return Bucket(self.google, self.estate.google.bucket)

    @cached_property
    def secrets(self) -> SecretManager:
        return SecretManager(self.google)

    @cached_property
    def sql(self) -> CloudSql:
        return CloudSql(self.google)

    @cached_property
    def scratch(self) -> ScratchSql:
        return ScratchSql(self.google)

    @cached_property
    def temporary_secrets(self) -> TemporarySecrets:
        return TemporarySecrets(self.google)

    @cached_property
    def rotating_secrets(self) -> RotatingSecrets:
        return RotatingSecrets(self.google)

    @cached_property
    def secret_references(self) -> SecretReferences:
        return SecretReferences(self.google)

    @cached_property
    def logs(self) -> Logs:
        return Logs(self.google)

    @cached_property
    def log_pages(self) -> LogPages:
        """The logs, at a pace that all who review this project keep together."""
        name = f"{self.estate.google.project}/entries.list"
        return LogPages(self.google, SharedPace(self.ledger, name, self.estate.review.calls_per_minute, MINUTE))

    @cached_property
    def log_analytics(self) -> LogAnalytics | None:
        """The logs in BigQuery, where the estate says that they are there."""
        rules = self.estate.review
        if rules.log_dataset is None:
            return None
        bigquery = BigQuery(self.google, rules.maximum_bytes_billed)
        return LogAnalytics(bigquery, rules.log_dataset, Buckets(GROWTH, SHORTEST_SECONDS))

    @cached_property
    def monitoring(self) -> Monitoring:
        return Monitoring(self.google)

    @cached_property
    def prober(self) -> Prober:
        return Prober()

    @cached_property
    def ledger(self) -> Ledger:
        return open_ledger(self.settings.ledger())

    def database(self, database: Database) -> Postgres:
        """A client of one database, with the connection string that its services read."""
        return Postgres(self.secrets.access(SecretPin(secret=database.url_secret, version="latest")))

    def inspector(self, database: Database) -> Inspector:
        """A client that reads production's structure and content, with the same connection string."""
        return Inspector(self.secrets.access(SecretPin(secret=database.url_secret, version="latest")))

    def notify_urls(self) -> SecretStr:
        """Where people are told: this machine's targets where it names any, else the estate's; empty for neither."""
        given, secret = self.settings.notify_url, self.estate.notify.url_secret
        if given.get_secret_value() or not secret:
            return given
        return self.secrets.access(SecretPin(secret=secret, version="latest"))

    @property
    def who(self) -> str:
        """Who acts, for the ledger: the machine's account."""
        return f"{getpass.getuser()}@{os.uname().nodename}"


def open_site(estate: Path) -> Site:
    """Read an estate file and make its clients. Raises BadInput on the first line that is not understood."""
    return Site(Estate.load(estate), settings())
