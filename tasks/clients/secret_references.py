"""Who uses a secret on Cloud Run: every revision and every job, by variable or by volume, in any container.

Safety property: it reads Google's messages whole. Our own ``RevisionSpec`` knows the main container's variables alone,
and a sidecar or a mounted file that was overlooked would break at its next start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tasks.clients.google import UNRETRIED, Google
from tasks.clients.operations import short
from tasks.rotation_models import Reference

VIEWER = "roles/run.viewer"


class SecretReferences:
    """The references to secrets of one project and region."""

    def __init__(self, google: Google) -> None:
        self._google = google

    def revisions(self, service: str, secrets: frozenset[str]) -> list[Reference]:
        """Every revision of a service that refers to one of the secrets, to the last page."""
        from google.cloud import run_v2

        client = self._google.client(run_v2.RevisionsClient)
        request = {"parent": f"{self._google.parent}/services/{service}"}
        with self._google.doing(f"listing the revisions of {service}", VIEWER):
            return [
                Reference(
                    kind="revision", name=short(revision.name), service=service, secret=secret, version=version,
                    variable=variable,
                )
                for revision in client.list_revisions(request=request, **UNRETRIED)
                for secret, version, variable in sorted(set(_references(revision))) if secret in secrets
            ]

    def jobs(self, secrets: frozenset[str]) -> list[Reference]:
        """Every job that refers to one of the secrets, to the last page."""
        from google.cloud import run_v2

        client = self._google.client(run_v2.JobsClient)
        with self._google.doing(f"listing the jobs of {self._google.parent}", VIEWER):
            return [
                Reference(
                    kind="job", name=short(job.name), secret=secret, version=version, variable=variable, why="a job"
                )
                for job in client.list_jobs(request={"parent": self._google.parent}, **UNRETRIED)
                for secret, version, variable in sorted(set(_references(job.template.template))) if secret in secrets
            ]


def _references(template: Any) -> Iterator[tuple[str, str, str]]:
    """(secret, version, variable) of every variable and every mounted file, which has none."""
    for container in template.containers:
        for entry in container.env:
            if "value_source" in entry:
                reference = entry.value_source.secret_key_ref
                yield short(reference.secret), reference.version or "latest", entry.name
    for volume in template.volumes:
        if "secret" in volume:
            items = [item.version or "latest" for item in volume.secret.items] or ["latest"]
            yield from ((short(volume.secret.secret), version, "") for version in items)
