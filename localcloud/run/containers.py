"""What Cloud Run accepts of a container, and the environment in which it runs.

What the local cloud cannot do is refused by name, never ignored: sidecars, volumes other than Cloud SQL's (whose
sockets already lie under one folder), gRPC and readiness probes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions

from localcloud.run.conditions import Reason, StartFailure

if TYPE_CHECKING:
    from localcloud.build.images import BuiltImage
    from localcloud.cloud import Cloud

DEFAULT_PORT = 8080
_RESERVED_ENV = frozenset({"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"})
_RESERVED_SPACES = ("run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev")
_PATH = "spec.template.spec.containers[0]"


def check_container(template: Any) -> Any:
    """The one container of a template. Raises InvalidArgument, or MethodNotImplemented for what is not served here."""
    if not template.containers:
        raise exceptions.InvalidArgument("spec.template.spec.containers: should contain at least one container.")
    if len(template.containers) > 1:
        raise unsupported("more than one container")
    container = template.containers[0]
    if not container.image:
        raise exceptions.InvalidArgument(f"{_PATH}.image: is required.")
    _check_env(container.env)
    _check_volumes(template.volumes)
    _check_probes(container)
    return container


def unsupported(what: str) -> exceptions.GoogleAPICallError:
    return exceptions.MethodNotImplemented(f"the local cloud does not implement {what}")


def check_tags(labels: Mapping[str, str], annotations: Mapping[str, str]) -> None:
    """Refuse the system's own namespaces, as the API v2 does. Raises InvalidArgument."""
    for key in (*labels, *annotations):
        space = key.partition("/")[0] if "/" in key else ""
        if space.endswith(_RESERVED_SPACES):
            raise exceptions.InvalidArgument(f"'{key}' is in a reserved namespace; use the fields of API v2.")


def _check_env(env: Sequence[Any]) -> None:
    names = [variable.name for variable in env]
    reserved = [name for name in names if name in _RESERVED_ENV]
    if reserved:
        raise exceptions.InvalidArgument(
            f"{_PATH}.env: The following reserved env names were provided: {', '.join(reserved)}. "
            "These values are automatically set by the system."
        )
    if "" in names or len(set(names)) < len(names):
        raise exceptions.InvalidArgument(f"{_PATH}.env: names must be given, and given once.")


def _check_volumes(volumes: Iterable[Any]) -> None:
    for volume in volumes:
        if "cloud_sql_instance" not in volume:
            raise unsupported(f"the kind of volume '{volume.name}'")


def _check_probes(container: Any) -> None:
    if "readiness_probe" in container:
        raise unsupported("readiness probes")
    port = container_port(container)
    for probe in (container.startup_probe, container.liveness_probe):
        if "grpc" in probe:
            raise unsupported("gRPC probes")
        if (probe.http_get.port or probe.tcp_socket.port or port) != port:
            raise exceptions.InvalidArgument(f"{_PATH}: a probe's port must be the container's port {port}.")


def container_port(container: Any) -> int:
    """The port that the container was declared to listen on; here it is told another one in PORT."""
    return container.ports[0].container_port if container.ports else DEFAULT_PORT


@dataclass(frozen=True)
class Prepared:
    """What a process is started with. ``env`` is complete: nothing of the local cloud's own environment is in it."""

    argv: list[str]
    cwd: Path
    env: dict[str, str]


def prepared(cloud: Cloud, project: str, container: Any, own: Mapping[str, str]) -> Prepared:
    """Find the image and read the secrets, anew for every instance.

    The container's command replaces the image's entrypoint; its arguments follow either. ``own`` are the system's
    variables. Raises StartFailure when there is no such image or a secret cannot be read.
    """
    image = _image(cloud, container.image)
    env = dict(image.env)
    for index, variable in enumerate(container.env):
        env[variable.name] = _value(cloud, project, index, variable)
    return Prepared(
        argv=[*(container.command or image.entrypoint), *container.args],
        cwd=image.app / container.working_dir if container.working_dir else image.app,
        env=env | dict(own),
    )


def _value(cloud: Cloud, project: str, index: int, variable: Any) -> str:
    reference = variable.value_source.secret_key_ref
    if not reference.secret:
        return str(variable.value)
    secret = reference.secret if "/" in reference.secret else f"projects/{project}/secrets/{reference.secret}"
    name = f"{secret}/versions/{reference.version or 'latest'}"
    try:
        return cloud.secrets.access(name).decode(errors="surrogateescape")
    except exceptions.GoogleAPICallError as error:
        # The beginning is Google's; what follows it is what Secret Manager said.
        raise StartFailure(
            f"{_PATH}.env[{index}].value_from.secret_key_ref.name: {error.message}", Reason.SECRETS_ACCESS_CHECK_FAILED
        ) from error


def _image(cloud: Cloud, uri: str) -> BuiltImage:
    """The image of a container. Raises StartFailure when there is none."""
    try:
        return cloud.images.resolve(uri)
    except exceptions.NotFound as error:
        raise StartFailure(f"Image '{uri}' not found.", Reason.CONTAINER_MISSING) from error
