"""Which roles the flows need on a Google project, and which of them are missing.

Safety property: it asks (``testIamPermissions``), it never tries. A role is judged by a permission that it gives and
that the flows cannot do without, so a broader role that gives it too is as good.
"""

from __future__ import annotations

from typing import Any

from tasks.clients.google import Google
from tasks.errors import OpsError

#: Role → a permission of it that its flows cannot do without. From Google's list of predefined roles.
ROLES: dict[str, str] = {
    "roles/run.developer": "run.services.update",
    "roles/cloudbuild.builds.editor": "cloudbuild.builds.create",
    "roles/cloudsql.admin": "cloudsql.backupRuns.create",
    "roles/secretmanager.viewer": "secretmanager.versions.list",
    "roles/secretmanager.secretAccessor": "secretmanager.versions.access",
    "roles/secretmanager.secretVersionManager": "secretmanager.versions.disable",
    # verify-backups: the login of a restored copy lives in a secret of its own for an hour.
    "roles/secretmanager.admin": "secretmanager.secrets.create",
    "roles/storage.objectUser": "storage.objects.create",
    "roles/logging.viewer": "logging.logEntries.list",
    "roles/bigquery.jobUser": "bigquery.jobs.create",
    "roles/monitoring.viewer": "monitoring.timeSeries.list",
    "roles/iam.serviceAccountUser": "iam.serviceAccounts.actAs",
}
URL = "https://cloudresourcemanager.googleapis.com/v1/projects/{project}:testIamPermissions"
DEADLINE_SECONDS = 30


def missing_roles(google: Google, session: Any = None) -> dict[str, str]:
    """The roles whose permission is not granted, each with the command that grants it."""
    answer = (session or _session(google)).post(
        URL.format(project=google.project), json={"permissions": sorted(ROLES.values())}, timeout=DEADLINE_SECONDS
    )
    if answer.status_code != 200:
        raise OpsError(
            f"asking for the permissions on project {google.project} failed: {answer.status_code}; enable the API: "
            f"gcloud services enable cloudresourcemanager.googleapis.com --project={google.project}"
        )
    granted = set(answer.json().get("permissions", []))
    return {role: grant(google, role) for role, permission in ROLES.items() if permission not in granted}


def grant(google: Google, role: str) -> str:
    """The command that grants a role."""
    return f"gcloud projects add-iam-policy-binding {google.project} --member={google.member} --role={role}"


def _session(google: Google) -> Any:
    from google.auth.transport.requests import AuthorizedSession

    return AuthorizedSession(google.credentials)
