"""How a build runs: fetch, unpack, detect, install, publish.

Safety property: a build may be killed at any moment and run again from its beginning. All it makes is in folders that
appear by a rename, and the tag moves in the transaction that writes SUCCESS down.

A full disk can be planted as a fault of the method ``Builds.Disk`` (resource: the build's name): kind ``error`` fails
the build with the fault's message, ``delay`` and ``hold_before`` make it wait before it writes the image.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.api_core import exceptions
from google.cloud.devtools import cloudbuild_v1
from google.cloud.devtools.cloudbuild_v1.types import Build, BuildOperationMetadata

from localcloud.build import buildpack, source
from localcloud.build.digest import of_tree
from localcloud.build.environments import Environments
from localcloud.build.log import BuildLog
from localcloud.build.records import ENDED, Records, Status
from localcloud.build.running import BuildStopped, RunningBuild, failed
from localcloud.faults import HOLD_LIMIT_SECONDS

if TYPE_CHECKING:
    from google.longrunning import operations_pb2

    from localcloud.cloud import Cloud

LOG = logging.getLogger("localcloud.build")
DEFAULT_TIMEOUT_SECONDS = 600.0
NO_SPACE = "no space left on device"
_NO_ENGINE = (
    "a Dockerfile needs a container engine, and the local cloud has none; build with buildpacks and a Procfile instead"
)
_ERRORS: dict[Status, type[exceptions.GoogleAPICallError]] = {
    Status.CANCELLED: exceptions.Cancelled,
    Status.TIMEOUT: exceptions.DeadlineExceeded,
    Status.INTERNAL_ERROR: exceptions.InternalServerError,
}


class Builder:
    """Runs builds as long-running operations."""

    def __init__(self, cloud: Cloud, records: Records) -> None:
        self._cloud, self._records = cloud, records
        self._environments = Environments(cloud)
        self._running: dict[str, RunningBuild] = {}
        self._lock = threading.Lock()
        cloud.operations.register("build", self._work)

    def submit(
        self, project: str, location: str, build: Build, *, dockerfile: bool, environment: Mapping[str, str]
    ) -> operations_pb2.Operation:
        """Write a build down and begin it. ``environment`` is that of the build, not of the image."""
        with self._cloud.store.transaction():
            key = self._records.create(project, location, build)
            payload = {"build": key, "dockerfile": dockerfile, "environment": dict(environment)}
            operation = self._cloud.operations.start(
                f"projects/{project}/locations/{location}", "build", payload, BuildOperationMetadata(build=build)
            )
        self._cloud.operations.submit(operation.name)
        return operation

    def cancel(self, key: str) -> Build:
        """Stop a build. Raises FailedPrecondition when it has ended."""

        def stop(build: Build) -> None:
            build.status, build.status_detail = Status.CANCELLED, "the build was cancelled"

        build, changed = self._records.change(key, stop)
        if not changed:
            raise exceptions.FailedPrecondition(f"Build {build.id} has ended with {build.status.name}.")
        with self._lock:
            running = self._running.get(key)
        if running is not None:
            running.cancel()
        return build

    def remove_leftovers(self) -> None:
        """Remove the folders that builds of an earlier process did not finish."""
        for folder in (self._cloud.images.folder, self._environments.folder):
            for leftover in folder.glob(".*-*"):
                shutil.rmtree(leftover, ignore_errors=True)

    def _work(self, operation: str, payload: dict[str, Any]) -> Build:
        key = payload["build"]
        build = self._change(operation, key, _begin)
        if build.status not in ENDED:
            log = BuildLog(self._cloud, build)
            running = RunningBuild(build.timeout.total_seconds() or DEFAULT_TIMEOUT_SECONDS, log.line)
            with self._lock:
                self._running[key] = running
            try:
                build = self._to_the_end(operation, key, build, payload, running)
                log.end(build)
            finally:
                with self._lock:
                    self._running.pop(key, None)
        return _answer(build)

    def _to_the_end(
        self, operation: str, key: str, build: Build, payload: Mapping[str, Any], running: RunningBuild
    ) -> Build:
        try:
            return self._build(operation, key, build, payload, running)
        except BuildStopped as stopped:
            reason = stopped
        except OSError as error:
            full = error.errno == errno.ENOSPC
            reason = failed(NO_SPACE) if full else BuildStopped(Status.INTERNAL_ERROR, str(error))
        except Exception as error:
            LOG.exception("build %s failed inside the local cloud", build.id)
            reason = BuildStopped(Status.INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        return self._change(operation, key, _stop(reason))

    def _build(
        self, operation: str, key: str, build: Build, payload: Mapping[str, Any], running: RunningBuild
    ) -> Build:
        if payload["dockerfile"]:
            raise failed(_NO_ENGINE)
        spans: dict[str, tuple[datetime, datetime]] = {}
        with tempfile.TemporaryDirectory(dir=self._cloud.images.folder, prefix=".building-") as folder:
            app = Path(folder) / "image" / "app"
            app.parent.mkdir()
            with _timed(spans, "FETCHSOURCE"):
                generation = self._fetch(build, Path(folder) / "source.tar.gz", app, running)
            with _timed(spans, "BUILD"):
                digest, manifest = self._assemble(app, payload["environment"], running)
            self._meet_a_full_disk(build, running)
            with _timed(spans, "PUSH"):
                self._keep(app.parent, digest)
        running.check()
        with self._cloud.store.transaction():
            done = self._change(operation, key, _succeed(digest, generation, spans))
            if done.status == Status.SUCCESS:
                for uri in done.images:
                    self._cloud.images.publish(uri, digest, manifest)
        return done

    def _fetch(self, build: Build, archive: Path, app: Path, running: RunningBuild) -> int:
        asked = build.source.storage_source
        generation = source.fetch(
            self._cloud.storage_url, asked.bucket, asked.object_, asked.generation, archive, running
        )
        source.unpack(archive, app)
        return generation

    def _assemble(
        self, app: Path, environment: Mapping[str, str], running: RunningBuild
    ) -> tuple[str, dict[str, Any]]:
        plan = buildpack.detect(app, environment)
        installed = self._environments.prepare(app, plan, environment, running)
        facts = {"procfile": plan.procfile, "packages": installed.packages, "python": installed.python}
        digest = of_tree(app, facts)
        running.log(f"Image digest: {digest}")
        self._compile(app, installed.venv, running)
        root = self._cloud.images.folder / digest.removeprefix("sha256:")
        manifest = {
            "root": str(root.relative_to(self._cloud.state)), "app": "app", "venv": installed.venv, "env": {},
            "entrypoint": list(plan.entrypoint), "procfile": plan.procfile,
        }
        (app.parent / "image.json").write_text(json.dumps(facts | manifest, indent=1, sort_keys=True))
        return digest, manifest

    def _compile(self, app: Path, venv: str, running: RunningBuild) -> None:
        # Instances then have nothing to write into the image. A file that does not compile is the program's affair:
        # it may never be imported.
        python = self._cloud.state / venv / "bin" / "python"
        code = "import compileall, py_compile, sys; compileall.compile_dir(sys.argv[1], quiet=2, " \
               "invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)"
        running.run([python, "-c", code, app], cwd=app, env={"LANG": "C.UTF-8"})

    def _meet_a_full_disk(self, build: Build, running: RunningBuild) -> None:
        fault = self._cloud.faults.inside("Builds.Disk", build.project_id, build.name)
        if fault is None:
            return
        if fault.kind == "error":
            raise failed(fault.message)
        running.pause(fault.seconds if fault.kind == "delay" else HOLD_LIMIT_SECONDS, fault.released)

    def _keep(self, folder: Path, digest: str) -> None:
        """Move a finished image to its place. The same digest is the same image: the older folder stays."""
        target = self._cloud.images.folder / digest.removeprefix("sha256:")
        try:
            folder.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise

    def _change(self, operation: str, key: str, change: Callable[[Build], None]) -> Build:
        with self._cloud.store.transaction():
            build, _ = self._records.change(key, change)
            self._cloud.operations.update_metadata(operation, BuildOperationMetadata(build=build))
        return build


@contextmanager
def _timed(spans: dict[str, tuple[datetime, datetime]], name: str) -> Iterator[None]:
    start = datetime.now(UTC)
    yield
    spans[name] = (start, datetime.now(UTC))


def _begin(build: Build) -> None:
    build.status = Status.WORKING
    build.start_time = datetime.now(UTC)


def _stop(reason: BuildStopped) -> Callable[[Build], None]:
    def change(build: Build) -> None:
        build.status, build.status_detail = reason.status, reason.detail
        build.failure_info = Build.FailureInfo(type_=reason.failure, detail=reason.detail)

    return change


def _succeed(
    digest: str, generation: int, spans: Mapping[str, tuple[datetime, datetime]]
) -> Callable[[Build], None]:
    def change(build: Build) -> None:
        build.status = Status.SUCCESS
        build.results.images = [
            cloudbuild_v1.BuiltImage(name=uri, digest=digest) for uri in build.images
        ]
        resolved = build.source_provenance.resolved_storage_source
        asked = build.source.storage_source
        resolved.bucket, resolved.object_, resolved.generation = asked.bucket, asked.object_, generation
        build.timing = {name: cloudbuild_v1.TimeSpan(start_time=a, end_time=b) for name, (a, b) in spans.items()}

    return change


def _answer(build: Build) -> Build:
    """What the operation of an ended build answers: the build, or an error in the build's words."""
    if build.status == Status.SUCCESS:
        return build
    error = _ERRORS.get(build.status, exceptions.Unknown)
    raise error(f"Build failed; check build logs for details: {build.status_detail}")
