"""What the tasks hand to each other: frozen values, read from the outside once and never changed.

No value here ever holds a secret: a secret is a name and a version number.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """A value that is never changed and that refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# --- Cloud Run -------------------------------------------------------------------------------------------------------


class SecretPin(Frozen):
    """A secret at a version: a number as text, or an alias such as ``latest`` where somebody left it unpinned."""

    secret: str
    version: str


class RevisionSpec(Frozen):
    """What a revision runs: the fields of a Cloud Run template that the estate decides."""

    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    port: int = 8080
    cpu: str = "1"
    memory: str = "512Mi"
    min_instances: int = 0
    max_instances: int = 4
    concurrency: int = 80
    timeout_seconds: int = 300
    env: dict[str, str] = Field(default_factory=dict)
    secret_env: dict[str, SecretPin] = Field(default_factory=dict)
    sql_instances: tuple[str, ...] = ()
    service_account: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Traffic(Frozen):
    """One line of a traffic list. ``revision`` is a short name, empty for "the latest"; ``uri`` only with a tag."""

    revision: str = ""
    percent: int = 0
    tag: str = ""
    uri: str = ""


class ServiceState(Frozen):
    """A Cloud Run service as it was read, with the etag that a change of it must present."""

    name: str
    uri: str
    etag: str
    ready: bool
    message: str = ""
    reconciling: bool = False
    latest_ready: str = ""
    latest_created: str = ""
    traffic: tuple[Traffic, ...] = ()
    traffic_statuses: tuple[Traffic, ...] = ()
    template: RevisionSpec
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class RevisionState(Frozen):
    """A revision: immutable spec, and whether it is ready."""

    name: str
    service: str
    spec: RevisionSpec
    ready: bool
    pending: bool = False
    message: str = ""
    created: datetime


class ExecutionState(Frozen):
    """One run of a Cloud Run job."""

    name: str
    job: str
    running: bool
    succeeded: bool
    message: str = ""
    created: datetime
    completed: datetime | None = None


class JobState(Frozen):
    """A Cloud Run job."""

    name: str
    etag: str
    spec: RevisionSpec
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    created: datetime


# --- builds ----------------------------------------------------------------------------------------------------------


class Image(Frozen):
    """A built image, by digest: ``uri`` is ``host/project/repository/name@sha256:…``."""

    uri: str
    digest: str
    build: str
    seconds: float = 0.0


class SourceTree(Frozen):
    """A service's source as it will be built."""

    path: str
    digest: str
    commit: str = ""
    files: int
    size_bytes: int


# --- Cloud SQL -------------------------------------------------------------------------------------------------------


class SqlInstance(Frozen):
    """A Cloud SQL instance."""

    name: str
    connection_name: str
    state: str
    database_version: str
    tier: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    backups_enabled: bool = False
    pitr_enabled: bool = False
    disk_gb: int = 0


class Backup(Frozen):
    """A backup run. ``id`` is Google's number; ``kind`` is ON_DEMAND or AUTOMATED."""

    id: int
    instance: str
    status: str
    kind: str
    description: str = ""
    enqueued: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    error: str = ""


# --- secrets, logs ---------------------------------------------------------------------------------------------------


class SecretVersion(Frozen):
    """A secret version; never its value."""

    secret: str
    version: int
    state: Literal["ENABLED", "DISABLED", "DESTROYED"]
    created: datetime


class RequestLog(Frozen):
    """One line of a service's request log. ``latency`` in seconds."""

    timestamp: datetime
    service: str
    revision: str
    status: int
    latency: float
    method: str
    url: str
    insert_id: str
    user_agent: str = ""


# --- migrations ------------------------------------------------------------------------------------------------------


class MigrationRevision(Frozen):
    """One alembic revision of a source, with the SQL that it would run in PostgreSQL.

    ``down`` are the revisions that it follows. Where the SQL could not be made without a database, it is empty and
    ``why_no_upgrade`` or ``why_no_downgrade`` says why. Without ``transactional`` it ends its transaction in between.
    """

    revision: str
    down: tuple[str, ...] = ()
    message: str = ""
    file: str = ""
    upgrade: str = ""
    downgrade: str = ""
    why_no_upgrade: str = ""
    why_no_downgrade: str = ""
    transactional: bool = True


class MigrationHistory(Frozen):
    """The alembic revisions of a source, each after those that it follows."""

    folder: str
    revisions: tuple[MigrationRevision, ...]
    head: str


# --- judgement -------------------------------------------------------------------------------------------------------

Severity = Literal["info", "warning", "error"]
#: What a tired person is to see first, first.
SEVEREST_FIRST: tuple[Severity, ...] = ("error", "warning", "info")


class Finding(Frozen):
    """Something a person should know: what it is about, what was seen, what to do."""

    severity: Severity
    subject: str
    what: str
    way_out: str = ""


class Drift(Frozen):
    """One field in which what runs differs from what the estate says."""

    field: str
    running: str
    wanted: str


class ProbeResult(Frozen):
    """One answer of one probe. ``latency`` in seconds; ``revision`` as the answer itself told it."""

    probe: str
    url: str
    ok: bool
    status: int = 0
    latency: float = 0.0
    revision: str = ""
    why: str = ""
    of: str = ""
    """The revision that was asked."""
    at: datetime


# --- what the clients add --------------------------------------------------------------------------------------------


class LogLine(Frozen):
    """One log entry. ``payload`` is the JSON payload, or ``{"message": text}`` for a text payload."""

    timestamp: datetime
    log: str
    severity: str
    payload: dict[str, Any]
    labels: dict[str, str] = Field(default_factory=dict)
    insert_id: str


class Latencies(Frozen):
    """What a distribution of latencies says, in seconds."""

    count: int
    p50: float
    p95: float
    p99: float


class Blocker(Frozen):
    """A database session that holds what others wait for. ``query`` has its literals masked."""

    pid: int
    user: str
    application: str
    state: str
    since: datetime
    query: str


Verdict = Literal[
    "started", "approved", "expired", "released", "rolled_back", "refused", "failed", "held", "reviewed", "proposed",
    "maintained",
]


class Change(Frozen):
    """One line of the ledger: who changed what, why, from what to what, and how it ended.

    ``key`` makes the line unique: appending the same key again gives the first line back. ``id`` is 0 before it is
    written. No field ever holds a secret's value.
    """

    kind: Literal[
        "deploy", "roll_back", "migration", "backup", "rotation", "dependencies", "maintenance", "review", "sync",
        "approval",
    ]
    subject: str
    verdict: Verdict
    key: str
    at: datetime
    who: str = ""
    why: str = ""
    run: str = ""
    inputs: dict[str, Any] = Field(default_factory=dict)
    before: dict[str, Any] = Field(default_factory=dict)
    after: dict[str, Any] = Field(default_factory=dict)
    id: int = 0

    @classmethod
    def new(cls, **fields: Any) -> Change:
        """A change from plain values, checked as the model says."""
        return cls.model_validate(fields)


class Measurement(Frozen):
    """One number at one time: an RTO in seconds, a table's dead tuples, a day's cost."""

    name: str
    subject: str
    value: float
    unit: str
    at: datetime
    labels: dict[str, str] = Field(default_factory=dict)
