"""A database that is cared for in tests, whose user is no superuser, and what is done to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import psycopg
from pydantic import SecretStr

from embedded.postgres import Cluster
from tasks.clients.upkeep import Upkeep
from tasks.clients.upkeep_work import Workshop
from tasks.estate.maintenance import MaintenancePolicy
from tasks.maintenance_facts import Facts
from tasks.maintenance_models import Action, Effect
from tasks.upkeep_look import see
from tasks.upkeep_oversight import PACES
from tasks.upkeep_window import Window

SLOWEST = len(PACES) - 1
GUARDS = "application_name = 'caretaker-maintenance guard'"
POLICY = MaintenancePolicy(lock_timeout_seconds=0.5)


class Kept:
    """A database whose user owns its tables and is a member of pg_monitor, unless a test says otherwise."""

    name = "app"
    maintenance = POLICY

    def __init__(self, cluster: Cluster, user: str = "keeper", database: str = "app") -> None:
        self.cluster, self.user, self.database = cluster, user, database

    @property
    def url(self) -> SecretStr:
        socket = quote(str(self.cluster.socket_dir), safe="/")
        return SecretStr(f"postgresql+psycopg://{self.user}:k@/{self.database}?host={socket}")

    def execute(self, *statements: str) -> list[Any]:
        with self.connect() as connection:
            return [connection.execute(statement) for statement in statements]

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.cluster.socket_dir), user=self.user, password="k", dbname=self.database, autocommit=True
        )

    def rows(self, statement: str) -> list[Any]:
        with self.connect() as connection:
            return connection.execute(statement).fetchall()

    def facts(self) -> Facts:
        with Upkeep(self.url).session() as look:
            server = look.server().model_copy(update={"disk_bytes": 10 * 1024**3})
            return see(look, self, server)  # type: ignore[arg-type]

    def run(self, *actions: Action, seconds: float = 30, **options: Any) -> list[Effect]:
        effects: list[Effect] = []
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        Window(Workshop(self.url, None), POLICY, until, effects.append, **options).run(actions)
        return effects

    @contextmanager
    def somebody(self, after: float, statement: str) -> Iterator[list[float]]:
        """Somebody else runs a statement, so many seconds after the block began; afterwards, the seconds it took."""
        took: list[float] = []

        def work() -> None:
            time.sleep(after)
            began = time.monotonic()
            self.execute(statement)
            took.append(time.monotonic() - began)

        other = threading.Thread(target=work)
        other.start()
        yield took
        other.join()

    @contextmanager
    def transaction(self, *statements: str) -> Iterator[psycopg.Connection[Any]]:
        """Another session, in a transaction that is open as long as the block."""
        with self.connect() as connection:
            for statement in ("BEGIN ISOLATION LEVEL REPEATABLE READ", *statements):
                connection.execute(statement)
            yield connection


def vacuum(table: str) -> Action:
    quoted = f"public.{table}"
    return Action(
        kind="vacuum", target=quoted, quoted=quoted, oid=0, table=quoted, table_oid=0, statement=f"VACUUM {quoted}",
        reasons=("dead rows",), gain="", lock="", dead=True,
    )  # fmt: skip


def reindex(index: str, table_oid: int) -> Action:
    quoted = f"public.{index}"
    return Action(
        kind="reindex", target=quoted, quoted=quoted, oid=0, table="", table_oid=table_oid,
        statement=f"REINDEX INDEX CONCURRENTLY {quoted}", reasons=("bloat",), gain="", lock="", seconds=0.1,
    )  # fmt: skip


def oid_of(kept: Kept, table: str) -> int:
    return int(kept.rows(f"SELECT '{table}'::regclass::oid::int8")[0][0])


def leftovers(kept: Kept) -> list[Any]:
    return kept.rows("SELECT relname FROM pg_class WHERE relname ~ '_cc(new|old)'")


def sessions(kept: Kept) -> list[Any]:
    """Our sessions that stay: a server's process is there for a moment after its client has gone."""
    end = time.monotonic() + 3
    while True:
        found = kept.rows("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'caretaker%'")
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.02)
