"""A service of the estate: what it runs, how it is proved to work, and how a new revision of it is judged.

Safety property: what Cloud Run would refuse (a name, a size, a reserved variable) is refused here, before the first
call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from tasks.estate.rehearsal import Rehearsal
from tasks.estate.surroundings import SecretName, ServiceAccount, ShortName, Variable
from tasks.models import Frozen

#: Cloud Run allows 49 characters, but "combined traffic tag and service name cannot exceed 46 characters", and the
#: longest tag that a release gives is "candidate".
SERVICE_NAME_LIMIT = 46 - len("candidate")
#: Set by Cloud Run itself: https://cloud.google.com/run/docs/container-contract#env-vars
RESERVED_VARIABLES = frozenset({"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"})
#: A canary that takes longer is stopped by the policy of the step that watches it.
CANARY_LIMIT_SECONDS = 7200

#: ``name@previous``: what a receiver of a secret accepts beside its newest version.
PREVIOUS = "previous"
#: The one place holder of an environment value.
SERVICE_URL = re.compile(r"\{services\.([^.{}]+)\.url\}")

HttpPath = Annotated[str, StringConstraints(pattern=r"^/[^\s#]*$")]
#: ``name``, ``name@3``, ``name@previous``, or ``name@alias``.
SecretReference = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,255}(@([1-9][0-9]*|[A-Za-z][A-Za-z0-9_-]*))?$")
]
#: https://cloud.google.com/run/docs/configuring/services/cpu
Cpu = Annotated[str, StringConstraints(pattern=r"^([1246]|8|0\.(0[89]|[1-9][0-9]?)|[1-9][0-9]{2,3}m|8[0-9]m|9[0-9]m)$")]
Memory = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*(Mi|Gi|M|G)$")]


class Probe(Frozen):
    """One question to a service and the answer that proves it works.

    ``body`` is a part that the answer must contain; white space counts. ``touches_database`` says that a good answer is
    impossible without a working database.
    """

    name: ShortName
    method: Literal["GET", "HEAD", "POST"] = "GET"
    path: HttpPath
    headers: dict[str, str] = Field(default_factory=dict)
    status: int = Field(200, ge=100, le=599)
    body: str = ""
    touches_database: bool = False
    timeout_seconds: float = Field(10, gt=0, le=300)

    @model_validator(mode="after")
    def _proves_something(self) -> Probe:
        if self.touches_database and not self.body:
            raise ValueError("a probe that touches the database must name an expected part of the 'body'")
        return self


class Migration(Frozen):
    """How the schema is moved: commands with the place holder ``{revision}``, run in the new image."""

    folder: str = "migrations"
    upgrade: tuple[str, ...] = ("alembic", "upgrade", "{revision}")
    downgrade: tuple[str, ...] = ("alembic", "downgrade", "{revision}")
    lock_timeout_seconds: int = Field(5, ge=1, le=600)
    attempts: int = Field(3, ge=1, le=20)

    @field_validator("upgrade", "downgrade")
    @classmethod
    def _takes_a_revision(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if not any("{revision}" in word for word in command):
            raise ValueError("one word of the command must hold {revision}")
        return command

    @field_validator("folder")
    @classmethod
    def _inside(cls, folder: str) -> str:
        return inside_a_folder(folder)

    def upgrade_to(self, revision: str) -> tuple[str, ...]:
        """The words of the command that brings the schema up to a revision."""
        return tuple(word.replace("{revision}", revision) for word in self.upgrade)

    def downgrade_to(self, revision: str) -> tuple[str, ...]:
        """The words of the command that takes the schema back to a revision."""
        return tuple(word.replace("{revision}", revision) for word in self.downgrade)


class Sync(Frozen):
    """How the service's content is brought in after a release.

    ``source`` is the folder, inside the service's source, that the content comes from: empty, the step is refused.
    ``caches`` are paths that are posted to afterwards.
    """

    kind: Literal["http", "command"]
    path: HttpPath | None = None
    command: tuple[str, ...] = ()
    token_secret: SecretName | None = None
    source: str = ""
    caches: tuple[HttpPath, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Sync:
        if self.kind == "http" and (self.path is None or self.command):
            raise ValueError("a sync of kind 'http' needs 'path' and no 'command'")
        if self.kind == "command" and (not self.command or self.path is not None):
            raise ValueError("a sync of kind 'command' needs 'command' and no 'path'")
        return self

    @field_validator("source")
    @classmethod
    def _inside(cls, folder: str) -> str:
        return inside_a_folder(folder)


class CanaryStep(Frozen):
    """A share of the traffic, and how long at most it is watched for a verdict."""

    percent: int = Field(ge=1, le=99)
    max_seconds: int = Field(ge=1, le=CANARY_LIMIT_SECONDS)


class Canary(Frozen):
    """When a new revision is good enough. ``analysis/canary.py`` says what the numbers promise.

    Rates are shares of requests: 0.005 is 0.5 %. ``requests_per_second`` is what we ask of both sides together: half of
    it as pairs a second, or all of it of the candidate while errors are suspected. Without ``judge_latency`` errors
    alone decide, for a service whose latency says nothing. A service's own table overrides the estate's key by key.
    """

    acceptable_error_rate: float = Field(0.005, gt=0, lt=1)
    unacceptable_error_rate: float = Field(0.05, gt=0, lt=1)
    alpha: float = Field(0.01, gt=0, le=0.2)
    beta: float = Field(0.05, gt=0, le=0.2)
    max_latency_ratio: float = Field(1.5, gt=1, le=100)
    judge_latency: bool = True
    requests_per_second: float = Field(40, gt=0, le=1000)
    steps: tuple[CanaryStep, ...] = Field(
        (CanaryStep(percent=10, max_seconds=30), CanaryStep(percent=50, max_seconds=30)), min_length=1
    )

    @model_validator(mode="after")
    def _in_order(self) -> Canary:
        if self.acceptable_error_rate >= self.unacceptable_error_rate:
            raise ValueError("'acceptable_error_rate' must be below 'unacceptable_error_rate'")
        percents = [step.percent for step in self.steps]
        if percents != sorted(set(percents)):
            raise ValueError("the 'percent' of the steps must rise from step to step")
        if sum(step.max_seconds for step in self.steps) > CANARY_LIMIT_SECONDS:
            raise ValueError(f"the 'max_seconds' of the steps must sum to at most {CANARY_LIMIT_SECONDS}")
        return self


class Service(Frozen):
    """One Cloud Run service.

    ``source`` is a folder, relative to the estate file. ``secrets`` maps a variable to a secret, as ``name`` (the
    newest version that is enabled when a release is made), ``name@version``, or ``name@previous``: the enabled version
    before the newest one, which a receiver accepts too while a rotation lets both be valid. A value of ``env`` may hold
    ``{services.NAME.url}``. ``revision_header`` is the answer's header in which the service tells its own revision.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]*[a-z0-9])?$", max_length=SERVICE_NAME_LIMIT)]
    source: str
    build: Literal["buildpack", "dockerfile"] = "buildpack"
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    port: int = Field(8080, ge=1, le=65535)
    cpu: Cpu = "1"
    memory: Memory = "512Mi"
    min_instances: int = Field(0, ge=0, le=1000)
    max_instances: int = Field(4, ge=1, le=1000)
    concurrency: int = Field(80, ge=1, le=1000)
    timeout_seconds: int = Field(300, ge=1, le=3600)
    env: dict[Variable, str] = Field(default_factory=dict)
    secrets: dict[Variable, SecretReference] = Field(default_factory=dict)
    database: str | None = None
    service_account: ServiceAccount = ""
    after: tuple[str, ...] = ()
    revision_header: str = ""
    probes: tuple[Probe, ...] = Field(min_length=1)
    migration: Migration | None = None
    sync: Sync | None = None
    canary: Canary | None = None
    drill: Rehearsal = Rehearsal()

    @field_validator("source")
    @classmethod
    def _relative(cls, folder: str) -> str:
        return inside_a_folder(folder)

    @model_validator(mode="after")
    def _allowed_by_cloud_run(self) -> Service:
        if self.min_instances > self.max_instances:
            raise ValueError("'min_instances' must not be above 'max_instances'")
        if self.cpu_count < 1 and self.concurrency > 1:
            raise ValueError("less than one CPU needs concurrency = 1")
        reserved = sorted(RESERVED_VARIABLES & {*self.env, *self.secrets})
        if reserved:
            raise ValueError(f"{', '.join(reserved)} is set by Cloud Run itself; take it out of 'env' and 'secrets'")
        twice = sorted(self.env.keys() & self.secrets.keys())
        if twice:
            raise ValueError(f"{', '.join(twice)} stands in 'env' and in 'secrets'; keep one")
        return self

    @model_validator(mode="after")
    def _provable(self) -> Service:
        if self.database and not any(probe.touches_database for probe in self.probes):
            raise ValueError(
                "at least one probe must have touches_database = true: a health page answers 200 on a dead database"
            )
        if self.migration and not self.database:
            raise ValueError("'migration' needs 'database'")
        names = [probe.name for probe in self.probes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two probes are called {', '.join(twice)}")
        return self

    @property
    def cpu_count(self) -> float:
        """The number of CPUs: ``500m`` is a half."""
        return int(self.cpu[:-1]) / 1000 if self.cpu.endswith("m") else float(self.cpu)

    def probe(self, name: str) -> Probe | None:
        """A probe by name; None where there is none of that name."""
        return next((probe for probe in self.probes if probe.name == name), None)

    def previous_variables(self, secret: str) -> frozenset[str]:
        """The variables in which it takes the version before a secret's newest one: it is a receiver of that secret."""
        return frozenset(name for name, reference in self.secrets.items() if reference == f"{secret}@{PREVIOUS}")

    def predecessors(self) -> frozenset[str]:
        """The services that must be there before this one: those in ``after``, and those whose URL it is given."""
        urls = (name for value in self.env.values() for name in SERVICE_URL.findall(value))
        return frozenset({*self.after, *urls})


def fill_in_urls(env: Mapping[str, str], urls: Mapping[str, str]) -> dict[str, str]:
    """Replace ``{services.NAME.url}`` by the service's URL. A service without a URL yet keeps its place holder."""
    return {
        variable: SERVICE_URL.sub(lambda found: urls.get(found.group(1), found.group(0)), value)
        for variable, value in env.items()
    }


def inside_a_folder(path: str) -> str:
    """Give the path back. Raises ValueError when it is absolute or leads out of its folder upwards."""
    if path.startswith("/") or ".." in re.split(r"[/\\]", path):
        raise ValueError("must be a relative path without '..'")
    return path
