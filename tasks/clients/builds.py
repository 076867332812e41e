"""Cloud Build, through Cloud Run's own way of building a source archive in a bucket.

Safety property: an image is given by digest, never by tag.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal

from tasks.clients import deadlines
from tasks.clients.google import UNRETRIED, Google
from tasks.clients.google_errors import one_line
from tasks.clients.operations import moment, short
from tasks.clients.polling import wait_for
from tasks.errors import PermanentError
from tasks.models import Frozen, Image

EDITOR = "roles/run.builder"
VIEWER = "roles/cloudbuild.builds.viewer"
LIVE = frozenset({"PENDING", "QUEUED", "WORKING"})

#: Gets a build's status in words, and its fraction where the number of steps tells one.
OnPoll = Callable[[str, "float | None"], None]


class FoundBuild(Frozen):
    """A build as it was read. ``status`` is Google's word; ``uri`` (by digest) and ``digest`` only after SUCCESS."""

    id: str
    status: str
    uri: str = ""
    digest: str = ""
    detail: str = ""
    log_url: str = ""
    fraction: float | None = None
    tags: tuple[str, ...] = ()
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None


class Builds:
    """The builds of one project and region."""

    def __init__(self, google: Google) -> None:
        self._google = google

    def find(self, tag: str) -> list[FoundBuild]:
        """Read every build that bears a tag, newest first."""
        request = {"parent": self._google.parent, "project_id": self._google.project, "filter": f'tags="{tag}"'}
        with self._google.doing(f"looking for builds with tag {tag}", VIEWER):
            found = [read_build(build) for build in self._cloud_build.list_builds(request=request, **UNRETRIED)]
        return sorted(found, key=lambda build: build.created.timestamp() if build.created else 0.0, reverse=True)

    def submit(
        self, bucket: str, name: str, image_uri: str, tags: tuple[str, ...],
        build: Literal["buildpack", "dockerfile"] = "buildpack",
    ) -> str:
        """Start building the archive ``name`` in ``bucket``, and return the build's id without waiting.

        Not safe to repeat after a lost answer: look with ``find`` first.
        """
        from google.cloud import run_v2

        request = run_v2.SubmitBuildRequest(
            parent=self._google.parent, storage_source={"bucket": bucket, "object_": name}, image_uri=image_uri,
            tags=list(tags), client="caretaker",
        )
        if build == "dockerfile":
            request.docker_build = run_v2.SubmitBuildRequest.DockerBuild()
        else:
            request.buildpack_build = run_v2.SubmitBuildRequest.BuildpacksBuild()
        with self._google.doing(f"starting the build of {image_uri}", EDITOR):
            answer = self._google.client(run_v2.BuildsClient).submit_build(request=request, **UNRETRIED)
            return _build_id(answer.build_operation)

    def get(self, build: str) -> FoundBuild:
        """Read a build. Raises Missing."""
        name = f"{self._google.parent}/builds/{build}"
        request = {"name": name, "project_id": self._google.project, "id": build}
        with self._google.doing(f"reading build {build}", VIEWER):
            return read_build(self._cloud_build.get_build(request=request, **UNRETRIED))

    def wait(self, build: str, deadline: timedelta = deadlines.BUILD, on_poll: OnPoll | None = None) -> Image:
        """Wait until a build is over and give its image.

        Raises PermanentError with the build's last words when it failed, TransientError at the deadline; it then
        still runs.
        """
        done = wait_for(
            lambda: self.get(build), lambda found: found.status not in LIVE, deadline, f"build {build}",
            on_poll=None if on_poll is None else lambda found: on_poll(found.status.lower(), found.fraction),
            most=timedelta(seconds=2),
        )
        if done.status != "SUCCESS" or not done.digest:
            raise _failed(done)
        return Image(uri=done.uri, digest=done.digest, build=done.id, seconds=_seconds(done))

    @property
    def _cloud_build(self) -> Any:
        from google.cloud.devtools import cloudbuild_v1

        return self._google.client(cloudbuild_v1.CloudBuildClient)


def read_build(build: Any) -> FoundBuild:
    """Google's message as our value."""
    image = build.results.images[0] if build.results.images else None
    return FoundBuild(
        id=build.id,
        status=build.status.name,
        uri=f"{_without_tag(image.name)}@{image.digest}" if image is not None else "",
        digest=image.digest if image is not None else "",
        detail=one_line(build.failure_info.detail or build.status_detail),
        log_url=build.log_url,
        fraction=_fraction(build),
        tags=tuple(build.tags),
        created=moment(build.create_time),
        started=moment(build.start_time),
        finished=moment(build.finish_time),
    )


def _failed(build: FoundBuild) -> PermanentError:
    log = f"; see {build.log_url}" if build.log_url else ""
    said = build.detail or "it left no message"
    return PermanentError(f"building {build.id} failed: {build.status} {said}{log}; mend the source and deploy again")


def _seconds(build: FoundBuild) -> float:
    if build.started is None or build.finished is None:
        return 0.0
    return (build.finished - build.started).total_seconds()


def _fraction(build: Any) -> float | None:
    if not build.steps:
        return None
    over = sum(1 for step in build.steps if step.status.name not in {"STATUS_UNKNOWN", *LIVE})
    return over / len(build.steps)


def _without_tag(name: str) -> str:
    """An image name without its tag; a colon before the last slash belongs to the host's port."""
    head, slash, last = name.partition("@")[0].rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _build_id(operation: Any) -> str:
    """The id of the build that an operation of Cloud Build is about, which is in its metadata."""
    from google.cloud.devtools import cloudbuild_v1

    metadata = cloudbuild_v1.BuildOperationMetadata()
    if operation.metadata.Unpack(cloudbuild_v1.BuildOperationMetadata.pb(metadata)) and metadata.build.id:
        return str(metadata.build.id)
    raise PermanentError(f"reading build operation {short(operation.name)} failed: it names no build; look with find")
