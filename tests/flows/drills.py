"""A released sample whose backups are drilled: content, heartbeats, manifests, backups, drills."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import connect

from tasks.analysis.backups import AFTER_MANIFEST
from tasks.backup_models import DrillVerdict
from tasks.clients import engines
from tasks.clients.polling import wait_for
from tasks.manifests import list_manifests
from tasks.models import SecretPin
from tests.sample import Sample, ended, run
from tests.stack import Stack

#: Beyond the sample's own tables: one that grows and one that varies.
TABLES = (
    "CREATE TABLE IF NOT EXISTS events (id bigserial PRIMARY KEY, kind text NOT NULL,"
    " at timestamptz NOT NULL DEFAULT now())",
    "CREATE TABLE IF NOT EXISTS sessions (id int PRIMARY KEY, seen timestamptz NOT NULL DEFAULT now())",
    "CREATE INDEX IF NOT EXISTS ix_events_at ON events (at)",
    "INSERT INTO events (kind) SELECT 'seed' FROM generate_series(1, 2000)",
    "INSERT INTO sessions SELECT i FROM generate_series(1, 100) i ON CONFLICT DO NOTHING",
)
RULES = """tables = [
    { table = "events", compare = "grows", key = "id" },
    { table = "sessions", compare = "varies", tolerance_percent = 20 },
]"""


class Drilled:
    """One sample under drills."""

    def __init__(self, sample: Sample, stack: Stack) -> None:
        self.sample, self.stack, self.control = sample, stack, stack.control
        text = sample.estate_file.read_text()
        if RULES not in text:
            assert "tables = []" in text
            sample.estate_file.write_text(text.replace("tables = []", RULES))
            sample._site = None

    @property
    def database(self) -> Any:
        return self.sample.site.estate.databases[0]

    @property
    def project(self) -> str:
        return self.sample.project

    def execute(self, *statements: str) -> list[Any]:
        """Run statements on production as the application's user; the rows of the last one that gives any."""
        secret = self.sample.site.secrets.access(SecretPin(secret=self.database.url_secret, version="latest"))
        url = engines.parse(secret, "a database")
        rows: list[Any] = []
        with connect(
            host=url.query["host"], user=url.username, password=url.password, dbname=url.database, autocommit=True
        ) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
                rows = cursor.fetchall() if cursor.description else rows
        return rows

    def prepare(self) -> Drilled:
        """Content to compare."""
        self.execute(*TABLES)
        return self

    def beat(self) -> Any:
        from flows.record_heartbeat import RecordHeartbeat, record_heartbeat

        return ended(record_heartbeat(RecordHeartbeat(estate=self.sample.estate_file), return_state=True))

    def manifest(self, **parameters: Any) -> Any:
        from flows.take_manifest import TakeManifest, take_manifest

        return ended(take_manifest(TakeManifest(estate=self.sample.estate_file, **parameters), return_state=True))

    def backup(self, at: datetime | None = None) -> int:
        """Take the automated backup now, and wait until it is over."""
        number, status = self.try_backup(at)
        assert status == "SUCCESSFUL"
        return number

    def try_backup(self, at: datetime | None = None) -> tuple[int, str]:
        """The same, and how it ended: the run is over a moment before its operation is."""
        sql, instance = self.sample.site.scratch, self.database.instance
        number = self.control.automated_backup(self.project, instance, at=at)
        status = sql.wait_backup(instance, number).status
        wait_for(lambda: sql.under_way(instance), lambda names: not names, timedelta(seconds=60), "the backup to end")
        return number, status

    def night(self) -> int:
        """What happens every night before the drill."""
        self.beat()
        self.manifest()
        return self.backup()

    def quiet_night(self) -> int:
        """A night after which nothing of production's content is written to its files any more.

        Frozen rows get no more hints when they are read, and the backup begins with a checkpoint.
        """
        self.beat()
        self.manifest()
        self.execute("VACUUM (FREEZE)")
        return self.backup()

    def files(self) -> list[tuple[str, str]]:
        """The files of production's tables and indexes, the rows' and the ones of TOAST, each with its checksum."""
        data = self.control.sql_paths(self.project, self.database.instance).data
        paths = [row[0] for row in self.execute(
            "SELECT pg_relation_filepath(c.oid) FROM pg_class c WHERE c.relkind IN ('r', 'i', 't') AND c.oid >= 16384"
            " ORDER BY 1"
        )]  # fmt: skip
        return [(path, hashlib.sha256((data / path).read_bytes()).hexdigest()) for path in paths]

    def recoverable_moment(self) -> datetime:
        """Make the moment after a new manifest recoverable, with something written since; when that is.

        A point-in-time drill chooses such a moment by preference, and while there is one alone, always this one.
        """
        site = self.sample.site
        for name in site.bucket.list("manifests/"):
            site.bucket.delete(name)
        self.beat()
        self.manifest()
        (taken,) = run(list_manifests.fn(site, self.database))
        moment = taken + AFTER_MANIFEST
        time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))
        self.execute("INSERT INTO events (kind) SELECT 'after the moment' FROM generate_series(1, 50)")
        latest = self.control.archive_log(self.project, self.database.instance)
        assert moment <= latest
        self.execute("VACUUM (FREEZE)")
        self.backup()
        return moment

    def drill(self, **parameters: Any) -> DrillVerdict:
        """Run the flow; its verdict, whatever it is."""
        from flows.verify_backups import VerifyBackups, verify_backups

        request = VerifyBackups(estate=self.sample.estate_file, **parameters)
        outcome = ended(verify_backups(request, return_state=True))
        if isinstance(outcome, BaseException):
            raise outcome
        assert isinstance(outcome, DrillVerdict), outcome
        return outcome

    def leftovers(self) -> list[str]:
        """What no drill may leave: scratch instances, services, secrets, notes."""
        site = self.sample.site
        found = [instance.name for instance in site.scratch.list_instances() if instance.name.startswith("drill-")]
        found += [service.name for service in site.run.list_services() if service.name.startswith("drill-")]
        found += list(site.temporary_secrets.labelled("caretaker-drill"))
        return found + site.bucket.list("drills/")

    def fingerprint(self) -> list[Any]:
        """Production's content and settings, as checksums."""
        tables = [row[0] for row in self.execute(
            "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        )]  # fmt: skip
        content = [
            (table, self.execute(f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {table} t")[0])
            for table in tables
        ]
        roles = self.execute("SELECT rolname, rolcanlogin, rolconfig FROM pg_roles ORDER BY 1")
        return [*content, roles, self.sample.site.sql.instance(self.database.instance)]

    def writes(self, after: int) -> list[Any]:
        return list(self.control.calls(project=self.project, writes_only=True, after=after))

    def newest_call(self) -> int:
        return max((call.seq for call in self.control.calls(project=self.project)), default=0)


def touches_production(drilled: Drilled, calls: list[Any]) -> list[str]:
    """The writing calls that name production's instance, service or secrets; a clone only reads what it names."""
    site = drilled.sample.site
    names = {database.instance for database in site.estate.databases} | {s.name for s in site.estate.services}
    names |= {secret.name for secret in site.estate.secrets}
    return [
        f"{call.method} {call.resource}"
        for call in calls
        if names & set(call.resource.split("/")) and call.method != "SqlInstancesService.Clone"
    ]
