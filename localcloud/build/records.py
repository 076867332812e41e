"""Cloud Build's record of each build, and how it moves from state to state.

Safety property: a build that has ended never changes again, whoever comes late.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from google.api_core import exceptions
from google.cloud.devtools.cloudbuild_v1.types import Build

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

Status = Build.Status
ENDED = frozenset({Status.SUCCESS, Status.FAILURE, Status.INTERNAL_ERROR, Status.TIMEOUT, Status.CANCELLED,
                   Status.EXPIRED})
_NAME = re.compile(r"projects/([^/]+)(?:/locations/([^/]+))?/builds/([^/]+)")
_PARENT = re.compile(r"projects/([^/]+)(?:/locations/([^/]+))?")


class Records:
    """The builds of every project, by ``projects/P/builds/ID``."""

    def __init__(self, cloud: Cloud) -> None:
        self._store = cloud.store
        self._builds = cloud.store.messages("build.builds", Build)

    def create(self, project: str, location: str, build: Build) -> str:
        """Write a new build down as QUEUED, filling what Cloud Build fills; return its key."""
        build.id = str(uuid.uuid4())
        build.project_id = project
        build.name = f"projects/{project}/locations/{location}/builds/{build.id}"
        build.status = Status.QUEUED
        build.create_time = datetime.now(UTC)
        key = f"projects/{project}/builds/{build.id}"
        self._builds.put(key, build)
        return key

    def load(self, key: str) -> Build:
        build = self._builds.get(key)
        if build is None:
            raise exceptions.NotFound(f"Build {key.rsplit('/', 1)[1]} was not found.")
        return build

    def find(self, name: str, project: str, build_id: str) -> tuple[str, Build]:
        """A build by either kind of name, or by project and id. Raises NotFound."""
        location = ""
        if name:
            found = _NAME.fullmatch(name)
            if found is None:
                raise exceptions.InvalidArgument(f"'{name}' is not the name of a build.")
            project, location, build_id = found[1], found[2] or "", found[3]
        key = f"projects/{project}/builds/{build_id}"
        build = self.load(key)
        if location and f"/locations/{location}/" not in build.name:
            raise exceptions.NotFound(f"Build {build_id} was not found in {location}.")
        return key, build

    def list(self, project: str, location: str) -> list[Build]:
        """The builds of a project, newest first; of every location when ``location`` is empty or ``-``."""
        builds = self._builds.list(f"projects/{project}/builds/")
        if location not in ("", "-"):
            builds = [build for build in builds if f"/locations/{location}/" in build.name]
        return sorted(builds, key=lambda build: (build.create_time, build.id), reverse=True)

    def change(self, key: str, change: Callable[[Build], None]) -> tuple[Build, bool]:
        """Change a build that has not ended; return it as it now is, and whether it was changed."""
        with self._store.transaction():
            build = self.load(key)
            if build.status in ENDED:
                return build, False
            change(build)
            if build.status in ENDED:
                build.finish_time = datetime.now(UTC)
            self._builds.put(key, build)
            return build, True


def place(parent: str, project: str) -> tuple[str, str]:
    """Project and location of a request that names a parent, or a project alone."""
    if not parent and project:
        return project, "global"
    found = _PARENT.fullmatch(parent)
    if found is None:
        raise exceptions.InvalidArgument(f"'{parent}' is not projects/PROJECT/locations/LOCATION.")
    return found[1], found[2] or "global"
