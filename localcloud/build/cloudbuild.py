"""google.devtools.cloudbuild.v1.CloudBuild: the record of builds, and builds that are given as buildpack steps."""

from __future__ import annotations

from google.api_core import exceptions
from google.cloud.devtools.cloudbuild_v1.types import (
    Build,
    CancelBuildRequest,
    CreateBuildRequest,
    GetBuildRequest,
    ListBuildsRequest,
    ListBuildsResponse,
)
from google.longrunning import operations_pb2

from localcloud.build.build_filter import matcher
from localcloud.build.builder import Builder
from localcloud.build.images import parse
from localcloud.build.records import Records, place
from localcloud.pages import page
from localcloud.rpc import Servicer, rpc

_PACK = "gcr.io/k8s-skaffold/pack"
_ONLY_PACK = (
    f"the local cloud runs one kind of build step: {_PACK} with the arguments build IMAGE [--env NAME=VALUE]…, "
    "as gcloud builds submit --pack makes it"
)


class CloudBuild(Servicer):
    service = "google.devtools.cloudbuild.v1.CloudBuild"

    def __init__(self, builder: Builder, records: Records) -> None:
        self._builder, self._records = builder, records

    @rpc("CreateBuild", CreateBuildRequest, operations_pb2.Operation, writes=True,
         resource=lambda r: r.parent or f"projects/{r.project_id}")
    def create_build(self, request: CreateBuildRequest) -> operations_pb2.Operation:
        project, location = place(request.parent, request.project_id)
        asked = request.build
        image, environment = _pack(asked)
        build = Build(
            source=asked.source, steps=asked.steps, images=[image], tags=asked.tags, timeout=asked.timeout,
            service_account=asked.service_account,
        )
        return self._builder.submit(project, location, build, dockerfile=False, environment=environment)

    @rpc("GetBuild", GetBuildRequest, Build, writes=False,
         resource=lambda r: r.name or f"projects/{r.project_id}/builds/{r.id}")
    def get_build(self, request: GetBuildRequest) -> Build:
        return self._records.find(request.name, request.project_id, request.id)[1]

    @rpc("ListBuilds", ListBuildsRequest, ListBuildsResponse, writes=False,
         resource=lambda r: r.parent or f"projects/{r.project_id}")
    def list_builds(self, request: ListBuildsRequest) -> ListBuildsResponse:
        project, location = place(request.parent, request.project_id)
        matches = matcher(request.filter)
        # A project alone, as against a location, means every build of the project.
        builds = self._records.list(project, location if request.parent else "-")
        found = [build for build in builds if matches(build)]
        some, token = page(found, request.page_size, request.page_token, default=50, most=1000)
        return ListBuildsResponse(builds=some, next_page_token=token)

    @rpc("CancelBuild", CancelBuildRequest, Build, writes=True,
         resource=lambda r: r.name or f"projects/{r.project_id}/builds/{r.id}")
    def cancel_build(self, request: CancelBuildRequest) -> Build:
        key, _ = self._records.find(request.name, request.project_id, request.id)
        return self._builder.cancel(key)


def _pack(build: Build) -> tuple[str, dict[str, str]]:
    """Image and build environment of a buildpack step. Raises MethodNotImplemented for any other build."""
    if Build.pb(build).source.WhichOneof("source") != "storage_source":
        raise exceptions.MethodNotImplemented("the local cloud builds from source.storage_source only")
    if len(build.steps) != 1 or build.steps[0].name.split(":")[0] != _PACK:
        raise exceptions.MethodNotImplemented(_ONLY_PACK)
    arguments = list(build.steps[0].args)
    if arguments[:1] == ["pack"]:
        arguments = arguments[1:]
    if len(arguments) < 2 or arguments[0] != "build":
        raise exceptions.InvalidArgument(_ONLY_PACK)
    parse(arguments[1])
    return arguments[1], _environment(arguments[2:])


def _environment(arguments: list[str]) -> dict[str, str]:
    """The ``--env`` arguments of a pack step; the builder's name and network are taken and change nothing."""
    environment = {}
    left = iter(arguments)
    for argument in left:
        option, _, value = argument.partition("=")
        if option not in ("--env", "--builder", "--network"):
            raise exceptions.MethodNotImplemented(f"the local cloud does not implement pack's argument {argument}")
        value = value or next(left, "")
        if option == "--env":
            name, _, content = value.partition("=")
            environment[name] = content
    return environment
