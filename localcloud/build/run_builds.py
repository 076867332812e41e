"""google.cloud.run.v2.Builds: how a deploy from source begins its build."""

from __future__ import annotations

from google.api_core import exceptions
from google.cloud import run_v2
from google.cloud.devtools.cloudbuild_v1.types import Build, Source, StorageSource

from localcloud.build.builder import Builder
from localcloud.build.images import parse
from localcloud.build.records import place
from localcloud.rpc import Servicer, rpc

_UNSUPPORTED = ("worker_pool",)
_UNSUPPORTED_BY_BUILDPACKS = (
    "function_target", "cache_image_uri", "base_image", "enable_automatic_updates", "project_descriptor",
)


class RunBuilds(Servicer):
    """``service_account`` and ``machine_type`` are taken and change nothing: a build runs as the local cloud's user."""

    service = "google.cloud.run.v2.Builds"

    def __init__(self, builder: Builder) -> None:
        self._builder = builder

    @rpc("SubmitBuild", run_v2.SubmitBuildRequest, run_v2.SubmitBuildResponse, writes=True,
         resource=lambda r: r.parent)
    def submit_build(self, request: run_v2.SubmitBuildRequest) -> run_v2.SubmitBuildResponse:
        project, location = place(request.parent, "")
        kind = _check(request)
        asked = request.storage_source
        build = Build(
            source=Source(storage_source=StorageSource(
                bucket=asked.bucket, object_=asked.object_, generation=asked.generation)),
            images=[request.image_uri], tags=list(request.tags), service_account=request.service_account,
        )
        operation = self._builder.submit(
            project, location, build, dockerfile=kind == "docker_build",
            environment=dict(request.buildpack_build.environment_variables),
        )
        return run_v2.SubmitBuildResponse(build_operation=operation)


def _check(request: run_v2.SubmitBuildRequest) -> str:
    """Say which kind of build is asked for. Raises InvalidArgument or MethodNotImplemented."""
    if not request.storage_source.bucket or not request.storage_source.object_:
        raise exceptions.InvalidArgument("storage_source: bucket and object are required.")
    if not request.image_uri:
        raise exceptions.InvalidArgument("image_uri is required.")
    parse(request.image_uri)
    kind = run_v2.SubmitBuildRequest.pb(request).WhichOneof("build_type")
    if kind is None:
        raise exceptions.InvalidArgument("build_type is required: buildpack_build or docker_build.")
    for field in _UNSUPPORTED:
        _refuse(field, getattr(request, field))
    for field in _UNSUPPORTED_BY_BUILDPACKS:
        _refuse(f"buildpack_build.{field}", getattr(request.buildpack_build, field))
    return str(kind)


def _refuse(field: str, value: object) -> None:
    if value:
        raise exceptions.MethodNotImplemented(f"the local cloud does not implement SubmitBuildRequest.{field}")
