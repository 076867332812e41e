"""Revision templates: what is refused, what Google fills in, and the revision that is made of one."""

from __future__ import annotations

import uuid
from typing import Any

from google.api_core import exceptions
from google.cloud import run_v2
from google.protobuf import duration_pb2

from localcloud.run.conditions import State, condition, now
from localcloud.run.containers import DEFAULT_PORT, check_container, check_tags, container_port
from localcloud.run.names import Name
from localcloud.run.probes import DEFAULT_STARTUP_SECONDS

CREATOR = "localcloud"
_DEFAULT_CONCURRENCY = 80
_DEFAULT_MAX_INSTANCES = 100
_DEFAULT_TIMEOUT_SECONDS = 300
_LONGEST_TIMEOUT_SECONDS = 3600
_MOST_CONCURRENCY = 1000
_LONGEST_REVISION_NAME = 63
_SHARED = (
    "labels", "annotations", "scaling", "vpc_access", "timeout", "service_account", "containers", "volumes",
    "execution_environment", "encryption_key", "max_instance_request_concurrency", "session_affinity",
)  # fmt: skip


def filled(template: Any) -> Any:
    """The template with Google's defaults where nothing was said, so that two equal wishes are equal."""
    made = run_v2.RevisionTemplate(template)
    made.max_instance_request_concurrency = made.max_instance_request_concurrency or _DEFAULT_CONCURRENCY
    if not made.scaling.max_instance_count:
        made.scaling.max_instance_count = max(_DEFAULT_MAX_INSTANCES, made.scaling.min_instance_count)
    if not made.timeout:
        made.timeout = duration_pb2.Duration(seconds=_DEFAULT_TIMEOUT_SECONDS)
    for container in made.containers:
        _fill_container(container)
    return made


def _fill_container(container: Any) -> None:
    if not container.ports:
        container.ports = [run_v2.ContainerPort(name="http1", container_port=DEFAULT_PORT)]
    fill_limits(container)
    if "startup_probe" not in container:
        container.startup_probe = run_v2.Probe(
            timeout_seconds=DEFAULT_STARTUP_SECONDS, period_seconds=DEFAULT_STARTUP_SECONDS, failure_threshold=1,
            tcp_socket=run_v2.TCPSocketAction(port=container_port(container)),
        )  # fmt: skip


def fill_limits(container: Any) -> None:
    """One CPU and 512 MiB, where nothing was said."""
    limits = container.resources.limits
    limits["cpu"] = limits.get("cpu", "1000m")
    limits["memory"] = limits.get("memory", "512Mi")


def check(service: Name, template: Any) -> None:
    """Raise InvalidArgument, or MethodNotImplemented for what the local cloud does not do."""
    check_container(template)
    check_tags(template.labels, template.annotations)
    if template.scaling.min_instance_count > template.scaling.max_instance_count:
        raise exceptions.InvalidArgument("min_instance_count must not be greater than max_instance_count.")
    if not 0 < template.max_instance_request_concurrency <= _MOST_CONCURRENCY:
        raise exceptions.InvalidArgument(f"max_instance_request_concurrency must be between 1 and {_MOST_CONCURRENCY}.")
    if not 0 < template.timeout.total_seconds() <= _LONGEST_TIMEOUT_SECONDS:
        raise exceptions.InvalidArgument(f"timeout must be between 1 and {_LONGEST_TIMEOUT_SECONDS} seconds.")
    _check_name(service, template.revision)


def _check_name(service: Name, revision: str) -> None:
    if not revision:
        return
    if not revision.startswith(f"{service.id}-"):
        raise exceptions.InvalidArgument(
            f"spec.template.metadata.name: Revision name '{revision}' must be prefixed by the name of the enclosing "
            f"Service or Configuration with a trailing -, i.e. '{service.id}-'."
        )
    allowed = revision.replace("-", "").isalnum() and revision.islower() and not revision.endswith("-")
    if not allowed or len(revision) > _LONGEST_REVISION_NAME:
        raise exceptions.InvalidArgument(f"spec.template.metadata.name: '{revision}' is not a valid revision name.")


def same(one: Any, other: Any) -> bool:
    """Whether two filled templates make the same revision, whatever they are called."""
    first, second = run_v2.RevisionTemplate(one), run_v2.RevisionTemplate(other)
    first.revision = second.revision = ""
    return bool(first == second)


def revision_of(service: Name, name: str, template: Any, generation: int) -> Any:
    """A revision that is about to be started."""
    raw, source = run_v2.Revision.pb(run_v2.Revision()), run_v2.RevisionTemplate.pb(template)
    for field, value in source.ListFields():
        if field.name in _SHARED:
            _copy(raw, field.name, value)
    made = run_v2.Revision.wrap(raw)
    made.name, made.service, made.uid = f"{service}/revisions/{name}", str(service), str(uuid.uuid4())
    made.generation, made.creator = generation, CREATOR
    made.create_time = made.update_time = now()
    made.etag = new_etag()
    made.reconciling = True
    made.log_uri = log_uri(service.project, "cloud_run_revision", f"service_name/{service.id}/revision_name/{name}")
    made.conditions = [condition("Ready", State.CONDITION_RECONCILING, "Deploying revision.")]
    return made


def _copy(raw: Any, name: str, value: Any) -> None:
    target = getattr(raw, name)
    if hasattr(target, "MergeFrom"):
        target.MergeFrom(value)
    else:
        setattr(raw, name, value)


def new_etag() -> str:
    """An etag; every write gives a new one."""
    return f'"{uuid.uuid4().hex}"'


def log_uri(project: str, kind: str, what: str) -> str:
    """Where Google's console would show the logs."""
    return f"https://console.cloud.google.com/logs/viewer?project={project}&resource={kind}/{what}"
