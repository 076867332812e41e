"""Builds through the official clients: what comes out of a source that is right."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import logging_v2
from google.cloud.devtools import cloudbuild_v1
from google.cloud.logging_v2.services.logging_service_v2.transports import LoggingServiceV2GrpcTransport

from localcloud.build import install
from localcloud.build.environments import environment_of_a_build
from localcloud.cloud import Cloud
from localcloud.server import Ports, Server
from tests.conftest import LocalCloud, open_channel
from tests.localcloud.builds import LOCATION, WEB, Builds, Status, archive, locked


@pytest.fixture
def builds(local_cloud: LocalCloud, channel: grpc.Channel, project: str) -> Builds:
    return Builds(project, channel, local_cloud.storage)


def log_of(builds: Builds, build: cloudbuild_v1.Build) -> list[str]:
    transport = LoggingServiceV2GrpcTransport(channel=builds.channel)
    client = logging_v2.services.logging_service_v2.LoggingServiceV2Client(transport=transport)
    wanted = f'resource.type="build" AND resource.labels.build_id="{build.id}" AND log_id("cloudbuild")'
    found = client.list_log_entries({"resource_names": [f"projects/{builds.project}"], "filter": wanted})
    return [entry.text_payload for entry in found]


def test_a_source_archive_becomes_an_image_with_a_digest(builds: Builds) -> None:
    build, operation = builds.wait(builds.submit(WEB, tags=["release-1"]))

    assert build.status == Status.SUCCESS
    assert build.results.images[0].name == builds.image()
    assert build.results.images[0].digest.startswith("sha256:")
    assert list(build.tags) == ["release-1"]
    assert build.create_time <= build.start_time <= build.finish_time
    assert set(build.timing) == {"FETCHSOURCE", "BUILD", "PUSH"}
    response = cloudbuild_v1.Build.pb()()
    assert operation.response.Unpack(response)
    assert response.id == build.id


def test_a_build_tells_in_the_log_what_it_did(builds: Builds) -> None:
    build = builds.build(WEB)

    lines = log_of(builds, build)

    assert lines[0].startswith(f"Fetching storage object: gs://{builds.bucket}/source.tar.gz")
    assert lines[-1] == "DONE"


def test_the_same_source_gives_the_same_digest_and_another_source_another(builds: Builds) -> None:
    first, again = builds.build(WEB), builds.build(WEB, image="app:v2")
    other = builds.build({**WEB, "main.py": "print('changed')\n"})

    assert first.results.images[0].digest == again.results.images[0].digest
    assert first.results.images[0].digest != other.results.images[0].digest


def test_the_generation_that_was_asked_for_is_built_and_recorded(builds: Builds) -> None:
    generation = builds.upload(archive(WEB))

    build, _ = builds.wait(builds.submit_object("source.tar.gz"))

    assert build.source_provenance.resolved_storage_source.generation == generation


def test_a_changed_source_with_the_same_requirements_reuses_what_is_installed(builds: Builds) -> None:
    version, hashes = locked("idna")
    requirements = f"idna=={version} " + " ".join(f"--hash={value}" for value in hashes)
    builds.build({**WEB, "requirements.txt": requirements})

    second = builds.build({**WEB, "main.py": "import idna\n", "requirements.txt": requirements})

    assert second.status == Status.SUCCESS
    assert any("Reusing the environment" in line for line in log_of(builds, second))


def test_a_build_is_found_by_both_kinds_of_name(builds: Builds) -> None:
    build = builds.build(WEB)

    assert builds.cloudbuild.get_build(name=build.name, project_id="", id="") == build
    assert builds.cloudbuild.get_build(project_id=builds.project, id=build.id) == build
    with pytest.raises(exceptions.NotFound):
        builds.cloudbuild.get_build({"name": build.name.replace(LOCATION, "us-central1")})


def test_builds_are_listed_newest_first_page_by_page_and_by_filter(builds: Builds) -> None:
    first = builds.build(WEB, tags=["a", "b"])
    second = builds.build({"main.py": "no Procfile\n"}, tags=["a"])
    third = builds.build(WEB, tags=["b"])

    def ids(**request: object) -> list[str]:
        return [build.id for build in builds.cloudbuild.list_builds({"parent": builds.parent, **request})]

    assert ids(page_size=2) == [third.id, second.id, first.id]
    assert ids(filter='tags="a"') == [second.id, first.id]
    assert ids(filter='tags="a" AND status="SUCCESS"') == [first.id]
    assert ids(filter=f'create_time>"{first.create_time.isoformat()}"') == [third.id, second.id]
    assert [build.id for build in builds.cloudbuild.list_builds({"project_id": builds.project, "page_size": 1})] == [
        third.id, second.id, first.id,
    ]
    with pytest.raises(exceptions.InvalidArgument, match="trigger_id"):
        ids(filter='trigger_id="x"')


def test_a_build_given_as_a_pack_step_is_built_with_its_environment(builds: Builds) -> None:
    builds.upload(archive({"main.py": "print('hello')\n"}))
    step = {"name": "gcr.io/k8s-skaffold/pack", "args": [
        "build", builds.image(), "--env", "GOOGLE_ENTRYPOINT=python main.py", "--network", "cloudbuild"]}
    source = {"storage_source": {"bucket": builds.bucket, "object_": "source.tar.gz"}}

    built = builds.cloudbuild.create_build(
        parent=builds.parent, project_id=builds.project, build={"source": source, "steps": [step]}
    ).result(timeout=60)

    assert built.status == Status.SUCCESS


def test_an_image_runs_with_what_it_installed_and_with_nothing_of_its_surroundings(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch, project: str
) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_PARENT", "hunter2")
    version, _ = locked("idna")
    source = {
        "main.py": "import idna, os, sys\nprint(idna.__version__, os.getcwd(), 'A_SECRET_OF_THE_PARENT' in os.environ)",
        "Procfile": "web: python main.py\nworker: python -V\n", "requirements.txt": f"idna=={version}",
    }
    server = Server(short_folder / project, Ports())
    server.start()
    try:
        cloud: Cloud = server.cloud
        with grpc.insecure_channel(json.loads((cloud.state / "localcloud.json").read_text())["grpc"]) as opened:
            builds = Builds(project, opened, cloud.storage_url)
            digest = builds.build(source).results.images[0].digest
        image = cloud.images.resolve(builds.image())
        by_digest = cloud.images.resolve(f"{builds.image('app')}@{digest}")
        ran = subprocess.run(image.entrypoint, cwd=image.app, env=image.env, capture_output=True, text=True, check=True)
        with pytest.raises(exceptions.NotFound, match="not found"):
            cloud.images.resolve(builds.image("app:v9"))
    finally:
        server.stop()
        shutil.rmtree(server.cloud.sockets, ignore_errors=True)

    assert by_digest == image
    assert image.procfile == {"web": "python main.py", "worker": "python -V"}
    assert ran.stdout.split() == [version, str(image.app), "False"]


def test_a_folder_can_be_registered_as_an_image(tmp_path: Path, short_folder: Path, project: str) -> None:
    (tmp_path / "run.sh").write_text("echo $GREETING\n")
    cloud = Cloud(short_folder / project)
    try:
        install(cloud)
        image = cloud.images.register("example.dev/p/r/hand:1", tmp_path, ["/bin/sh", "run.sh"], {"GREETING": "hi"})
        ran = subprocess.run(image.entrypoint, cwd=image.app, env=image.env, capture_output=True, text=True, check=True)

        assert cloud.images.resolve(image.uri) == cloud.images.resolve("example.dev/p/r/hand:1") == image
        assert ran.stdout == "hi\n"
    finally:
        cloud.close()


def test_a_build_sees_nothing_of_the_environment_but_where_packages_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("UV_INDEX_URL", "https://packages.example.dev/simple")
    monkeypatch.setenv("UV_PUBLISH_TOKEN", "secret")

    seen = environment_of_a_build()

    assert "secret" not in " ".join(seen.values())
    assert seen["UV_INDEX_URL"] == "https://packages.example.dev/simple"
    assert seen["PATH"] == os.environ["PATH"]


def test_a_build_that_was_killed_in_the_middle_is_finished_by_the_next_process(
    own_local_cloud: LocalCloud, project: str
) -> None:
    with open_channel(own_local_cloud) as opened:
        builds = Builds(project, opened, own_local_cloud.storage)
        fault = own_local_cloud.control.plant(method="Builds.Disk", kind="hold_before", project=project)
        operation = builds.submit(WEB)
        own_local_cloud.control.wait_until_met(fault)

        own_local_cloud.restart(kill=True)
    with open_channel(own_local_cloud) as opened:
        builds.channel = opened
        build, _ = builds.wait(operation)

    assert build.status == Status.SUCCESS
    assert not list((own_local_cloud.state / "images").glob(".*"))
