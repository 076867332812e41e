"""The log of a build, as Cloud Build writes it to Cloud Logging: one text entry a line, resource type ``build``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from google.api.monitored_resource_pb2 import MonitoredResource
from google.cloud.devtools.cloudbuild_v1.types import Build
from google.cloud.logging_v2.types import LogEntry
from google.logging.type.log_severity_pb2 import ERROR, INFO

from localcloud.build.records import Status

if TYPE_CHECKING:
    from localcloud.cloud import Cloud


class BuildLog:
    """Where the lines of one build go."""

    def __init__(self, cloud: Cloud, build: Build) -> None:
        self._cloud = cloud
        self._log_name = f"projects/{build.project_id}/logs/cloudbuild"
        labels = {"project_id": build.project_id, "build_id": build.id, "build_trigger_id": ""}
        self._resource = MonitoredResource(type="build", labels=labels)
        self._labels = {"build_tags": ",".join(build.tags)}

    def line(self, text: str, severity: int = INFO) -> None:
        entry = LogEntry(
            log_name=self._log_name, resource=self._resource, text_payload=text, severity=severity,
            labels=self._labels, timestamp=datetime.now(UTC),
        )
        self._cloud.logs.write([entry])

    def end(self, build: Build) -> None:
        if build.status == Status.SUCCESS:
            self.line("DONE")
        else:
            self.line(f"{build.status.name}: {build.status_detail}", ERROR)
