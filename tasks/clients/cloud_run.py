"""Cloud Run, as the tasks see it: services with their revisions and traffic, and jobs with their executions."""

from __future__ import annotations

from tasks.clients.cloud_run_jobs import Jobs
from tasks.clients.cloud_run_services import Services
from tasks.clients.google import Google


class CloudRun(Services, Jobs):
    """Services and jobs of one project and region."""

    def __init__(self, google: Google) -> None:
        self._google = google
