"""Builds that fail: each says why in its record, its operation and its log, and leaves no image behind."""

from __future__ import annotations

import io
import tarfile

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import run_v2
from google.cloud.devtools import cloudbuild_v1
from google.rpc import code_pb2

from localcloud.control_client import Control
from tests.conftest import LocalCloud
from tests.localcloud.builds import WEB, Builds, Status, archive

Failure = cloudbuild_v1.Build.FailureInfo.FailureType


@pytest.fixture
def builds(local_cloud: LocalCloud, channel: grpc.Channel, project: str) -> Builds:
    return Builds(project, channel, local_cloud.storage)


def escaping() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry = tarfile.TarInfo("../outside.py")
        tar.addfile(entry, io.BytesIO())
    return buffer.getvalue()


SOURCES = {
    "no entrypoint": ({"lib.py": ""}, 'provide a main.py or app.py file .* creating a "Procfile" file'),
    "a main.py but no Procfile": ({"main.py": ""}, "the local cloud has no default entrypoint"),
    "no web process": ({"main.py": "", "Procfile": "worker: x\n"}, r"web process not found .* \[worker\]"),
    "nothing of Python": ({"index.js": "", "Procfile": "web: node .\n"}, "No buildpack groups passed detection"),
    "a package that does not exist": ({**WEB, "requirements.txt": "idna==999\n"}, "idna==999"),
    "a hash that is wrong": ({**WEB, "requirements.txt": f"idna==3.10 --hash=sha256:{'0' * 64}\n"}, "(?i)hash"),
    "an editable requirement": ({**WEB, "requirements.txt": "-e .\n"}, "editable"),
    "an include outside the source": ({**WEB, "requirements.txt": "-r ../more.txt\n"}, "not a file of the source"),
    "dependencies in pyproject.toml": (
        {**WEB, "pyproject.toml": '[project]\nname="x"\nversion="1"\ndependencies=["idna"]\n'}, "uv export"),
    "a Python that is not there": ({**WEB, ".python-version": "2.6\n"}, "2.6"),
    "no archive": (b"this is no archive", "not a .tar.gz archive"),
    "a cut archive": (archive(WEB)[:-12], "not a .tar.gz archive"),
    "a path that leads out": (escaping(), "outside"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_a_source_that_cannot_be_built_fails_and_says_why(builds: Builds, case: str) -> None:
    files, reason = SOURCES[case]

    build, operation = builds.wait(builds.submit(files))

    assert build.status == Status.FAILURE
    assert operation.error.code == code_pb2.UNKNOWN
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(build.status_detail)
    assert build.failure_info.detail == build.status_detail
    assert not build.results.images


def test_an_object_that_is_not_there_is_a_failure_to_fetch_the_source(builds: Builds) -> None:
    build, _ = builds.wait(builds.submit_object("nothing.tar.gz"))

    assert build.status == Status.FAILURE
    assert build.failure_info.type_ == Failure.FETCH_SOURCE_FAILED
    assert "nothing.tar.gz" in build.status_detail


def test_a_dockerfile_fails_because_there_is_no_container_engine(builds: Builds) -> None:
    files = {"Dockerfile": "FROM scratch\n"}

    build = builds.build(files, buildpack_build=None, docker_build=run_v2.SubmitBuildRequest.DockerBuild())

    assert build.status == Status.FAILURE
    assert "container engine" in build.status_detail


def test_a_full_disk_fails_the_build_and_leaves_nothing_behind(
    builds: Builds, faults: Control, local_cloud: LocalCloud
) -> None:
    fault = faults.plant(
        method="Builds.Disk", kind="error", message="no space left on device", project=builds.project
    )

    build = builds.build({**WEB, "main.py": f"print('{builds.project}')\n"})

    assert build.status == Status.FAILURE
    assert "no space left on device" in build.status_detail
    assert faults.fault(fault)["met"] == 1
    assert not list((local_cloud.state / "images").glob(".building-*"))


def test_a_cancelled_build_stops_and_stays_cancelled(builds: Builds, faults: Control) -> None:
    fault = faults.plant(method="Builds.Disk", kind="hold_before", project=builds.project)
    operation = builds.submit(WEB)
    faults.wait_until_met(fault)

    cancelled = builds.cloudbuild.cancel_build({"name": builds.of(operation).name})
    build, operation = builds.wait(operation)

    assert cancelled.status == build.status == Status.CANCELLED
    assert operation.error.code == code_pb2.CANCELLED
    with pytest.raises(exceptions.FailedPrecondition):
        builds.cloudbuild.cancel_build({"name": build.name})


def test_a_build_that_takes_too_long_times_out(builds: Builds, faults: Control) -> None:
    faults.plant(method="Builds.Disk", kind="hold_before", project=builds.project)
    builds.upload(archive(WEB))
    step = {"name": "gcr.io/k8s-skaffold/pack", "args": ["build", builds.image()]}
    source = {"storage_source": {"bucket": builds.bucket, "object_": "source.tar.gz"}}

    begun = builds.cloudbuild.create_build({
        "parent": builds.parent, "project_id": builds.project,
        "build": {"source": source, "steps": [step], "timeout": {"seconds": 1}},
    })
    build, operation = builds.wait(begun.operation)

    assert build.status == Status.TIMEOUT
    assert operation.error.code == code_pb2.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("change", "error"), [
    ({"image_uri": "Not An Image"}, exceptions.InvalidArgument),
    ({"image_uri": ""}, exceptions.InvalidArgument),
    ({"storage_source": {}}, exceptions.InvalidArgument),
    ({"buildpack_build": None}, exceptions.InvalidArgument),
    ({"parent": "somewhere"}, exceptions.InvalidArgument),
    ({"buildpack_build": {"function_target": "f"}}, exceptions.MethodNotImplemented),
])  # fmt: skip
def test_a_request_that_is_not_complete_or_not_known_is_refused(
    builds: Builds, change: dict[str, object], error: type[Exception]
) -> None:
    request = {
        "parent": builds.parent, "image_uri": builds.image(), "buildpack_build": {},
        "storage_source": {"bucket": builds.bucket, "object_": "source.tar.gz"},
    }

    with pytest.raises(error):
        builds.run.submit_build(request | change)


def test_a_build_of_other_steps_is_refused_by_name(builds: Builds) -> None:
    source = {"storage_source": {"bucket": builds.bucket, "object_": "source.tar.gz"}}
    build = {"source": source, "steps": [{"name": "gcr.io/cloud-builders/docker", "args": ["build", "."]}]}

    with pytest.raises(exceptions.MethodNotImplemented, match="pack"):
        builds.cloudbuild.create_build(parent=builds.parent, project_id=builds.project, build=build)
