"""RevisionSpec to Cloud Run's messages and back.

Safety property: writing a spec into a template changes the fields that a spec has and no other; a sidecar, a VPC
connector or a probe that somebody set by hand stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from tasks.clients.operations import short
from tasks.models import RevisionSpec, SecretPin, Traffic

SQL_VOLUME = "cloudsql"
SQL_MOUNT = "/cloudsql"


def write_template(template: Any, spec: RevisionSpec) -> None:
    """Put a spec into a ``RevisionTemplate``."""
    container = _container(template)
    _write_container(container, spec)
    _write_ports(container, spec.port)
    _write_sql(template, container, spec.sql_instances)
    template.scaling.min_instance_count = spec.min_instances
    template.scaling.max_instance_count = spec.max_instances
    template.max_instance_request_concurrency = spec.concurrency
    template.timeout = timedelta(seconds=spec.timeout_seconds)
    template.service_account = spec.service_account
    template.labels = spec.labels
    template.annotations = spec.annotations


def write_task(execution: Any, spec: RevisionSpec) -> None:
    """Put a spec into a job's ``ExecutionTemplate``. A job has no port, no scaling and no concurrency."""
    container = _container(execution.template)
    _write_container(container, spec)
    _write_sql(execution.template, container, spec.sql_instances)
    execution.template.service_account = spec.service_account
    execution.labels = spec.labels
    execution.annotations = spec.annotations


def read_spec(template: Any) -> RevisionSpec:
    """The spec of a ``RevisionTemplate`` or a ``Revision``."""
    common = _read_common(template, template)
    if not template.containers:
        return RevisionSpec(**common)
    ports = _main(template).ports
    return RevisionSpec(
        **common,
        port=ports[0].container_port if ports else RevisionSpec.model_fields["port"].default,
        min_instances=template.scaling.min_instance_count,
        max_instances=template.scaling.max_instance_count,
        concurrency=template.max_instance_request_concurrency,
    )


def read_task(execution: Any) -> RevisionSpec:
    """The spec of a job's ``ExecutionTemplate``."""
    return RevisionSpec(**_read_common(execution.template, execution))


def write_traffic(lines: Iterable[Traffic], target: Any, types: Any) -> list[Any]:
    """Traffic lines as ``TrafficTarget`` messages. ``target`` and ``types`` are Google's classes."""
    return [
        target(
            type_=types.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
            if line.revision
            else types.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST,
            revision=line.revision, percent=line.percent, tag=line.tag,
        )
        for line in lines
    ]


def read_traffic(targets: Iterable[Any]) -> tuple[Traffic, ...]:
    """``TrafficTarget`` or ``TrafficTargetStatus`` messages as lines; "the latest" has an empty revision."""
    return tuple(
        Traffic(
            revision="" if target.type_.name.endswith("_LATEST") else short(target.revision),
            percent=target.percent, tag=target.tag, uri=getattr(target, "uri", ""),
        )
        for target in targets
    )


def same_traffic(one: Iterable[Traffic], other: Iterable[Traffic]) -> bool:
    """Whether two lists send the same share to each revision and serve the same tags."""
    return _shares(one) == _shares(other) and _tags(one) == _tags(other)


def _shares(lines: Iterable[Traffic]) -> dict[str, int]:
    shares: dict[str, int] = {}
    for line in lines:
        shares[line.revision] = shares.get(line.revision, 0) + line.percent
    return {revision: percent for revision, percent in shares.items() if percent}


def _tags(lines: Iterable[Traffic]) -> dict[str, str]:
    return {line.tag: line.revision for line in lines if line.tag}


def _main(template: Any) -> Any:
    """The container that serves: the one with a port, else the first."""
    return next((c for c in template.containers if c.ports), template.containers[0])


def _container(template: Any) -> Any:
    if not template.containers:
        template.containers.append({})
    return _main(template)


def _write_container(container: Any, spec: RevisionSpec) -> None:
    container.image = spec.image
    container.command = list(spec.command)
    container.args = list(spec.args)
    container.resources.limits = {**container.resources.limits, "cpu": spec.cpu, "memory": spec.memory}
    plain = [{"name": name, "value": value} for name, value in sorted(spec.env.items())]
    container.env = plain + [_secret_env(name, pin) for name, pin in sorted(spec.secret_env.items())]


def _secret_env(name: str, pin: SecretPin) -> dict[str, Any]:
    return {"name": name, "value_source": {"secret_key_ref": {"secret": pin.secret, "version": pin.version}}}


def _write_ports(container: Any, port: int) -> None:
    if container.ports:
        container.ports[0].container_port = port
    else:
        container.ports = [{"container_port": port}]


def _write_sql(template: Any, container: Any, instances: tuple[str, ...]) -> None:
    template.volumes = [volume for volume in template.volumes if "cloud_sql_instance" not in volume]
    container.volume_mounts = [mount for mount in container.volume_mounts if mount.mount_path != SQL_MOUNT]
    if instances:
        template.volumes.append({"name": SQL_VOLUME, "cloud_sql_instance": {"instances": list(instances)}})
        container.volume_mounts.append({"name": SQL_VOLUME, "mount_path": SQL_MOUNT})


def _read_common(template: Any, labelled: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "image": "",
        "service_account": template.service_account,
        "sql_instances": _read_sql(template),
        "labels": dict(labelled.labels),
        "annotations": dict(labelled.annotations),
    }
    if template.timeout is not None:
        fields["timeout_seconds"] = int(template.timeout.total_seconds())
    return fields | (_read_container(_main(template)) if template.containers else {})


def _read_container(container: Any) -> dict[str, Any]:
    limits = dict(container.resources.limits)
    secrets = [entry for entry in container.env if "value_source" in entry]
    return {
        "image": container.image,
        "command": tuple(container.command),
        "args": tuple(container.args),
        **{name: limits[name] for name in ("cpu", "memory") if name in limits},
        "env": {entry.name: entry.value for entry in container.env if "value_source" not in entry},
        "secret_env": {entry.name: _pin(entry.value_source.secret_key_ref) for entry in secrets},
    }


def _pin(reference: Any) -> SecretPin:
    return SecretPin(secret=short(reference.secret), version=reference.version)


def _read_sql(template: Any) -> tuple[str, ...]:
    found = [volume.cloud_sql_instance.instances for volume in template.volumes if "cloud_sql_instance" in volume]
    return tuple(instance for instances in found for instance in instances)
