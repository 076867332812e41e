"""The instances of Cloud SQL and the PostgreSQL clusters behind them.

Safety property: an instance's server is adopted when it outlived the local cloud, else started; a server that does not
start makes its own instance FAILED and holds up nothing else.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions
from google.cloud.sqladmin_v1 import types
from google.cloud.sqladmin_v1.types import DatabaseInstance as Instance
from google.cloud.sqladmin_v1.types import Settings
from psycopg import Connection

from embedded.postgres import SETTINGS, Cluster, PostgresError
from localcloud.sql.archives import Archives
from localcloud.sql.extensions import Extensions
from localcloud.sql.names import InstanceName
from localcloud.sql.roles import ADMIN
from localcloud.sql.settings import wanted_up
from localcloud.sql.trash import Trash

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

LOG = logging.getLogger("localcloud.sql")
State = Instance.SqlInstanceState
STARTERS = 4


class Instances:
    """Every instance, as a stored message and as a cluster on disk."""

    def __init__(self, cloud: Cloud) -> None:
        self._sockets = cloud.sockets
        self._folder = cloud.state / "sql" / "instances"
        self.trash = Trash(cloud.state / "sql" / "trash")
        self.archives = Archives(cloud.state / "sql" / "wal", self.trash)
        self._extensions = Extensions(cloud.state / "sql" / "extensions")
        self._messages = cloud.store.messages("sql.instances", Instance)
        self._lock = threading.Lock()
        self._clusters: dict[InstanceName, Cluster] = {}

    def socket_dir(self, connection_name: str) -> Path:
        """The folder that holds ``.s.PGSQL.5432``, as with Google's proxy; takes ``project:region:name``."""
        return self._sockets / connection_name

    def folder(self, name: InstanceName) -> Path:
        """Where an instance keeps its data and its log."""
        return self._folder / name.project / name.instance

    def data(self, name: InstanceName) -> Path:
        """Where an instance's data directory stands."""
        return self.folder(name) / "data"

    def find(self, name: InstanceName) -> Instance | None:
        return self._messages.get(str(name))

    def get(self, name: InstanceName) -> Instance:
        """An instance. Raises NotFound."""
        found = self.find(name)
        if found is None:
            raise exceptions.NotFound("The Cloud SQL instance does not exist.")
        return found

    def of_project(self, project: str) -> list[Instance]:
        return self._messages.list(f"projects/{project}/instances/")

    def put(self, name: InstanceName, instance: Instance) -> None:
        self._messages.put(str(name), instance)

    def mark(self, name: InstanceName, state: IntEnum) -> None:
        """Set an instance's state."""
        instance = self.get(name)
        instance.state = state
        self.put(name, instance)

    def forget(self, name: InstanceName) -> None:
        with self._lock:
            self._clusters.pop(name, None)
        self._messages.delete(str(name))

    def cluster(self, name: InstanceName) -> Cluster:
        """The instance's cluster, running or not, with the flags that are set now."""
        instance = self.get(name)
        with self._lock:
            cluster = self._clusters.get(name)
            if cluster is None:
                sockets = self.socket_dir(instance.connection_name)
                cluster = Cluster(self.data(name), sockets, superuser=ADMIN)
                self._clusters[name] = cluster
            flags = {flag.name: flag.value for flag in instance.settings.database_flags}
            ours = {**self._extensions.settings(), **self.archives.settings(name)}
            cluster.settings = {**SETTINGS, **ours, **flags}
        return cluster

    def running(self, name: InstanceName) -> Cluster:
        """The cluster of an instance that serves. Raises NotFound, or InvalidArgument in Google's words."""
        instance = self.get(name)
        if instance.state != State.RUNNABLE or not wanted_up(instance):
            raise exceptions.InvalidArgument("Invalid request: Invalid request since instance is not running.")
        return self.started(name)

    def started(self, name: InstanceName) -> Cluster:
        """The cluster, started if it does not run."""
        cluster = self.cluster(name)
        if not cluster.running():
            cluster.start()
        return cluster

    def connect(self, name: InstanceName) -> Connection[Any]:
        """A connection of Google's superuser to an instance that serves. Raises as ``running``."""
        return self.running(name).connect(ADMIN)

    def start_all(self, names: list[InstanceName]) -> None:
        """Start or adopt the servers of these instances."""
        with ThreadPoolExecutor(STARTERS) as pool:
            list(pool.map(self._start, names))

    def stop_all(self) -> None:
        """Stop every server, all at the same time."""
        with ThreadPoolExecutor(STARTERS) as pool:
            list(pool.map(self._stop, self.names()))

    def names(self) -> list[InstanceName]:
        return [InstanceName(instance.project, instance.name) for instance in self._messages.list()]

    def _start(self, name: InstanceName) -> None:
        if not wanted_up(self.get(name)):
            return
        try:
            self.started(name)
            self.mark(name, State.RUNNABLE)
        except PostgresError as error:
            LOG.error("%s: %s", name, error)  # noqa: TRY400 - the message says all of it
            self.mark(name, State.FAILED)

    def _stop(self, name: InstanceName) -> None:
        try:
            self.cluster(name).stop()
        except PostgresError as error:
            LOG.error("%s: %s", name, error)  # noqa: TRY400 - the message says all of it


def described(name: InstanceName, body: Instance, settings: Settings) -> Instance:
    """A new instance as Google describes it, without the password that the request bore."""
    region = body.region or "us-central1"
    settings.settings_version = 1
    return Instance(
        kind="sql#instance", name=name.instance, project=name.project, region=region, gce_zone=f"{region}-a",
        state=State.PENDING_CREATE, database_version=body.database_version, settings=settings,
        backend_type=types.SqlBackendType.SECOND_GEN, instance_type=types.SqlInstanceType.CLOUD_SQL_INSTANCE,
        connection_name=f"{name.project}:{region}:{name.instance}", self_link=name.link, create_time=datetime.now(UTC),
        etag="1", database_installed_version="POSTGRES_18_6",
    )  # fmt: skip
